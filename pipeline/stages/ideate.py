"""Stage 1: propose. Opens a generation when the one before has decided, and gives each candidate its idea."""

import functools

from pipeline.config import Config
from pipeline.config import Search as Method
from pipeline.llm.base import Unanswered
from pipeline.records import Parents
from pipeline.stages.base import Brief, Search
from pipeline.stages.decide import stop_reason
from pipeline.store import files
from pipeline.store.archive import Generation, Reader


def step(search: Search) -> None:
    """Open the next generation when it is due, and have the ideas written that the open one lacks."""
    archive = search.archive()
    newest = archive.newest
    if newest is None:
        _open(search, 0, Parents())
    elif newest.selection is not None and _full(newest.candidates, search) and stop_reason(search, archive) is None:
        number = newest.number + 1
        _open(search, number, Parents(newest.selection.parents, exploit_share(search.config, number)))
    newest = search.archive().newest
    assert newest is not None
    if _full(newest.candidates, search) or search.trouble is not None:
        return
    if search.ideator.slow:
        search.background.start("ideas", functools.partial(_propose, search, newest))
    else:
        _propose(search, newest)


def exploit_share(config: Config, generation: int) -> float:
    """Share of exploit ideas: none at first, then rising every second generation (arXiv 2601.14525, section on
    evolutionary search)."""
    ideate = config.ideate
    if generation == 0 or config.select.method is Method.independent:
        return 0.0
    return min(ideate.exploit_max, ideate.exploit_start + ideate.exploit_step * ((generation - 1) // 2))


def _full(candidates: tuple[object, ...], search: Search) -> bool:
    return len(candidates) >= search.config.ideate.candidates


def _open(search: Search, number: int, parents: Parents) -> None:
    paths = search.run.paths.generation(number)
    paths.folder.mkdir(parents=True, exist_ok=True)
    if search.run.paths.guidance.is_file():
        files.create_bytes(paths.guidance, search.run.paths.guidance.read_bytes())
    if files.create(paths.parents, parents):
        search.run.event("generation", paths.folder, f"{len(parents.candidates)} parents")


def _propose(search: Search, generation: Generation) -> None:
    """Write idea after idea."""
    reader = Reader(search.run.paths)  # of its own, as a reader remembers
    archive = reader.read()
    parents = tuple(archive.candidate(candidate) for candidate in generation.parents.candidates)
    count = search.config.ideate.candidates
    exploits = round(generation.parents.exploit_share * count) if parents else 0
    for number in range(count):
        paths = generation.paths.candidate(number)
        if paths.idea.exists():
            continue
        exploit = number < exploits
        alike = range(exploits) if exploit else range(exploits, count)
        # Read again, so that each idea knows those before it, as it would in an unbroken run.
        brief = Brief(reader.read(), parents, generation.number, number, exploit, alike)
        try:
            idea = search.ideator.propose(brief)
        except Unanswered:
            return
        paths.folder.mkdir(exist_ok=True)
        files.create(paths.idea, idea)
        search.run.event("idea", paths.folder, idea.title)
