"""A whole run with rungs: whoever is stopped has no score, and its job's metrics and score remain."""

import json

from pipeline.records import FailureKind, Purpose
from tests.toy import Bench


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
