"""Make rows of a noisy line: some to train on, others for the evaluator."""

import argparse
import json
import random
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path)
    parser.add_argument("--size", type=Path)
    arguments = parser.parse_args()
    size = json.loads(arguments.size.read_text())
    random.seed(size["seed"])
    truth = [random.gauss(0, 1) for _ in range(size["width"] + 1)]
    for name in ("train/rows", "evaluator/validation", "evaluator/test"):
        rows = []
        for _ in range(size["rows"]):
            x = [random.gauss(0, 1) for _ in range(size["width"])]
            y = sum(w * v for w, v in zip(truth, [*x, 1.0], strict=True)) + random.gauss(0, 0.5)
            rows.append((x, y))
        path = arguments.output / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
