"""Stage 5: select. Chooses the parents after each generation, and the elites at the end of a run."""

from collections.abc import Iterator

from pipeline.config import Codes, Mode
from pipeline.errors import CannotContinue
from pipeline.policy.accounting import GenerationAccount, RunAccount, account, tries_of
from pipeline.policy.agenda import agenda, elites, is_done, measured, reference_seeds
from pipeline.policy.bisection import time_to_target
from pipeline.policy.budget import undecided
from pipeline.policy.race import final_seeds
from pipeline.policy.stopping import stop_reason
from pipeline.policy.trials import is_ready
from pipeline.records import Purpose, TimeToTarget
from pipeline.report.standings import REFERENCE
from pipeline.stages.context import Context
from pipeline.store import files
from pipeline.store.archive import Archive
from pipeline.store.views import Generation, State


def step(context: Context, archive: Archive) -> None:
    """Close generations with enough outcomes, and the run once everything is decided."""
    _check_baseline(archive)
    for generation in archive.open_generations:
        if _decidable(context, archive, generation):
            selection = context.method.select(archive)
            context.run.create(generation.paths.selection, selection)
            context.run.event("selected", generation.paths.folder, f"{len(selection.parents)} parents")
            _account(context, generation)
    done = is_done(context, archive)
    if done and archive.report is None:
        _write_report(context, archive)
    elif not done and archive.report is not None:
        # Stop rules or marks have changed: the run continues and is reported again.
        context.run.take_back(archive.paths.report, archive.paths.old_report)


def _write_report(context: Context, archive: Archive) -> None:
    from pipeline.report.report import final_report  # imports scipy, which would slow the start of every command

    if not archive.baseline.scores(*REFERENCE):
        raise CannotContinue("budget.gpu_hours is used up before the baseline has a score; raise it and resume")
    _account_for_all(context, archive)
    stopped = stop_reason(context, archive) or ""
    chosen, seeds = elites(context, archive), final_seeds(context.config)
    report = final_report(archive, context.metric, chosen, stopped, list(_times(context, archive)), seeds)
    context.run.create(archive.paths.report, report)
    context.run.event("finished")


def _times(context: Context, archive: Archive) -> Iterator[TimeToTarget]:
    if context.config.measure.codes is Codes.none:
        return
    for name, attempt in measured(context, archive):
        yield time_to_target(context, name, attempt)


def _decidable(context: Context, archive: Archive, generation: Generation) -> bool:
    if not generation.complete or not _baseline_done(context, archive):
        return False
    closed, count = sum(one.closed for one in generation.candidates), len(generation.candidates)
    if context.config.search.mode is Mode.steady:
        return closed == count
    if len(archive.generations) >= context.config.stop.generations:  # no later generation waits for an early selection
        return archive.all_closed
    quorum, slots = context.config.select.quorum, context.cluster.slots()
    if quorum < 1 and closed and slots < count:
        # Decide once a slot is idle. With more slots than candidates one always is, and a selection would learn too little.
        retries = context.config.train.retries
        waiting = any(is_ready(wanted.found, retries) for wanted in agenda(context, archive))
        unmade = any(one.state is State.PROPOSED for one in generation.candidates)
        if not waiting and not unmade and undecided(context, archive) < slots:
            return True
    return closed >= quorum * count


def _baseline_done(context: Context, archive: Archive) -> bool:
    closed = {trial.seed for trial in archive.baseline.of(*REFERENCE) if trial.closed}
    every = archive.baseline.of(*REFERENCE)
    return all(seed in closed for _, seed in reference_seeds(context, archive)) and all(one.closed for one in every)


def _check_baseline(archive: Archive) -> None:
    for trial in archive.baseline.of(Purpose.BASELINE):  # a canary raises an alarm instead
        # A machine fault says nothing about the code; the stage evaluate pauses the run for it.
        if trial.failure is not None and not trial.failure.kind.infrastructure:
            raise CannotContinue(
                f"the unmodified baseline failed ({trial.failure.stage}/{trial.failure.kind}): "
                f"{trial.failure.reason.splitlines()[0]}; read {trial.paths.folder}, fix it, and start a new run"
            )


def _account(context: Context, generation: Generation) -> None:
    """Write the account of a generation with one query to the cluster. It is computed from the tries, so that it stays
    correct when written again."""
    config, now = context.config, context.clock()
    tries = [one for candidate in generation.candidates for one in candidate.tries()]
    seconds = context.cluster.usage([one.job.job_id for one in tries if one.job.job_id is not None])
    by_candidate = {one.id: account(config, one.tries(), seconds, now) for one in generation.candidates}
    whole = account(config, tries, seconds, now)
    files.replace(generation.paths.account, GenerationAccount(now, whole, by_candidate))


def _account_for_all(context: Context, archive: Archive) -> None:
    """Write the account of the run, the sum over generations and baseline. Generations with elites are accounted again,
    since their final trials were added."""
    config, now = context.config, context.clock()
    later = (Purpose.CONFIRM, Purpose.TEST, Purpose.LOOK)
    grown = {one.paths.folder.parent for one in archive.candidates if any(code.of(*later) for code in one.attempts)}
    for generation in archive.generations:
        if generation.paths.folder in grown or generation.selection is None:
            _account(context, generation)
    tries = tries_of([archive.baseline])
    seconds = context.cluster.usage([one.job.job_id for one in tries if one.job.job_id is not None])
    baseline = account(config, tries, seconds, now)
    written = (files.read_if_there(one.paths.account, GenerationAccount) for one in archive.generations)
    whole = sum((one.generation for one in written if one is not None), baseline)
    files.replace(archive.paths.account, RunAccount(now, whole, baseline))
