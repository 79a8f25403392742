"""Make `table.json` from the ideas of a real run that build on the baseline, e.g. of `+experiment=best_of_n_posttrain
scale=tiny`: `python -m tests.benchmarks.rl.table runs/NAME`. The table in the repository comes from a run of 24 such
ideas."""

import json
import statistics
import sys
from itertools import combinations
from pathlib import Path

from pipeline.makers.bank import load_bank
from pipeline.makers.variants import pristine_tree
from pipeline.patching import Refusal
from pipeline.patching.trees import apply, merge
from pipeline.report.standings import REFERENCE
from pipeline.store.reader import read_archive
from pipeline.store.run import open_run
from tests.benchmarks.rl.world import TABLE


def main(place: Path) -> None:
    archive = read_archive(place)
    run = open_run(archive.paths)
    values, failed = {}, []
    for candidate in archive.candidates:
        change = candidate.idea.change
        if change is None or candidate.idea.parents:
            continue
        word = change.patch or " ".join(f"{name}={value}" for name, value in change.settings.items())
        if candidate.score is not None:
            values[word] = candidate.score.value
        elif candidate.failure is not None and candidate.failure.kind != "duplicate":
            failed.append(word)
    reference = [score.value for score in archive.baseline.scores(*REFERENCE)]
    baseline, bank = pristine_tree(archive.paths), load_bank(archive.paths.ideas, run.config_in_force(), patches=True)
    patched = {name: apply(baseline, idea.patch) for name, idea in bank.published.items()}
    conflicts = []
    for one, two in combinations(sorted(patched), 2):
        first, second = patched[one], patched[two]
        assert not isinstance(first, Refusal) and not isinstance(second, Refusal)
        if isinstance(merge(baseline, first, second), Refusal):
            conflicts.append([one, two])
    made = {
        "source": "real trials of baseline=grpo scale=tiny, one seed each; conflicts by git",
        "baseline": statistics.fmean(reference),
        "seed_sd": statistics.stdev(reference),
        "values": dict(sorted(values.items())),
        "failed": sorted(failed),
        "conflicts": conflicts,
    }
    TABLE.write_text(json.dumps(made, indent=1) + "\n")
    print(f"{TABLE}: {len(values)} scores, {len(failed)} failures, {len(conflicts)} pairs that do not merge")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
