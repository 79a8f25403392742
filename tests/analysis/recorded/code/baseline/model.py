"""A line: y = w·x + b, and the loss it is trained on."""

Row = tuple[list[float], float]


def predict(weights: list[float], x: list[float]) -> float:
    return sum(w * v for w, v in zip(weights, x, strict=False)) + weights[-1]


def gradient(weights: list[float], rows: list[Row]) -> tuple[float, list[float]]:
    """Mean squared error and its gradient."""
    loss, slope = 0.0, [0.0] * len(weights)
    for x, y in rows:
        error = predict(weights, x) - y
        loss += error * error / len(rows)
        for i, v in enumerate([*x, 1.0]):
            slope[i] += 2 * error * v / len(rows)
    return loss, slope
