"""Train a line by gradient descent: the whole contract of a baseline with the standard library only."""

import argparse
import json
import os
import random
from pathlib import Path

from model import gradient
from settings import Tiny


def save(path: Path, content: object) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content))
    os.replace(part, path)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("data", "output", "size", "budget"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args()
    output, settings = Path(arguments.output), Tiny()
    stop, _, whole = arguments.budget.removeprefix("steps=").partition("/")
    steps = 1 if arguments.smoke else int(stop)
    rows = json.loads((Path(arguments.data) / "rows.json").read_text())
    size = len(rows[0][0]) + 1
    state = {"step": 0, "weights": [0.0] * size, "velocity": [0.0] * size}
    resume = output / "resume"
    if (resume / "state.json").exists():
        state = json.loads((resume / "state.json").read_text())
        kept = (output / "metrics.jsonl").read_text().splitlines()[: state["step"]]
        (output / "metrics.jsonl").write_text("".join(line + "\n" for line in kept))
    with (output / "metrics.jsonl").open("a", buffering=1) as metrics:
        for step in range(state["step"] + 1, steps + 1):
            random.seed(f"{arguments.seed}/{step}")
            loss, slope = gradient(state["weights"], random.sample(rows, settings.batch))
            for i, part in enumerate(slope):
                part += settings.weight_decay * state["weights"][i]
                state["velocity"][i] = settings.momentum * state["velocity"][i] - settings.learning_rate * part
                state["weights"][i] += state["velocity"][i]
            state["step"] = step
            metrics.write(json.dumps({"step": step, "loss": loss, "first_weight": state["weights"][0]}) + "\n")
            if step % 20 == 0:
                resume.mkdir(exist_ok=True)
                save(resume / "state.json", state)
    if whole:
        resume.mkdir(exist_ok=True)
        save(resume / "state.json", state)
    part = output / "checkpoint.part"
    part.mkdir(exist_ok=True)
    save(part / "model.json", {"weights": state["weights"]})
    os.replace(part, output / "checkpoint")


if __name__ == "__main__":
    main()
