"""Reads rows – naïvely."""

SEPARATOR = "→"


def read(path):
    with open(path) as file:
        return [line.split(SEPARATOR) for line in file]
