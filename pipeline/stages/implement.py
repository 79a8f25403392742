"""Stage 2: implement. Turns ideas into variants that import and take one training step."""

import functools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.config import Config
from pipeline.errors import CannotContinue
from pipeline.likeness import jaccard
from pipeline.llm.base import Unanswered
from pipeline.makers.base import Crash, Implemented
from pipeline.makers.people import given_tree
from pipeline.makers.variants import pristine_tree, variant_tree
from pipeline.patching import Refusal
from pipeline.patching.planted import check_planted
from pipeline.patching.syntax import changed_parts, hash_of_changes
from pipeline.patching.trees import Tree, diff, write_tree
from pipeline.policy.agenda import agenda
from pipeline.records import Failure, FailureKind, Idea, Implementation, Smoke, Stage
from pipeline.sandbox.base import Access, Command, End, Outcome, RunLimits, Sandbox
from pipeline.sandbox.command_lines import fill, scratch_folder, variant_environment
from pipeline.sandbox.diagnose import failure_of
from pipeline.stages.context import Context
from pipeline.store import files
from pipeline.store.archive import Archive
from pipeline.store.manifest import altered_code
from pipeline.store.paths import AttemptPaths, RunPaths, short
from pipeline.store.views import Attempt, Candidate

_CRASHES = frozenset(
    {
        FailureKind.SMOKE,
        FailureKind.EXCEPTION,
        FailureKind.OUT_OF_MEMORY,
        FailureKind.NO_CHECKPOINT,
        FailureKind.BAD_CHECKPOINT,
    }
)
"""Failures of an attempt that its code caused and that new code may repair."""
_LOG_LINES = 60
_SMOKE_GB = 10.0
_INTACT_S = 60.0


def step(context: Context, archive: Archive) -> None:
    """Start an attempt for candidates without a variant or with a crashed one; fail candidates whose last attempt failed."""
    context.background.check()
    unwritten = archive.complete < len(archive.generations)
    for candidate in archive.open:
        if candidate.closed:
            continue
        attempt = candidate.attempt
        if attempt is not None and attempt.failure is not None and not _to_repair(context, candidate, attempt.failure):
            _fail(context, candidate, attempt.paths, attempt.failure)
        elif attempt is None or attempt.failure is not None or attempt.smoke is None:
            unwritten = True
            if context.trouble is None:
                context.background.start(candidate.id, functools.partial(_implement, context, archive, candidate))
    if unwritten:
        _check_stuck(context, archive)


def _to_repair(context: Context, candidate: Candidate, failure: Failure) -> bool:
    return failure.kind in _CRASHES and len(candidate.attempts) <= context.config.implement.crash_repairs


def _check_stuck(context: Context, archive: Archive) -> None:
    """Raise `CannotContinue` if the language model requires manual action and no other work is left."""
    trouble = context.trouble
    if trouble is None or trouble.until is not None or context.background.busy:
        return
    if not any(agenda(context, archive)):
        raise CannotContinue(f"{trouble.reason}; then run the same command again")


def _fail(context: Context, candidate: Candidate, attempt: AttemptPaths, failure: Failure) -> None:
    decided = replace(failure, attempt=attempt.folder.name, order=context.run.reader.next_order())
    if context.run.create(candidate.paths.failure, decided):
        context.run.event("failed", candidate.paths.folder, f"{failure.stage}: {failure.reason.splitlines()[0]}")


def _implement(context: Context, archive: Archive, candidate: Candidate) -> None:
    """Write an attempt of a candidate, up to smoke.json or failure.json. Resumes where a killed call stopped."""
    done = [attempt for attempt in candidate.attempts if attempt.failure is not None]
    attempt = candidate.paths.attempt(len(done))
    if attempt.smoke.exists() or attempt.failure.exists():
        return  # since the archive was read
    failure = None
    if not attempt.implementation.exists():
        if not _is_intact(context, attempt):
            return
        try:
            failure = _write_variant(context, archive, candidate, attempt, done[-1] if done else None)
        except Unanswered:
            return
    if failure is None:
        failure = _smoke(context, attempt)
    if failure is not None:
        context.run.create(attempt.failure, failure)


def _is_intact(context: Context, attempt: AttemptPaths) -> bool:
    """Whether the pristine code is unchanged since the run started; pauses the run if not. The hashes are compared at most
    once a minute, since each trial compares them again before it starts."""
    manifest, bookmark, now = context.run.manifest, context.bookmark, context.clock()
    if manifest is None or now - bookmark.intact_at < _INTACT_S:
        return True
    altered = altered_code(context.run.paths, manifest)
    if altered is not None:
        context.pause(attempt.folder, f"{altered}; restore it")
    else:
        bookmark.intact_at = now
    return altered is None


def _write_variant(
    context: Context, archive: Archive, candidate: Candidate, attempt: AttemptPaths, crashed: Attempt | None
) -> Failure | None:
    baseline = pristine_tree(context.run.paths)
    if crashed is None:
        parents = [variant_tree(context.run.paths, archive.candidate(parent)) for parent in candidate.idea.parents]
        made = _given(context, candidate.idea, baseline, parents)
        if made is None:
            made = context.implementer.implement(candidate.idea, baseline, parents)
    else:
        made = context.implementer.repair(candidate.idea, baseline, _crash(context.run.paths, candidate, crashed))
    if isinstance(made, Refusal):
        kind = FailureKind.CONFLICT if made.kind == "conflict" else FailureKind.REFUSED
        return Failure(Stage.IMPLEMENT, kind, made.reason)
    patch = diff(baseline, made.tree)
    paths = tuple(sorted(path for path in {*baseline, *made.tree} if baseline.get(path) != made.tree.get(path)))
    syntax = hash_of_changes(baseline, made.tree)
    if syntax == hash_of_changes(baseline, baseline):
        return Failure(Stage.IMPLEMENT, FailureKind.REFUSED, "the code is the same as the baseline's")
    refusal = (
        context.rules.check(paths)
        or check_planted(baseline, made.tree, context.rules)
        or _near(context, archive, candidate, made.tree)
    )
    if refusal is not None:
        return Failure(Stage.IMPLEMENT, FailureKind.REFUSED, refusal.reason)
    with (
        context.background.alone
    ):  # of two candidates with the same code at the same time, the second must see the first
        twin = _twin(context, archive, syntax)
        if twin is not None:
            return twin
        context.background.codes[syntax] = (candidate.id, attempt.folder.name)
        attempt.folder.mkdir(exist_ok=True)
        shutil.rmtree(attempt.variant, ignore_errors=True)  # of a call that was killed before implement.json
        write_tree(made.tree, attempt.variant)
        context.run.create_bytes(attempt.patch, patch.encode(errors="surrogateescape"))
        made_by = Implementation(made.maker, paths, syntax, made.tries, made.usage)
        context.run.create(attempt.implementation, made_by)
    context.run.event("implemented", candidate.paths.folder, ", ".join(paths))
    return None


def _given(context: Context, idea: Idea, baseline: Tree, parents: Sequence[Tree]) -> Implemented | Refusal | None:
    """The code that came with an idea, or why it cannot be used; none if it came without code."""
    if idea.change is None or idea.change.text is None:
        return None
    made = given_tree(parents[0] if parents else baseline, idea.change, context.rules)
    return made if isinstance(made, Refusal) else Implemented(made, idea.origin)


def _crash(paths: RunPaths, candidate: Candidate, attempt: Attempt) -> Crash:
    """The input of a repair: the crashed code, its failure and the end of its log."""
    assert attempt.failure is not None
    log = attempt.paths.smoke_log
    if attempt.failure.try_ is not None and attempt.search is not None:
        log = attempt.search.paths.named(attempt.failure.try_).train_log
    code = variant_tree(paths, replace(candidate, attempts=(attempt,)))
    return Crash(code, attempt.failure, files.tail(log, _LOG_LINES))


def _twin(context: Context, archive: Archive, syntax: str) -> Failure | None:
    """A failure that names an earlier attempt with the same code, regardless of its author and outcome; none if there is no
    such attempt. Attempts that ended by a machine fault, and duplicates, do not count.

    The code is not trained again. The twin's score is shared (`Archive.shared_score`), even if it is known only later. The
    candidate itself is never ranked, since the same code twice would take another candidate's place as parent and elite."""
    known = [
        (candidate.id, attempt.paths.folder.name)
        for candidate, attempt in archive.same_code(syntax)
        if attempt.failure is None or not attempt.failure.kind.infrastructure
    ]
    if not known and syntax in context.background.codes:
        known = [context.background.codes[syntax]]
    if not known:
        return None
    name, attempt = known[0]
    reason = f"the same code as {short(name)}: {archive.candidate(name).idea.title}"
    return Failure(Stage.IMPLEMENT, FailureKind.DUPLICATE, reason, twin=f"{name}/{attempt}")


def _near(context: Context, archive: Archive, candidate: Candidate, tree: Tree) -> Refusal | None:
    """Why a change is refused as nearly that of another candidate on the same parents (`implement.similarity`)."""
    least, parents = context.config.implement.similarity, candidate.idea.parents
    if least >= 1:
        return None
    paths = context.run.paths
    base = variant_tree(paths, archive.candidate(parents[0])) if parents else pristine_tree(paths)
    parts = changed_parts(base, tree)
    for other in archive.candidates:
        if other.id == candidate.id or other.idea.parents != parents or other.score is None:
            continue
        shared = jaccard(parts, changed_parts(base, variant_tree(paths, other)))
        if shared >= least:
            reason = f"{shared:.0%} the same change as {short(other.id)}: {other.idea.title}"
            return Refusal("near", f"{reason} (implement.similarity={least:g})")
    return None


def _smoke(context: Context, attempt: AttemptPaths) -> Failure | None:
    """Run the smoke test: the variant must import and take one training step. Writes smoke.json, or returns the failure."""
    attempt.smoke_log.unlink(missing_ok=True)
    stopping = context.background.stopping.is_set
    outcome, limits = run_smoke(
        context.config,
        context.sandbox,
        context.run.paths,
        context.data,
        attempt.variant,
        attempt.smoke_log,
        stopping,
    )
    if outcome.ended is End.STOPPED:
        return None  # the program is ending; the test is repeated on resume
    failure = failure_of(Stage.IMPLEMENT, outcome, limits, files.tail(attempt.smoke_log))
    if failure is None:
        context.run.create(attempt.smoke, Smoke(outcome.seconds))
        return None
    return failure if failure.kind.infrastructure else replace(failure, kind=FailureKind.SMOKE)


def run_smoke(
    config: Config,
    sandbox: Sandbox,
    paths: RunPaths,
    data: Path,
    variant: Path,
    log: Path,
    stopping: Callable[[], bool] = lambda: False,
) -> tuple[Outcome, RunLimits]:
    """Run the baseline's `smoke` on a variant, on the CPU of this machine; stopped as soon as `stopping` returns true."""
    limits = RunLimits(60 * config.implement.smoke_limit_min, config.train.resources.mem_gb, disk_gb=_SMOKE_GB)
    with scratch_folder(config.cluster.scratch) as scratch:
        own = Path(scratch["TMPDIR"])
        output = own / "output"
        output.mkdir()
        places = {"train_data": data / "train", "output": output, "seed": config.seed, "size": paths.size}
        command = Command(
            fill(config.baseline, config.baseline.commands.smoke, places),
            variant,
            variant_environment(config.baseline, 1, {**scratch, "CUDA_VISIBLE_DEVICES": ""}),
            log,
        )
        access = Access(read=(variant, data / "train", paths.size), write=(own,))
        outcome = sandbox.run(command, access, limits, enough=stopping)
    return outcome, limits
