"""Stage 2: turn ideas into variants that import and take one step."""

import functools
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.config import Config
from pipeline.errors import CannotGoOn
from pipeline.llm.base import Unanswered
from pipeline.patching import Refusal, patched_tree
from pipeline.patching.syntax import hash_of_changes
from pipeline.patching.trees import Tree, apply, changed_paths, diff, read_tree, write_tree
from pipeline.records import Failure, Idea, Implementation, Kind, Smoke, Stage
from pipeline.sandbox.command import End, Limits, Outcome, run_command
from pipeline.stages.base import Crash, Implemented, Search
from pipeline.stages.commands import fill, variant_environment
from pipeline.stages.decide import wanted_trials, wave
from pipeline.stages.diagnose import failure_of
from pipeline.store import files
from pipeline.store.archive import Archive, Attempt, Candidate
from pipeline.store.paths import AttemptPaths, RunPaths, short

_CRASHES = frozenset({Kind.SMOKE, Kind.EXCEPTION, Kind.OUT_OF_MEMORY, Kind.NO_CHECKPOINT, Kind.BAD_CHECKPOINT})
"""Ends of an attempt that its code is to blame for and new code may mend."""
_LOG_LINES = 60


def step(search: Search) -> None:
    """Start what has an idea and no variant, or a variant that crashed; close candidates whose last attempt failed."""
    search.background.check()
    archive = search.archive()
    unwritten = False
    for candidate in archive.unsettled:
        if candidate.closed:
            continue
        attempt = candidate.attempt
        if attempt is not None and attempt.failure is not None and not _to_repair(search, candidate, attempt.failure):
            _fail(search, candidate, attempt.paths, attempt.failure)
        elif attempt is None or attempt.failure is not None or attempt.smoke is None:
            unwritten = True
            if search.trouble is None:
                search.background.start(candidate.id, functools.partial(_implement, search, archive, candidate))
    newest = archive.newest
    unproposed = newest is None or len(newest.candidates) < wave(search, newest)
    if unwritten or unproposed:
        _check_stuck(search, archive)


def _to_repair(search: Search, candidate: Candidate, failure: Failure) -> bool:
    return failure.kind in _CRASHES and len(candidate.attempts) <= search.config.implement.crash_repairs


def _check_stuck(search: Search, archive: Archive) -> None:
    """Raises `CannotGoOn` when a person has to act for the language model, and nothing else is left to do."""
    trouble = search.trouble
    if trouble is None or trouble.until is not None or search.background.busy:
        return
    if not any(wanted_trials(search, archive)):
        raise CannotGoOn(f"{trouble.reason}; then type the same command again")


def variant_tree(paths: RunPaths, candidate: Candidate) -> Tree:
    """The code of a candidate, from its patch: the folder may have been let go."""
    attempt = candidate.attempt
    assert attempt is not None
    tree = apply(pristine_tree(paths), attempt.paths.patch.read_text(errors="surrogateescape"))
    assert not isinstance(tree, Refusal), tree
    return tree


def pristine_tree(paths: RunPaths) -> Tree:
    """The code of the unmodified baseline."""
    tree = read_tree(paths.pristine)
    assert not isinstance(tree, Refusal), tree
    return tree


def _fail(search: Search, candidate: Candidate, attempt: AttemptPaths, failure: Failure) -> None:
    decided = replace(failure, attempt=attempt.folder.name)
    if files.create(candidate.paths.failure, decided):
        search.run.event("failed", candidate.paths.folder, f"{failure.stage}: {failure.reason.splitlines()[0]}")


def _implement(search: Search, archive: Archive, candidate: Candidate) -> None:
    """Write an attempt of a candidate, up to smoke.json or failure.json. Goes on where a killed call ended."""
    done = [attempt for attempt in candidate.attempts if attempt.failure is not None]
    attempt = candidate.paths.attempt(len(done))
    if attempt.smoke.exists() or attempt.failure.exists():
        return  # since the archive was read
    attempt.folder.mkdir(exist_ok=True)
    failure = None
    if not attempt.implementation.exists():
        try:
            failure = _write_variant(search, archive, candidate, attempt, done[-1] if done else None)
        except Unanswered:
            return
    if failure is None:
        failure = _smoke(search, attempt)
    if failure is not None:
        files.create(attempt.failure, failure)


def _write_variant(
    search: Search, archive: Archive, candidate: Candidate, attempt: AttemptPaths, crashed: Attempt | None
) -> Failure | None:
    baseline = pristine_tree(search.run.paths)
    if crashed is None:
        parents = [variant_tree(search.run.paths, archive.candidate(parent)) for parent in candidate.idea.parents]
        made = _given(search, candidate.idea, baseline, parents)
        if made is None:
            made = search.implementer.implement(candidate.idea, baseline, parents)
    else:
        made = search.implementer.repair(candidate.idea, baseline, _crash(search.run.paths, candidate, crashed))
    if isinstance(made, Refusal):
        kind = Kind.CONFLICT if made.kind == "conflict" else Kind.REFUSED
        return Failure(Stage.IMPLEMENT, kind, made.reason)
    patch = diff(baseline, made.tree)
    paths = changed_paths(patch)
    syntax = hash_of_changes(baseline, made.tree)
    if syntax == hash_of_changes(baseline, baseline):
        return Failure(Stage.IMPLEMENT, Kind.REFUSED, "the code is the same as the baseline's")
    refusal = search.rules.check(paths)
    if refusal is not None:
        return Failure(Stage.IMPLEMENT, Kind.REFUSED, refusal.reason)
    with search.background.alone:  # of two that write the same code at the same time, the second has to see the first
        twin = _twin(search, syntax)
        if twin is not None:
            return twin
        shutil.rmtree(attempt.variant, ignore_errors=True)  # of a call that was killed before implement.json
        write_tree(made.tree, attempt.variant)
        files.create_bytes(attempt.patch, patch.encode(errors="surrogateescape"))
        files.create(attempt.implementation, Implementation(made.maker, paths, syntax, made.tries, made.usage))
    search.run.event("implemented", candidate.paths.folder, ", ".join(paths))
    return None


def _given(search: Search, idea: Idea, baseline: Tree, parents: Sequence[Tree]) -> Implemented | Refusal | None:
    """The code that came with an idea, if it did."""
    if idea.change is None or idea.change.text is None:
        return None
    made = patched_tree(parents[0] if parents else baseline, idea.change.text, search.rules)
    return made if isinstance(made, Refusal) else Implemented(made, idea.origin)


def _crash(paths: RunPaths, candidate: Candidate, attempt: Attempt) -> Crash:
    """What a repair starts from."""
    assert attempt.failure is not None
    log = attempt.paths.smoke_log
    if attempt.failure.try_ is not None:
        log = attempt.paths.trial(0).named(attempt.failure.try_).train_log
    code = variant_tree(paths, replace(candidate, attempts=(attempt,)))
    return Crash(code, attempt.failure, files.tail(log, _LOG_LINES))


def _twin(search: Search, syntax: str) -> Failure | None:
    """A failure that names the attempt with the same code, whoever wrote it and whatever comes of it; a machine's fault
    does not count, and neither do duplicates.

    The code is not trained again. Its score is shared: whoever reads this failure finds it with the twin
    (`Archive.shared_score`), also when it comes later. The candidate itself is never ranked, since the same code in two
    places would take the place of another as parent and as elite."""
    for candidate in search.archive().candidates:
        for attempt in candidate.attempts:
            if attempt.implementation is None or attempt.implementation.syntax != syntax:
                continue
            if attempt.failure is None or not attempt.failure.kind.infrastructure:
                words = f"the same code as {short(candidate.id)}: {candidate.idea.title}"
                twin = attempt.paths.folder.relative_to(search.run.paths.folder).as_posix()
                return Failure(Stage.IMPLEMENT, Kind.DUPLICATE, words, twin=twin)
    return None


def _smoke(search: Search, attempt: AttemptPaths) -> Failure | None:
    """Close the attempt when it imports and takes one training step."""
    attempt.smoke_log.unlink(missing_ok=True)
    stopping = search.background.stopping.is_set
    outcome, limits = run_smoke(
        search.config, search.run.paths, search.data, attempt.variant, attempt.smoke_log, stopping
    )
    if outcome.ended is End.STOPPED:
        return None  # the program ends; it is done again
    failure = failure_of(Stage.IMPLEMENT, outcome, limits, files.tail(attempt.smoke_log))
    if failure is None:
        files.create(attempt.smoke, Smoke(outcome.seconds))
        return None
    return failure if failure.kind.infrastructure else replace(failure, kind=Kind.SMOKE)


def run_smoke(
    config: Config,
    paths: RunPaths,
    data: Path,
    variant: Path,
    log: Path,
    stopping: Callable[[], bool] = lambda: False,
) -> tuple[Outcome, Limits]:
    """The baseline's `smoke` on a variant, on the CPU of this machine; ended as soon as `stopping` says so."""
    limits = Limits(60 * config.implement.smoke_limit_min, config.train.resources.mem_gb)
    with tempfile.TemporaryDirectory(prefix="smoke-") as scratch:
        places = {"train_data": data / "train", "output": Path(scratch), "seed": config.seed, "size": paths.size}
        outcome = run_command(
            fill(config.baseline, config.baseline.commands.smoke, places),
            cwd=variant,
            environment=variant_environment(config.baseline, 1, {"CUDA_VISIBLE_DEVICES": ""}),
            log=log,
            limits=limits,
            enough=stopping,
        )
    return outcome, limits
