RATE = 0.1
DECAY = 0.9


def rate(step):
    return RATE * DECAY**step
