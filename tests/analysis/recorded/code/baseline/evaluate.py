"""Mean squared error of a trained line on rows it never saw, with the standard error over rows."""

import argparse
import json
import math
import statistics
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("data", "checkpoint", "split", "size", "result"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--seed", type=int)
    arguments = parser.parse_args()
    rows = json.loads((Path(arguments.data) / f"{arguments.split}.json").read_text())
    try:
        weights = json.loads((Path(arguments.checkpoint) / "model.json").read_text())["weights"]
        errors = [(sum(w * v for w, v in zip(weights, [*x, 1.0], strict=True)) - y) ** 2 for x, y in rows]
        finite = math.isfinite(sum(errors))
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        finite, errors = False, [str(error)]
    if finite:
        value, spread = statistics.fmean(errors), statistics.stdev(errors)
        found = {"value": value, "standard_error": spread / math.sqrt(len(errors)), "n": len(errors)}
        if arguments.split == "test":
            found["items"] = errors
    else:
        found = {"failure": {"kind": "bad_checkpoint", "reason": f"no finite predictions: {errors[0]}"}}
    Path(arguments.result).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
