"""Attention, much simplified."""

import math


class Attention:
    def __init__(self, width):
        self.width = width
        self.scale = 1.0 / math.sqrt(width)

    def forward(self, x):
        x = [v * self.scale for v in x]
        return x


class Mixer:
    def __init__(self, width):
        self.width = width
        self.scale = 1.0

    def forward(self, x):
        x = [v * self.scale for v in x]
        return x


def attend(weights, features):
    return [w * f for w, f in zip(weights, features)]
