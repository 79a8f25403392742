"""Stage 1: propose. Opens a generation when the one before has decided, and gives each candidate its idea: first those
that people brought in, then as many of the ideator's as are asked for."""

import functools

from pipeline.config import Config
from pipeline.config import Search as Method
from pipeline.llm.base import Unanswered
from pipeline.records import Parents
from pipeline.stages.base import Brief, Search
from pipeline.stages.decide import asked, stop_reason, wave
from pipeline.store import files
from pipeline.store.archive import Archive, Generation, read_proposals


def step(search: Search) -> None:
    """Open the next generation when it is due, and have the ideas written that the open one lacks."""
    archive = search.archive()
    newest = archive.newest
    if newest is None:
        _open(search, 0, Parents(proposals=_waiting(archive)))
    elif newest.selection is not None and _full(search, newest) and _goes_on(search, archive):
        number = newest.number + 1
        share = exploit_share(search.config, number)
        _open(search, number, Parents(newest.selection.parents, share, _waiting(archive)))
    newest = search.archive().newest
    assert newest is not None
    _take_up(search, newest)
    if _full(search, newest) or search.trouble is not None:
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


def _goes_on(search: Search, archive: Archive) -> bool:
    """Whether another generation is due. Where times are measured there is one for each time that people bring codes in."""
    if search.config.select.method is Method.time_to_target:
        return bool(_waiting(archive))
    return stop_reason(search, archive) is None


def _full(search: Search, generation: Generation) -> bool:
    return len(generation.candidates) >= wave(search, generation)


def _waiting(archive: Archive) -> tuple[str, ...]:
    """What people brought in and no generation has taken up."""
    taken = {name for generation in archive.generations for name in generation.parents.proposals}
    return tuple(name for name in read_proposals(archive.paths) if name not in taken)


def _take_up(search: Search, generation: Generation) -> None:
    """Make candidates of the proposals of a generation, numbered after the ideator's own."""
    names = generation.parents.proposals
    if not names:
        return
    proposals = read_proposals(search.run.paths)
    for number, name in enumerate(names, asked(search.config)):
        paths = generation.paths.candidate(number)
        paths.folder.mkdir(exist_ok=True)
        if files.create(paths.idea, proposals[name]):
            search.run.reader.forget(paths.folder)
            search.run.event("idea", paths.folder, proposals[name].title)


def _open(search: Search, number: int, parents: Parents) -> None:
    paths = search.run.paths.generation(number)
    paths.folder.mkdir(parents=True, exist_ok=True)
    if search.run.paths.guidance.is_file():
        files.create_bytes(paths.guidance, search.run.paths.guidance.read_bytes())
    if files.create(paths.parents, parents):
        search.run.event("generation", paths.folder, f"{len(parents.candidates)} parents")


def _propose(search: Search, generation: Generation) -> None:
    """Write idea after idea."""
    archive = search.archive()
    parents = tuple(archive.candidate(candidate) for candidate in generation.parents.candidates)
    count = asked(search.config)
    exploits = round(generation.parents.exploit_share * count) if parents else 0
    for number in range(count):
        paths = generation.paths.candidate(number)
        if paths.idea.exists():
            continue
        exploit = number < exploits
        alike = range(exploits) if exploit else range(exploits, count)
        # Read again, so that each idea knows those before it, as it would in an unbroken run.
        brief = Brief(search.archive(), parents, generation.number, number, exploit, alike)
        try:
            idea = search.ideator.propose(brief)
        except Unanswered:
            return
        paths.folder.mkdir(exist_ok=True)
        files.create(paths.idea, idea)
        search.run.reader.forget(paths.folder)
        search.run.event("idea", paths.folder, idea.title)
