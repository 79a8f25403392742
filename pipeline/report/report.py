"""The end of a run as a record."""

from collections.abc import Sequence

from pipeline.metric import Metric
from pipeline.records import Purpose, Report, TimeToTarget
from pipeline.report.standings import baseline_estimate, baseline_standing, estimate_of, standing
from pipeline.store.archive import Archive
from pipeline.store.views import Candidate


def final_report(
    archive: Archive, metric: Metric, elites: Sequence[Candidate], stopped: str, times: Sequence[TimeToTarget]
) -> Report:
    """What `report.json` holds; the baseline has a score. An elite's numbers leave out the trial it was chosen by, where
    others are scored."""
    reference = baseline_estimate(archive)
    assert reference is not None
    tests = archive.baseline.scores(Purpose.TEST)
    test = estimate_of(tests) if tests else None
    standings, test_standings = [], []
    for elite in elites:
        assert elite.attempt is not None
        scores = elite.attempt.scores(Purpose.CONFIRM) or elite.attempt.scores(Purpose.SEARCH)
        standings.append(standing(metric, elite.id, scores, reference))
        if test is not None and (on_test := elite.attempt.scores(Purpose.TEST)):
            test_standings.append(standing(metric, elite.id, on_test, test))
    standings.sort(key=lambda one: -metric.goodness(one.value))
    order = [one.candidate for one in standings]
    test_standings.sort(key=lambda one: order.index(one.candidate))
    return Report(
        stopped=stopped,
        candidates=archive.count,
        failures={kind: count for kind, count in sorted(archive.index.failures.items()) if count},
        baseline=baseline_standing(reference),
        elites=tuple(standings),
        baseline_test=baseline_standing(test) if test is not None else None,
        elites_test=tuple(test_standings),
        seed_sd=reference.seed_sd,
        times=tuple(times),
    )
