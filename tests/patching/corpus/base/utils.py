"""Small helpers."""


def clip(value, limit=1.0):
    return max(-limit, min(limit, value))


def mean(values):
    return sum(values) / len(values)
