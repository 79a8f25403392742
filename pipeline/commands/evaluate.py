"""Re-score a kept checkpoint with the unmodified evaluator."""

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from pathlib import Path

from pipeline.commands.terminal import call, parser
from pipeline.errors import BadInput, CannotContinue
from pipeline.job.integrity import check_integrity
from pipeline.job.score import score_checkpoint
from pipeline.records import Failure, Purpose, Score, Stage
from pipeline.setup.build import data_path, view
from pipeline.setup.places import holder_at
from pipeline.stages.train import TEST, VALIDATION
from pipeline.store.paths import TryPaths, number_of


def main() -> None:
    """Entry point."""
    made = parser(
        "evaluate",
        "Re-score a kept checkpoint of a candidate or of the baseline. Writes nothing to the run.",
        "examples:\n  python -m pipeline evaluate runs/NAME/generation_002/candidate_001\n"
        "  python -m pipeline evaluate runs/NAME/baseline --trial 1 --split test",
    )
    made.add_argument("folder", type=Path, help="a candidate's folder, or the run's baseline/")
    made.add_argument("--trial", type=int, help="number of the trial (default: the first with a kept checkpoint)")
    made.add_argument("--split", choices=(VALIDATION, TEST), default=VALIDATION, help="split to score on")
    made.add_argument("--seed", type=int, help="seed for sampling (default: the trial's seed)")
    made.add_argument("--json", action="store_true", help="print the score as one JSON object")
    call(entry, made.parse_args())


def entry(arguments: argparse.Namespace) -> int:
    """Find the checkpoint, run the evaluator, print both scores."""
    paths, attempt = holder_at(arguments.folder)
    run, terms = view(paths)
    kept = [
        (trial, trial.score, trial.paths.named(trial.score.try_).checkpoint)
        for trial in attempt.trials
        if trial.score is not None
        and trial.purpose is not Purpose.TEST
        and arguments.trial in (None, number_of(trial.paths.folder.name))
    ]
    there = [entry for entry in kept if entry[2].is_dir()]
    if not there:
        raise BadInput(
            f"{arguments.folder} has no checkpoint to score: "
            + (f"none of {len(kept)} was kept; see keep.checkpoints" if kept else "none of its trials has a score")
            + f"; `python -m pipeline show {arguments.folder}` shows how to train it again"
        )
    trial, before, checkpoint = there[0]
    seed = before.seed if arguments.seed is None else arguments.seed
    data = data_path(terms.config)
    found: Score | Failure | None = check_integrity(run, data, Stage.EVALUATE)
    if found is None:
        variant = trial.paths.variant or run.paths.pristine
        with tempfile.TemporaryDirectory(prefix="evaluate-") as scratch:
            found = score_checkpoint(run, variant, checkpoint, data, arguments.split, seed, TryPaths(Path(scratch)))
    if isinstance(found, Failure):
        raise CannotContinue(f"the evaluator returned no score ({found.kind}): {found.reason}")
    if arguments.split == TEST:
        print("report.json does not count this scoring on the test split; base no choice on it", file=sys.stderr)
    if arguments.json:
        print(json.dumps(dataclasses.asdict(found)))
        return 0
    shown = terms.metric.text_error(found.value, found.standard_error)
    print(f"{os.path.relpath(checkpoint)}\n{terms.metric.name} on {found.split}: {shown} (n = {found.n})")
    name = trial.paths.folder.name
    tests = (one.score for one in attempt.of(Purpose.TEST) if one.tries[0].job.of == name)
    recorded = before if arguments.split == before.split else next(tests, None)
    if recorded is not None:
        print(f"recorded in the run: {terms.metric.text_error(recorded.value, recorded.standard_error)}")
    return 0
