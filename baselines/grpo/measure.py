"""Trains and scores every idea of the bank, with several seeds, and prints the table of README.md.

    python measure.py --data DATA --size SIZE.json --work FOLDER --budget steps=32 --settings learning_rate=2e-4 ...

DATA is what prepare.py wrote. Each outcome is one file in FOLDER; existing ones are not repeated. Stands alone: the
patch of an idea is applied by `git apply` to a copy of this folder, and the pristine evaluator scores.
"""

import argparse
import itertools
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CODE = shutil.ignore_patterns("ideas", "__pycache__")


def apply(patch: Path, folder: Path) -> None:
    """Applies a patch to a folder, inside or outside a repository."""
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)}
    subprocess.run(["git", "apply", str(patch)], cwd=folder, env=environment, check=True)


def make_variant(name: str, folder: Path, settings_class: str) -> None:
    """A copy of the baseline with the patch of this name, or with the setting `name=value`."""
    shutil.copytree(HERE, folder, ignore=CODE)
    if "=" in name:
        setting, _, value = name.partition("=")
        text = (folder / "settings.py").read_text()
        start = text.index(f"class {settings_class}:")
        changed, count = re.subn(
            rf"^(    {setting}: \w+ = ).*$", rf"\g<1>{value}", text[start:], count=1, flags=re.MULTILINE
        )
        if not count:
            raise SystemExit(f"{settings_class} has no setting {setting}")
        (folder / "settings.py").write_text(text[:start] + changed)
    elif name != "baseline":
        apply(HERE / "ideas" / f"{name}.diff", folder)


def measure(name: str, seed: int, args: argparse.Namespace) -> None:
    """One training and its score, as one file."""
    result = args.work / f"{name}_{seed}.json"
    if result.exists():
        return
    folder, output = args.work / "variant", args.work / "output"
    for old in (folder, output):
        shutil.rmtree(old, ignore_errors=True)
    make_variant(name, folder, args.settings_class)
    common = ["--size", str(args.size), "--seed", str(seed)]
    start = time.monotonic()
    train = ["train.py", "--data", str(args.data / "train"), "--output", str(output), "--budget", args.budget]
    done = subprocess.run([sys.executable, *train, *common], cwd=folder, check=False, stderr=subprocess.PIPE, text=True)
    trained = time.monotonic()
    outcome: dict = {"failure": {"kind": "crash", "reason": done.stderr.strip().rpartition("\n")[2]}}
    if done.returncode == 0:
        files = ["--data", str(args.data / "evaluator"), "--checkpoint", str(output / "checkpoint")]
        files += ["--split", args.split, "--result", str(args.work / "result.json")]
        subprocess.run([sys.executable, "evaluate.py", *files, *common], cwd=HERE, check=True)
        outcome = json.loads((args.work / "result.json").read_text())
    outcome |= {"train_s": trained - start, "evaluate_s": time.monotonic() - trained}
    partial = args.work / "outcome.partial"
    partial.write_text(json.dumps(outcome))
    os.replace(partial, result)
    print(f"{name} seed {seed}: {outcome.get('value', outcome.get('failure'))}", file=sys.stderr, flush=True)


def outcomes(name: str, args: argparse.Namespace) -> list[dict]:
    """All outcomes with a name, one per seed."""
    return [json.loads((args.work / f"{name}_{seed}.json").read_text()) for seed in range(args.seeds)]


def row(name: str, args: argparse.Namespace) -> tuple[float, str]:
    """Mean score, and the row of the table.

    The standard error of a mean of k seeds: variance over seeds / k, plus the squared error of an evaluation, as all
    seeds are scored on the same problems.
    """
    scores, errors = {}, {}
    for one in ("baseline", name):
        found = outcomes(one, args)
        values = [outcome["value"] for outcome in found if "value" in outcome]
        if len(values) < len(found):
            return -1.0, f"| {name} | failed in {len(found) - len(values)} of {len(found)} | | | | |"
        scores[one] = statistics.mean(values)
        evaluation = statistics.mean(outcome["standard_error"] for outcome in found)
        errors[one] = math.sqrt((statistics.variance(values) if len(values) > 1 else 0) / len(values) + evaluation**2)
    values = [outcome["value"] for outcome in outcomes(name, args)]
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    difference = scores[name] - scores["baseline"]
    error = math.hypot(errors[name], errors["baseline"])
    verdict = "baseline" if name == "baseline" else f"{difference / error:+.1f}"
    seconds = statistics.mean(outcome["train_s"] for outcome in outcomes(name, args))
    cells = [name, f"{100 * scores[name]:.1f}", f"{100 * spread:.1f}", f"{100 * difference:+.1f}", verdict]
    return scores[name], "| " + " | ".join([*cells, f"{seconds:.0f}"]) + " |"


def pairs_that_merge(work: Path) -> tuple[int, int]:
    """How many pairs of patches merge by a three-way merge without conflict, and the number of pairs."""
    names = sorted(path.stem for path in (HERE / "ideas").glob("*.diff"))
    folders = {name: work / "merge" / name for name in names}
    shutil.rmtree(work / "merge", ignore_errors=True)
    for name, folder in folders.items():
        make_variant(name, folder, "")
    clean = 0
    pairs = list(itertools.combinations(names, 2))
    for one, other in pairs:
        both = [
            [folders[one] / file.name, file, folders[other] / file.name]
            for file in HERE.glob("*.py")
            if all((folders[name] / file.name).read_bytes() != file.read_bytes() for name in (one, other))
        ]
        merges = [
            subprocess.run(["git", "merge-file", "-p", *files], capture_output=True, check=False) for files in both
        ]
        clean += all(merge.returncode == 0 for merge in merges)
    shutil.rmtree(work / "merge")
    return clean, len(pairs)


def main() -> None:
    """Measures what is missing, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="prepared data")
    parser.add_argument("--size", type=Path, required=True, help="JSON file of the scale")
    parser.add_argument("--work", type=Path, required=True, help="folder of the outcomes")
    parser.add_argument("--budget", required=True, help="steps=N or seconds=N")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--split", default="validation")
    parser.add_argument("--settings", nargs="*", default=[], help="changes of settings to measure, name=value")
    parser.add_argument("--settings-class", default="Tiny")
    args = parser.parse_args()
    for name in ("data", "size", "work"):
        setattr(args, name, getattr(args, name).resolve())
    args.work.mkdir(parents=True, exist_ok=True)
    names = ["baseline", *sorted(path.stem for path in (HERE / "ideas").glob("*.diff")), *args.settings]
    for seed in range(args.seeds):
        for name in names:
            measure(name, seed, args)
    print("| idea | accuracy, % | std over seeds | difference | in standard errors | training, s |")
    print("|---|---|---|---|---|---|")
    for _, line in sorted((row(name, args) for name in names), reverse=True):
        print(line)
    clean, pairs = pairs_that_merge(args.work)
    print(f"\n{clean} of {pairs} pairs of patches merge without conflict.")


if __name__ == "__main__":
    main()
