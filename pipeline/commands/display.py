"""What a person sees of a run. Pure functions from an archive to tables and lines."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pipeline.config import Config, LlmKind
from pipeline.metric import Metric
from pipeline.policy.accounting import Account, tries_of
from pipeline.records import Report, Standing, TimeToTarget
from pipeline.report.standings import baseline_estimate, standing
from pipeline.setup.preview import CODE_TOKENS, IDEA_TOKENS, CostEstimate
from pipeline.store.archive import Archive
from pipeline.store.ledger import Spending
from pipeline.store.paths import short
from pipeline.store.views import Candidate, State

_RECENT = 50
"""Tries that the time left is estimated by."""
_MOST_RESULTS = 100
"""Rows of the final table that are no elites."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a run stands, for a status line and for `--json`."""

    run: str
    generation: int
    """Number of the newest; -1 before the first."""
    generations: int
    """How many there will be."""
    states: dict[str, int]
    """Candidates of all generations by state."""
    trials: dict[str, int]
    """Trials by state, the baseline's and the test split's too."""
    best: str
    """Id of the best candidate, or empty."""
    best_value: float | None
    baseline: float | None
    """Mean of the baseline's trials so far."""
    left_min: float | None
    """Estimated minutes to the end; none while nothing is known."""
    finished: bool
    paused: str
    """Why nothing new is started, or empty."""


def progress(archive: Archive, metric: Metric, generations: int, left: int, slots: int) -> Progress:
    """Sum up an archive. `left` is the number of trials still to come, `slots` how many run at once."""
    best = next(archive.ranked(metric.goodness(1.0) > 0), None)
    reference = baseline_estimate(archive)
    recent = [*tries_of([archive.baseline]), *(one for one, _ in archive.ended(archive.index.recent[-_RECENT:]))]
    spans = [one.result.ended_at - one.result.started_at for one in recent if one.result and one.result.ended_at]
    left_min = sum(spans) / len(spans) * left / max(1, slots) / 60 if spans else None
    trials = Counter(trial.state for trial in archive.baseline.trials) + archive.index.trial_states
    newest = archive.newest
    return Progress(
        archive.paths.folder.name,
        newest.number if newest else -1,
        generations,
        {state.value: count for state, count in archive.index.states.items() if count},
        {state.value: count for state, count in trials.items() if count},
        best.id if best else "",
        best.score.value if best and best.score else None,
        reference.mean if reference is not None else None,
        left_min,
        archive.report is not None,
        _halted(archive),
    )


def _halted(archive: Archive) -> str:
    if archive.pause is not None:
        return archive.pause.reason
    if archive.alarm is not None:
        alarm = archive.alarm.alarm
        trial = f"the baseline's trial with seed {alarm.seed}"
        return f"candidates fail alike ({alarm.signature}); {trial} shows whether a machine is at fault"
    return ""


def summary_line(now: Progress, metric: Metric) -> str:
    """One line: for a log, and above the live table."""
    states = (
        ", ".join(f"{now.states[state]} {state}" for state in State if state.value in now.states) or "no candidates"
    )
    running = sum(now.trials.get(state, 0) for state in ("queued", "running"))
    parts = [f"generation {now.generation + 1}/{now.generations}" if now.generation >= 0 else "starting", states]
    parts.append(f"{running} trials in flight")
    if now.baseline is not None:
        parts.append(f"baseline {metric.text(now.baseline)}")
    if now.best_value is not None:
        parts.append(f"best {metric.text(now.best_value)} ({short(now.best)})")
    if now.paused:
        parts.append(f"PAUSED: {now.paused}")
    if now.finished:
        parts.append("finished")
    elif now.left_min is not None:
        parts.append(f"about {now.left_min:.0f} min left" if now.left_min >= 1 else "less than a minute left")
    return " · ".join(parts)


def overview(archive: Archive, metric: Metric, now: Progress, most: int | None = None) -> Group:
    """The live view and `pipeline status`: a line, then candidates; with `most` only so many: those under way, the best,
    and the newest."""
    chosen = _chosen(archive, metric, most)
    left = archive.count - len(chosen)
    note = [Text(f"{left} other candidates are not shown; list all with --all")] if left else []
    return Group(Text(summary_line(now, metric)), candidate_table(archive, metric, chosen), *note)


def candidate_table(archive: Archive, metric: Metric, chosen: Sequence[Candidate]) -> Table:
    """Some candidates below the baseline, a row each."""
    table = Table(box=None, pad_edge=False)
    for head in ("candidate", "idea", "state", metric.name, "vs baseline", "parents"):
        table.add_column(head, overflow="ellipsis", no_wrap=head != "idea", max_width=60 if head == "idea" else None)
    reference = baseline_estimate(archive)
    if reference is not None:
        shown = metric.text_error(reference.mean, reference.standard_error)
        table.add_row("baseline", "the unmodified code", f"{reference.n} trials", shown, "", "")
    for candidate in chosen:
        table.add_row(*_row(archive, candidate, metric))
    return table


@dataclasses.dataclass(frozen=True)
class Listed:
    """One candidate for a program."""

    candidate: str
    title: str
    state: str
    parents: tuple[str, ...]
    value: float | None
    standard_error: float | None
    stage: str
    kind: str
    reason: str


def listed(candidate: Candidate) -> Listed:
    """One candidate as data."""
    score, failure = candidate.score, candidate.failure
    return Listed(
        candidate.id,
        candidate.idea.title,
        candidate.state.value,
        candidate.idea.parents,
        score.value if score is not None else None,
        score.standard_error if score is not None else None,
        failure.stage.value if failure is not None else "",
        failure.kind.value if failure is not None else "",
        failure.reason if failure is not None else "",
    )


def _chosen(archive: Archive, metric: Metric, most: int | None) -> list[Candidate]:
    if most is None or archive.count <= most:
        return list(archive.candidates)
    chosen = {candidate.id: candidate for candidate in archive.open[:most]}
    for candidate in archive.ranked(metric.goodness(1.0) > 0):
        if len(chosen) >= most - most // 4:
            break
        chosen[candidate.id] = candidate
    for order in range(archive.index.outcomes, 0, -1):
        if len(chosen) >= most:
            break
        if (newest := archive.outcome(order)) is not None:
            chosen[newest.id] = newest
    return sorted(chosen.values(), key=lambda one: (len(one.id), one.id))


def results(archive: Archive, report: Report, metric: Metric) -> Group:
    """The table at the end of a run: rank, idea, value, difference, parents, where the files are."""
    if report.times:
        return Group(times(archive, report.times, metric))
    table = Table(title=f"{archive.paths.folder.name}: {report.stopped}", title_justify="left", pad_edge=False)
    for head in ("rank", "idea", metric.name, "vs baseline", "trials", "parents", "files"):
        table.add_column(head, overflow="fold")
    table.add_row("", "the unmodified baseline", *_numbers(report.baseline, metric, False), "", "baseline/")
    for rank, row in enumerate((*report.elites, *_others(archive, report, metric)), 1):
        idea = archive.candidate(row.candidate).idea
        parents = " ".join(map(short, idea.parents)) or "baseline"
        table.add_row(str(rank), idea.title, *_numbers(row, metric), parents, f"{row.candidate}/")
    lines = ["The others show the one trial that the search saw."]
    if report.elites:
        first = "The first was" if len(report.elites) == 1 else f"The first {len(report.elites)} were"
        lines.insert(0, f"{first} trained again with other seeds; the trial that chose it is left out of its numbers.")
    if report.failures:
        lines.append("Failed: " + ", ".join(f"{count} × {kind}" for kind, count in report.failures.items()) + ".")
    lines += test_lines(archive, report, metric)
    return Group(table, Text("\n".join(lines)))


def _others(archive: Archive, report: Report, metric: Metric) -> Iterator[Standing]:
    """The best candidates that are no elites, by the one trial that the search saw."""
    confirmed, reference = {one.candidate for one in report.elites}, baseline_estimate(archive)
    best = (one for one in archive.ranked(metric.goodness(1.0) > 0) if one.id not in confirmed)
    for candidate in itertools.islice(best, _MOST_RESULTS):
        assert candidate.score is not None and reference is not None
        yield standing(metric, candidate.id, [candidate.score], reference)


def times(archive: Archive, found: Sequence[TimeToTarget], metric: Metric) -> Table:
    """How long each code takes to the target."""
    table = Table(title=f"time to {metric.name} {metric.text(found[0].target)}", title_justify="left", pad_edge=False)
    for head in (
        "idea",
        f"{found[0].unit} that reach it",
        "that fall short",
        "seconds of training",
        "trainings",
        "files",
    ):
        table.add_column(head, overflow="fold")
    for one in found:
        idea = archive.candidate(one.candidate).idea.title if one.candidate != "baseline" else "the unmodified baseline"
        reach = f"{one.budget:g}" if one.budget is not None else "not reached"
        if one.budget and found[0].budget and one is not found[0]:
            reach += f" ({one.budget / found[0].budget:.0%} of the baseline's)"
        seconds = f"{one.train_s:.1f}" if one.train_s is not None else ""
        table.add_row(idea, reach, f"{one.short:g}", seconds, str(one.trainings), f"{one.candidate}/")
    return table


def test_lines(archive: Archive, report: Report, metric: Metric) -> list[str]:
    """What the test split, which selection never saw, says of the elites."""
    reference = report.baseline_test
    if reference is None:
        return []
    lines = [f"On the test split, which selection never saw: baseline {_value(reference, metric)}"]
    for row in report.elites_test:
        errors = row.gain / row.gain_error if row.gain_error else float("inf")
        lines.append(
            f"  {short(row.candidate)} {_value(row, metric)}, {metric.text_gain(row.gain)} ± "
            f"{_size(row.gain_error, metric)} against the baseline ({errors:+.1f} standard errors): "
            f"{archive.candidate(row.candidate).idea.title}"
        )
    return lines


def spent(account: Account, spending: Spending) -> list[str]:
    """Device hours, and money where a language model was asked."""
    lines = [account.text()]
    if spending.answers:
        usage, unknown = spending.usage, spending.unpriced
        dollars = "price unknown" if unknown == spending.answers else f"${usage.usd or 0:.2f}"
        if 0 < unknown < spending.answers:
            dollars += f" and {unknown} answers of unknown price"
        share = usage.tokens_cached / max(1, usage.tokens_in)
        lines.append(
            f"language model: {dollars} for {spending.answers} answers, {usage.tokens_in:,} tokens in ({share:.0%} cached), "
            f"{usage.tokens_out:,} out"
        )
    return lines


def estimated(config: Config, found: CostEstimate) -> list[str]:
    """What `dry_run` prints."""
    lines = [
        f"dry run of {config.baseline.name} at scale {config.scale}: nothing is asked, trained or written",
        f"generation {found.generation}, {found.trials} candidates; real prompts, counted at three bytes a token",
    ]
    for name, part in (("expected", found.expected), ("at most", found.most)):
        for one in part:
            usage = one.usage
            lines.append(
                f"  {name}: {one.what:5} {one.requests:5} requests, {usage.tokens_in:,} tokens in "
                f"({usage.tokens_cached:,} of them cached), {usage.tokens_out:,} out: {_dollars(usage.usd)}"
            )
        if part:
            lines.append(f"  {name}: together {_dollars(_sum([one.usage.usd for one in part]))}")
    if not found.expected:
        lines.append("  no language model is asked: $0.00")
    else:
        lines.append(f"  expected for a generation with a full history in its prompts: {_dollars(found.later_usd)}")
        first = _sum([one.usage.usd for one in found.expected])
        count = config.stop.generations
        whole = None if first is None or found.later_usd is None else first + (count - 1) * found.later_usd
        lines.append(
            f"  expected: {IDEA_TOKENS} tokens an idea, {CODE_TOKENS} an answer with code; hidden reasoning is not in it"
        )
        lines.append(f"  all {count} generations: about {_dollars(whole)}, not counting answers that cannot be used")
        if found.later_usd is None and config.llm.kind is LlmKind.provider:
            lines.append(f"  the price of {config.llm.model} is not known: give llm.usd_in and llm.usd_out")
    device = found.device
    if found.expected_h is not None:
        lines.append(
            f"{device} hours of the generation: {found.expected_h:.1f} of training expected, {found.most_h:.1f} at most"
        )
    else:
        lines.append(f"{device} hours of the generation: {found.most_h:.1f} at most")
    return lines


def _dollars(usd: float | None) -> str:
    return "price unknown" if usd is None else f"${usd:.2f}"


def _sum(parts: Sequence[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _row(archive: Archive, candidate: Candidate, metric: Metric) -> Sequence[str]:
    value = gain = ""
    score, reference = archive.shared_score(candidate), baseline_estimate(archive)
    if score is not None:
        value = metric.text_error(score.value, score.standard_error)
        if reference is not None:
            row = standing(metric, candidate.id, [score], reference)
            gain = _gain(row.gain, row.gain_error, metric)
    state = candidate.state.value
    if candidate.failure is not None:
        state = f"failed: {candidate.failure.kind}"
        if candidate.failure.twin is not None:
            state = f"the same code as {short(candidate.failure.twin.rpartition('/')[0])}"
    if candidate.id in archive.marks:
        state += ", pinned" if archive.is_pinned(candidate.id) else ", banned"
    parents = " ".join(map(short, candidate.idea.parents)) or "baseline"
    return short(candidate.id), candidate.idea.title, state, value, gain, parents


def _numbers(row: Standing, metric: Metric, against: bool = True) -> Sequence[str]:
    gain = _gain(row.gain, row.gain_error, metric) if against else ""
    return _value(row, metric), gain, str(row.trials)


def _value(row: Standing, metric: Metric) -> str:
    return metric.text_error(row.value, row.standard_error)


def _gain(gain: float, error: float, metric: Metric) -> str:
    return f"{metric.text_gain(gain)} ± {_size(error, metric)}"


def _size(error: float, metric: Metric) -> str:
    return metric.text_gain(error).lstrip("+")
