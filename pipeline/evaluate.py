"""Score an existing checkpoint again with the pristine evaluator."""

import argparse
import dataclasses
import json
import os
import tempfile
from pathlib import Path

from pipeline.assemble import data_path, view
from pipeline.cli import call, holder_at, parser
from pipeline.errors import BadInput, CannotGoOn
from pipeline.records import Failure
from pipeline.stages.decide import TEST, VALIDATION
from pipeline.stages.score import score_checkpoint
from pipeline.store.paths import TryPaths, number_of


def main() -> None:
    """Entry point."""
    made = parser(
        "evaluate",
        "Score the kept checkpoint of a candidate, or of the baseline, again. Writes nothing into the run.",
        "examples:\n  python -m pipeline.evaluate runs/NAME/generation_002/candidate_001\n"
        "  python -m pipeline.evaluate runs/NAME/baseline --trial 1 --split test",
    )
    made.add_argument("folder", type=Path, help="a candidate's folder, or the run's baseline/")
    made.add_argument("--trial", type=int, help="number of the trial (default: the first that kept its checkpoint)")
    made.add_argument("--split", choices=(VALIDATION, TEST), default=VALIDATION, help="what to score on")
    made.add_argument("--seed", type=int, help="seed of the sampling (default: that of the trial)")
    made.add_argument("--json", action="store_true", help="print the score as one JSON object")
    call(entry, made.parse_args())


def entry(arguments: argparse.Namespace) -> int:
    """Find the checkpoint, run the evaluator, print both scores."""
    paths, attempt = holder_at(arguments.folder)
    run, plan = view(paths)
    kept = [
        (trial, trial.score, trial.paths.named(trial.score.try_).checkpoint)
        for trial in attempt.trials
        if trial.score is not None and arguments.trial in (None, number_of(trial.paths.folder.name))
    ]
    there = [entry for entry in kept if entry[2].is_dir()]
    if not there:
        raise BadInput(
            f"{arguments.folder} has no checkpoint to score: "
            + (f"none of {len(kept)} was kept; see keep.checkpoints" if kept else "no trial of it was scored")
            + f"; `python -m pipeline.show {arguments.folder}` tells how to train it again"
        )
    trial, before, checkpoint = there[0]
    seed = before.seed if arguments.seed is None else arguments.seed
    data = data_path(plan.config)
    with tempfile.TemporaryDirectory(prefix="evaluate-") as scratch:
        variant = trial.paths.variant or run.paths.pristine
        found = score_checkpoint(run, variant, checkpoint, data, arguments.split, seed, TryPaths(Path(scratch)))
    if isinstance(found, Failure):
        raise CannotGoOn(f"the evaluator gave no score ({found.kind}): {found.reason}")
    if arguments.json:
        print(json.dumps(dataclasses.asdict(found)))
        return 0
    said = plan.metric.text_error(found.value, found.standard_error)
    print(f"{os.path.relpath(checkpoint)}\n{plan.metric.name} on {found.split}: {said} (n = {found.n})")
    recorded = before if arguments.split == before.split else (trial.test.score if trial.test else None)
    if recorded is not None:
        print(f"recorded in the run: {plan.metric.text_error(recorded.value, recorded.standard_error)}")
    return 0


if __name__ == "__main__":
    main()
