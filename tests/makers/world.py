"""Makers' tools and briefs for tests: tools of the toy, and archives in memory."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.config import Config
from pipeline.llm.base import Model
from pipeline.makers.base import Brief, Tools
from pipeline.makers.packages import Packages
from pipeline.patching.trees import Tree, diff
from pipeline.records import Failure, Idea, Implementation, Job, Parents, Score, Smoke
from pipeline.setup.compose import compose_config
from pipeline.store.archive import Archive, Index
from pipeline.store.paths import RunPaths, number_of
from pipeline.store.views import Attempt, Candidate, Generation, Trial, Try
from tests.toy import CONF, TOY, tree

IDEAS = TOY / "ideas"
PRISTINE: Tree = {path: entry for path, entry in tree(TOY).items() if not path.startswith("ideas/")}
PACKAGES = Packages((), frozenset({"argparse", "json", "os", "random", "pathlib", "math", "dataclasses"}))


@functools.cache
def composed(settings: tuple[str, ...]) -> Config:
    return compose_config(["baseline=toy", "scale=tiny", *settings], CONF)


def tools_of(
    *settings: str,
    model: Model | None = None,
    packages: Packages = PACKAGES,
    codes: Mapping[str, Tree] | None = None,
    ideas: Path = IDEAS,
) -> Tools:
    """Tools of a run of the toy. `codes` contains the code of candidates by id; the others have the baseline's."""
    config, known = composed(settings), codes or {}

    def code(candidate: Candidate | None) -> Tree:
        return dict(PRISTINE if candidate is None else known.get(candidate.id, PRISTINE))

    tools = Tools(config, config.baseline.metric.metric, ideas, code, model)
    vars(tools)["packages"] = packages  # the same on any machine
    return tools


def candidate(
    paths: RunPaths, name: str, idea: Idea, end: float | Failure | None = None, order: int = 0, code: Tree | None = None
) -> Candidate:
    """A candidate that is open, or has a value or a failure as outcome number `order`. With `code` its patch is on
    disk."""
    folder = paths.candidate(name)
    attempt = folder.attempt(0)
    if code is not None:
        attempt.folder.mkdir(parents=True)
        attempt.patch.write_bytes(diff(PRISTINE, code).encode(errors="surrogateescape"))
    trials: tuple[Trial, ...] = ()
    if isinstance(end, float):
        score = Score("loss", end, 0.01, 10, "validation", 0, order=order)
        tried = Try(attempt.trial(0).try_(0), Job("job", 0, "validation"), None, None)
        trials = (Trial(attempt.trial(0), (tried,), score, None),)
    failure = end if isinstance(end, Failure) else None
    made = Attempt(attempt, Implementation("m", (), name), Smoke(1.0), failure, trials)
    return Candidate(name, folder, idea, () if end is None else (made,), failure)


def generation(
    paths: RunPaths, number: int, candidates: Sequence[Candidate] = (), parents: Parents | None = None
) -> Generation:
    """A generation that is complete unless `parents` requests more ideas."""
    opened = parents if parents is not None else Parents(ideas=len(candidates))
    return Generation(number, paths.generation(number), opened, tuple(candidates), None)


def archive_of(paths: RunPaths, *generations: Generation) -> Archive:
    """An archive of these generations, with its index."""
    index = Index()
    for one in generations:
        for each in one.candidates:
            index.put(each)
    complete = next((one.number for one in generations if not one.complete), len(generations))
    none = Attempt(paths.baseline, None, None, None, ())
    return Archive(paths, none, tuple(generations), index, complete=complete)


def brief_of(
    archive: Archive,
    number: int,
    exploit: bool = False,
    alike: range | None = None,
    ideas: Mapping[int, Idea] | None = None,
) -> Brief:
    """The brief of the newest generation for candidate `number`."""
    opened = archive.generations[-1]
    parents = tuple(archive.candidate(name) for name in opened.parents.candidates)
    there = {number_of(one.id): one.idea for one in opened.candidates}
    asked = alike if alike is not None else range(opened.parents.ideas)
    return Brief(archive, opened, parents, number, exploit, asked, {**there, **(ideas or {})})
