"""Tables of candidates and results, and the cost of a run. Pure functions from an archive to tables and lines."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

from rich.console import Group, JustifyMethod
from rich.table import Table
from rich.text import Text

from pipeline.config import Config
from pipeline.metric import Metric
from pipeline.policy.accounting import Account
from pipeline.records import Purpose, Report, Standing, StepMeasures, TimeToTarget
from pipeline.report.final_table import FinalTable, final_table
from pipeline.report.isolation import isolation_line
from pipeline.report.standings import baseline_estimate, standing
from pipeline.setup.preview import CODE_TOKENS, IDEA_TOKENS, CostEstimate
from pipeline.store.archive import Archive
from pipeline.store.ledger import Spending
from pipeline.store.paths import short
from pipeline.store.views import Candidate
from pipeline.text import counted, plain_line

_MOST_RESULTS = 100
"""Most rows of the final table for candidates that are not elites."""


def candidate_table(archive: Archive, metric: Metric, chosen: Sequence[Candidate]) -> Table:
    """A table with the baseline first, then one row for each chosen candidate."""
    table = Table(box=None, pad_edge=False)
    for head in ("candidate", "idea", "state", metric.name, "vs baseline", "parents"):
        table.add_column(head, overflow="ellipsis", no_wrap=head != "idea", max_width=60 if head == "idea" else None)
    reference = baseline_estimate(archive)
    if reference is not None:
        shown = metric.text_error(reference.mean, reference.standard_error)
        table.add_row("baseline", "the unmodified code", counted(reference.n, "trial"), shown, "", "")
    for candidate in chosen:
        table.add_row(*_row(archive, candidate, metric))
    return table


@dataclasses.dataclass(frozen=True)
class Listed:
    """One candidate in the JSON output of `status`."""

    candidate: str
    title: str
    state: str
    parents: tuple[str, ...]
    value: float | None
    standard_error: float | None
    stage: str
    kind: str
    reason: str
    sandbox: str
    """Kind of sandbox in which it was trained; empty if it is not recorded."""


def listed(candidate: Candidate) -> Listed:
    """The candidate as plain data."""
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
        score.sandbox if score is not None else "",
    )


def choose(archive: Archive, metric: Metric, most: int | None) -> list[Candidate]:
    """The candidates to list. At most `most` if given: first the unfinished, then the best, then the newest."""
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
    """The table at the end of a run. Candidates confirmed with other seeds are ranked apart from the others."""
    if report.times:
        return Group(times(archive, report.times, metric))
    confirmed = [row for row in report.elites if _is_confirmed(archive, row)]
    others = [row for row in report.elites if row not in confirmed]
    others += _others(archive, report, metric)
    raced = sorted((row for row in others if _is_confirmed(archive, row)), key=lambda row: -metric.goodness(row.value))
    others = [row for row in others if row not in raced]
    baseline = ("baseline", *_numbers(report.baseline, metric, False), "", "the unmodified code")
    blocks: list[tuple[str, Sequence[Sequence[str]]]] = [("", [baseline])]
    for rows, words in (
        (confirmed, "confirmed: trained again with other seeds"),
        (raced, "lost the race for the elites: trained again with other seeds"),
        (others, "not confirmed: one trial each"),
    ):
        if rows:
            blocks.append((words, [_result(archive, row, metric) for row in rows]))
    lines = []
    if confirmed:
        lines.append("The numbers of the first block exclude the trial by which the candidate was chosen.")
    if others:
        lines.append(
            "The last block rests on the one trial that selection saw: the best of many is best partly by luck."
            if confirmed or raced
            else "Each rests on the one trial that selection saw: the best of many is best partly by luck."
        )
    if isolated := isolation_line(archive.index.sandboxes):
        lines.append(f"{isolated[0].upper()}{isolated[1:]}.")
    if report.failures:
        lines.append("Failed: " + ", ".join(f"{count} × {kind}" for kind, count in report.failures.items()) + ".")
    title = f"{archive.paths.folder.name}: {report.stopped}"
    heads = ("candidate", metric.name, "vs baseline", "seeds", "parents", "idea")
    shown = [Text(title, style="italic"), *_in_blocks(heads, blocks), Text(), Text("\n".join(lines))]
    if (tested := final_table(report, metric)) is not None:
        shown += [Text(f"\n{tested.title}:", style="bold"), _final(tested), Text(), Text("\n".join(tested.lines))]
    return Group(*shown)


def _result(archive: Archive, row: Standing, metric: Metric) -> Sequence[str]:
    idea = archive.candidate(row.candidate).idea
    parents = " ".join(map(short, idea.parents)) or "baseline"
    return short(row.candidate), *_numbers(row, metric), parents, plain_line(idea.title)


def _in_blocks(heads: Sequence[str], blocks: Sequence[tuple[str, Sequence[Sequence[str]]]]) -> Iterator[Text | Table]:
    """Tables under headings, with the same column widths. In a narrow terminal only the last column is folded."""
    cells = [heads, *(row for _, rows in blocks for row in rows)]
    widths = [max(len(row[number]) for row in cells) for number in range(len(heads) - 1)]
    for words, rows in blocks:
        if words:
            yield Text(f"\n{words}", style="bold")
        table = Table(box=None, pad_edge=False, show_header=not words)
        for head, width in zip(heads, [*widths, None], strict=True):
            justify: JustifyMethod = "right" if head == "seeds" else "left"
            table.add_column(head, width=width, no_wrap=width is not None, overflow="fold", justify=justify)
        for row in rows:
            table.add_row(*row)
        yield table


def _is_confirmed(archive: Archive, row: Standing) -> bool:
    """Whether the candidate has scores with seeds other than that of the search."""
    attempt = archive.candidate(row.candidate).attempt
    return attempt is not None and bool(attempt.scores(Purpose.CONFIRM))


def _others(archive: Archive, report: Report, metric: Metric) -> Iterator[Standing]:
    """The best candidates that are not elites, with their scores of the race, else with the search score."""
    confirmed, reference = {one.candidate for one in report.elites}, baseline_estimate(archive)
    best = (one for one in archive.ranked(metric.goodness(1.0) > 0) if one.id not in confirmed)
    for candidate in itertools.islice(best, _MOST_RESULTS):
        assert candidate.score is not None and candidate.attempt is not None and reference is not None
        scores = candidate.attempt.scores(Purpose.CONFIRM) or [candidate.score]
        yield standing(metric, candidate.id, scores, reference)


def times(archive: Archive, found: Sequence[TimeToTarget], metric: Metric) -> Table:
    """A table of the training time that each code needs to reach the target."""
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


def _final(found: FinalTable) -> Table:
    """The table of the test split. The kind of sandbox is left out if there is only one: the line about isolation names
    it."""
    boxed = len({row[-1] for row in found.elites}) > 1
    table = Table(box=None, pad_edge=False)
    for head in found.heads if boxed else found.heads[:-1]:
        right = head in ("p", "seeds", "excess", "touches")
        table.add_column(head, justify="right" if right else "left", no_wrap=head == "candidate")
    for row in found.rows:
        table.add_row(*(row if boxed else row[:-1]))
    return table


def spent(account: Account, spending: Spending) -> list[str]:
    """Lines with the device hours and, if a language model was used, its cost."""
    lines = [account.text()]
    if spending.answers:
        lines.append(f"language model: {_paid(spending)}")
    if len(spending.models) > 1:
        lines += [f"  {name}: {_paid(one)}" for name, one in spending.models.items()]
    return lines


def _paid(spending: Spending) -> str:
    usage, unknown = spending.usage, spending.unpriced
    dollars = "price unknown" if unknown == spending.answers else f"${usage.usd or 0:.2f}"
    if 0 < unknown < spending.answers:
        dollars += f" and {counted(unknown, 'answer')} of unknown price"
    if usage.uncertain:
        dollars += " (uncertain: the provider's counts were missing or impossible)"
    share = usage.tokens_cached / max(1, usage.tokens_in)
    counts = f"{usage.tokens_in:,} tokens in ({share:.0%} cached), {usage.tokens_out:,} out"
    return f"{dollars} for {counted(spending.answers, 'answer')}, {counts}"


def estimated(config: Config, found: CostEstimate) -> list[str]:
    """The lines that `dry_run` prints."""
    lines = [
        f"dry run of {config.baseline.name} at scale {config.scale}: nothing is requested, trained or written",
        f"generation {found.generation}, {found.trials} candidates; real prompts, counted at three bytes per token",
    ]
    lines += [f"  {one.what} by {one.asked}" for one in found.expected]
    width = max((len(one.what) for one in found.expected), default=0)
    for name, part in (("expected", found.expected), ("at most", found.most)):
        for one in part:
            usage = one.usage
            lines.append(
                f"  {name}: {one.what:{width}} {one.requests:5} requests, {usage.tokens_in:,} tokens in "
                f"({usage.tokens_cached:,} of them cached), {usage.tokens_out:,} out{_if_known(': ', usage.usd)}"
            )
        if (together := _sum([one.usage.usd for one in part])) is not None and part:
            lines.append(f"  {name}: together ${together:.2f}")
    if not found.expected:
        lines.append("  no language model is used: $0.00")
    else:
        lines.append(
            f"  expected: {IDEA_TOKENS} tokens per idea, {CODE_TOKENS} per answer with code, without hidden reasoning"
        )
        lines += _whole(config, found)
    device = found.device
    if found.expected_h is not None:
        lines.append(
            f"{device} hours of the generation: {found.expected_h:.1f} of training expected, {found.most_h:.1f} at most"
        )
    else:
        lines.append(f"{device} hours of the generation: {found.most_h:.1f} at most")
    return lines


def _whole(config: Config, found: CostEstimate) -> Iterator[str]:
    """Lines with the estimated cost of the whole run; a single line with a remedy if a price is unknown."""
    first = _sum([one.usage.usd for one in found.expected])
    if first is None or found.later_usd is None:
        unpriced = dict.fromkeys(one.model for one in found.expected if one.usage.usd is None and one.model)
        yield "  price unknown" + (f" of {' and '.join(unpriced)}: set llm.usd_in and llm.usd_out" if unpriced else "")
        return
    count = config.stop.generations
    yield f"  expected for a generation with a full history in its prompts: ${found.later_usd:.2f}"
    whole = first + (count - 1) * found.later_usd
    yield f"  all {count} generations: about ${whole:.2f}, not counting answers that cannot be used"


def _if_known(before: str, usd: float | None) -> str:
    return "" if usd is None else f"{before}${usd:.2f}"


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
            value = _value(row, metric)
            gain = metric.text_gain(row.gain, row.gain_error)
    state = candidate.state.value
    if candidate.failure is not None:
        state = f"failed: {candidate.failure.kind}"
        if candidate.failure.twin is not None:
            state = f"the same code as {short(candidate.failure.twin.rpartition('/')[0])}"
    if candidate.id in archive.marks:
        state += ", pinned" if archive.is_pinned(candidate.id) else ", banned"
    parents = " ".join(map(short, candidate.idea.parents)) or "baseline"
    return short(candidate.id), plain_line(candidate.idea.title), state, value, gain, parents


def _numbers(row: Standing, metric: Metric, against: bool = True) -> Sequence[str]:
    gain = metric.text_gain(row.gain, row.gain_error) if against else ""
    return _value(row, metric), gain, str(row.trials)


def _value(row: Standing, metric: Metric) -> str:
    return metric.text_error(row.value, row.standard_error)


def learning(steps: Sequence[StepMeasures], most: int = 10) -> Iterator[str]:
    """One line for each of the newest steps of reinforcement learning."""
    for one in steps[-most:]:
        known = f"reward {one.reward_mean:.4g}, best {one.reward_quantiles[-1]:.4g}" if one.known else "no reward yet"
        rows = "nothing to learn from"
        if one.update is not None:
            kl = f", KL {one.update.kl_start:.3f}" if one.update.kl_start is not None else ""
            rows = f"learned from {one.update.rows}{kl}"
        failed = ", ".join(f"{count} {kind}" for kind, count in one.failures.items())
        hours = one.sample_h + one.execute_h + one.update_h
        yield (
            f"step {one.step}: {known} of {one.known}; {one.distinct} of {one.ideas} distinct, commonest "
            f"{100 * one.common_share:.0f} %; entropy {one.entropy:.2f}; thinking {one.thinking:.0f} tokens; {rows}; "
            f"{hours:.2f} device hours" + (f"; failed: {failed}" if failed else "")
        )
