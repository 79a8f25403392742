"""Trains a small model and returns its weights."""

from dataclasses import dataclass

from model.attention import attend
from utils import clip


@dataclass
class Settings:
    learning_rate: float = 3e-4
    # ---
    batch_size: int = 64
    # ---
    warmup_steps: int = 10


def loss_of(logits, target):
    """Squared error."""
    total = 0.0
    for guess, wanted in zip(logits, target):
        total += (guess - wanted) ** 2
    return total / len(target)


def train(settings, data):
    weights = [0.0] * 8
    for step, (features, target) in enumerate(data):
        logits = attend(weights, features)
        loss = loss_of(logits, target)
        if step < settings.warmup_steps:
            rate = settings.learning_rate * step / settings.warmup_steps
        else:
            rate = settings.learning_rate
        weights = [clip(w - rate * loss) for w in weights]
    return weights


def validate(weights, data):
    total = 0.0
    for features, target in data:
        logits = attend(weights, features)
        total += loss_of(logits, target)
    return total
