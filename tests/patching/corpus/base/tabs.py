def schedule(step, total):
	if step < 10:
		return step / 10
	return 1 - step / total
