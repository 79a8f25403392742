"""Whole runs that stop candidates early, by rungs and by their own metrics: a stopped candidate has no score, and the
output of its job is kept."""

import json
from pathlib import Path

from pipeline.records import FailureKind, Purpose, Stage
from tests.toy import Bench, baseline, train_with


def test_half_of_a_generation_is_trained_with_the_whole_budget(bench: Bench) -> None:
    bench.run("r", "search.rungs=[0.25]", "stop.generations=1", "ideate.candidates=4", "select.elites=0").ok()
    archive = bench.archive("r")
    stopped = [one for one in archive.candidates if one.failure and one.failure.kind is FailureKind.STOPPED_EARLY]
    scored = [one for one in archive.candidates if one.score is not None]
    compared = [one for one in archive.candidates if one.attempt and one.attempt.scores(Purpose.RUNG)]
    assert len(scored) == -(-len(compared) // 2) and len(stopped) == len(compared) - len(scored) > 0
    for candidate in stopped:
        assert candidate.attempt is not None and candidate.attempt.search is None
        (trial,) = candidate.attempt.trials
        job = json.loads(trial.newest.paths.job.read_text())
        assert (job["purpose"], trial.score.purpose if trial.score else None) == ("rung", Purpose.RUNG)
    for candidate in scored:
        # The whole training continues the rung, bit for bit as if it had never stopped.
        assert candidate.attempt is not None and candidate.attempt.search is not None
        one = candidate.attempt.search.newest
        assert one.job.resume_from == "trial_0/try_0"
        assert [json.loads(line)["step"] for line in one.paths.metrics.read_text().splitlines()] == list(range(1, 61))
    assert not list(bench.folder.glob("r/**/resume"))
    bench.run("whole", "stop.generations=1", "ideate.candidates=4", "select.elites=0").ok()
    whole = {one.id: one.score.value for one in bench.archive("whole").candidates if one.score is not None}
    assert {one.id: one.score.value for one in scored if one.score is not None}.items() <= whole.items()


def test_a_training_that_is_worse_than_the_baseline_was_is_stopped(toy_data: Path, tmp_path: Path) -> None:
    slow = train_with(step="__import__('time').sleep(0.2)").replace('"loss": loss,', '"loss": loss + 100,')
    assert "loss + 100" in slow
    conf = baseline(tmp_path, None, "", {"worse": {"train.py": slow}})
    bench = Bench(tmp_path / "runs", toy_data, conf)
    few = ("stop.generations=1", "ideate.candidates=1", "ideate.patch_share=1", "select.elites=0")
    bench.run("r", "train.early_stop=0.3", "train.limit_min=1", *few).ok()
    archive = bench.archive("r")
    (candidate,) = archive.candidates
    assert candidate.failure is not None and candidate.score is None
    assert (candidate.failure.stage, candidate.failure.kind) == (Stage.TRAIN, FailureKind.STOPPED_EARLY)
    assert (
        candidate.failure.reason.startswith("loss had a mean of ") and "(train.early_stop)" in candidate.failure.reason
    )
    assert (
        candidate.attempt is not None and len(candidate.attempt.trials) == len(candidate.attempt.trials[0].tries) == 1
    )
    assert all(trial.score is not None for trial in archive.baseline.trials)
    bench.run("none", "train.early_stop=0.3", "baseline.curve.name=", *few).refused(2, "baseline.curve.name")
