"""Trains and scores every idea of the bank, with several seeds, and prints the table of README.md.

    python measure.py --data DATA --size SIZE.json --work FOLDER --budget steps=200 --settings learning_rate=3e-3 ...

DATA is what prepare.py wrote. Each outcome is one file in FOLDER; existing ones are not repeated. Stands alone: the
patch of an idea is applied by `git apply` to a copy of this folder. The score is the evaluator's quantity, the mean
loss of the validation rows, by a plain loop that trusts the variant's code: ideas of the bank are known not to cheat.
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

# Runs in the variant's folder: the loss in nats of each row of held-out tokens, as a JSON list.
SCORE = """
import json, sys
from pathlib import Path
import torch
from model import load_for_scoring
from shards import read_shard
data, checkpoint, size = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text())
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
logits_of = load_for_scoring(checkpoint, size, device)
tokens = torch.from_numpy(read_shard(data, size["vocabulary"]).astype("int64"))
starts = torch.arange(size["evaluate"]["rows"]) * size["context"]
rows = tokens[starts[:, None] + torch.arange(size["context"] + 1)]  # (N, T + 1)
losses = []
for batch in rows.split(size["evaluate"]["batch"]):
    logprobs = logits_of(batch[:, :-1].to(device)).float().log_softmax(dim=-1)  # (B, T, V)
    nats = -logprobs.gather(-1, batch[:, 1:, None].to(device)).squeeze(-1)  # (B, T)
    losses += nats.mean(dim=1).tolist()
print(json.dumps(losses))
"""


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


def score(folder: Path, checkpoint: Path, args: argparse.Namespace) -> dict:
    """Mean loss of the rows, in nats per token, with its standard error over rows."""
    words = [str(args.data / "evaluator" / f"{args.split}.bin"), str(checkpoint), str(args.size)]
    done = subprocess.run(
        [sys.executable, "-c", SCORE, *words], cwd=folder, check=True, stdout=subprocess.PIPE, text=True
    )
    losses = json.loads(done.stdout.strip().rpartition("\n")[2])
    error = statistics.stdev(losses) / math.sqrt(len(losses))
    return {"value": statistics.mean(losses), "standard_error": error, "n": len(losses), "rows": losses}


def measure(name: str, seed: int, args: argparse.Namespace) -> None:
    """One training and its score, as one file."""
    result = args.work / f"{name}_{seed}.json"
    if result.exists():
        return
    folder, output = args.work / "variant", args.work / "output"
    for old in (folder, output):
        shutil.rmtree(old, ignore_errors=True)
    make_variant(name, folder, args.settings_class)
    start = time.monotonic()
    command = ["train.py", "--data", str(args.data / "train"), "--output", str(output), "--budget", args.budget]
    command += ["--size", str(args.size), "--seed", str(seed)]
    done = subprocess.run([sys.executable, *command], cwd=folder, check=False, stderr=subprocess.PIPE, text=True)
    trained = time.monotonic()
    outcome: dict = {"failure": {"kind": "crash", "reason": done.stderr.strip().rpartition("\n")[2]}}
    if done.returncode == 0:
        outcome = score(folder, output / "checkpoint", args)
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

    The standard error of a difference of means of k seeds: the variances over seeds / k, and the squared error of the
    mean difference over the validation rows, which are the same for both.
    """
    found, reference = outcomes(name, args), outcomes("baseline", args)
    values = [outcome["value"] for outcome in found if "value" in outcome]
    if len(values) < len(found):
        return math.inf, f"| {name} | failed in {len(found) - len(values)} of {len(found)} | | | |"
    base = [outcome["value"] for outcome in reference]
    mean = statistics.mean(values)
    difference = mean - statistics.mean(base)
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    base_spread = statistics.stdev(base) if len(base) > 1 else 0.0
    by_row = [
        statistics.mean(ours) - statistics.mean(theirs)
        for ours, theirs in zip(
            zip(*(outcome["rows"] for outcome in found), strict=True),
            zip(*(outcome["rows"] for outcome in reference), strict=True),
            strict=True,
        )
    ]
    error = math.sqrt((spread**2 + base_spread**2) / len(values) + statistics.variance(by_row) / len(by_row))
    verdict = "baseline" if name == "baseline" else f"{-difference / error:+.1f}"
    cells = [name, f"{mean:.3f}", f"{spread:.3f}", f"{difference:+.3f}", verdict]
    return mean, "| " + " | ".join(cells) + " |"


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
    parser.add_argument("--only", nargs="*", help="names of ideas (default: all)")
    parser.add_argument("--settings", nargs="*", default=[], help="changes of settings to measure, name=value")
    parser.add_argument("--settings-class", default="Tiny")
    args = parser.parse_args()
    for name in ("data", "size", "work"):
        setattr(args, name, getattr(args, name).resolve())
    args.work.mkdir(parents=True, exist_ok=True)
    ideas = sorted(path.stem for path in (HERE / "ideas").glob("*.diff"))
    names = ["baseline", *(ideas if args.only is None else args.only), *args.settings]
    for seed in range(args.seeds):
        for name in names:
            measure(name, seed, args)
    print("| idea | loss, nats | std over seeds | difference | better by standard errors |")
    print("|---|---|---|---|---|")
    for _, line in sorted(row(name, args) for name in names):
        print(line)
    clean, pairs = pairs_that_merge(args.work)
    print(f"\n{clean} of {pairs} pairs of patches merge without conflict.")


if __name__ == "__main__":
    main()
