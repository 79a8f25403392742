"""Stage 1: ideate. Opens generations and gives each candidate its idea: proposals of people, and as many ideas of the
ideator as the search method planned."""

import functools
import math
import random
from dataclasses import replace

from pipeline.config import Mode
from pipeline.llm.base import Unanswered
from pipeline.llm.roles import Role, members_of
from pipeline.makers.base import Brief, UsedUp
from pipeline.methods.base import Room
from pipeline.policy.agenda import reference_seeds
from pipeline.policy.budget import affordable
from pipeline.policy.ensemble import next_model
from pipeline.policy.stopping import most_ideas, stop_reason
from pipeline.records import Idea, Parents
from pipeline.stages.context import Context
from pipeline.store import files
from pipeline.store.archive import Archive
from pipeline.store.paths import number_of
from pipeline.store.reader import read_proposal
from pipeline.store.views import Generation


def step(context: Context, archive: Archive) -> None:
    """Open the next generation when it is due, and request the ideas that open generations still need."""
    _learn(context, archive)
    room = room_for_more(context, archive)
    if room is not None:
        _open(context, archive, room)
    for generation in archive.generations[archive.complete :]:
        if not generation.complete:
            _include_proposals(context, archive, generation)
            _request(context, archive, generation)


def room_for_more(context: Context, archive: Archive) -> Room | None:
    """Size and place of the next generation; none if none is due."""
    if archive.generations and stop_reason(context, archive) is not None:
        return None
    ideas = context.config.ideate.candidates
    if context.config.search.mode is Mode.steady and ideas:
        return _steady_room(context, archive)
    newest = archive.newest
    if newest is None:
        return Room(ideas, 0, None)
    if newest.selection is None or not newest.complete:
        return None
    return Room(ideas, newest.number + 1, newest.selection)


def _steady_room(context: Context, archive: Archive) -> Room | None:
    """Room for idle slots, and for slots that become free while new candidates are being made; none if there is none."""
    config, slots = context.config, context.cluster.slots()
    ahead = math.ceil(slots * config.search.ahead)
    missing = sum(one.parents.size - len(one.candidates) for one in archive.generations[archive.complete :])
    closed = {trial.seed for trial in archive.baseline.trials if trial.closed}
    baselines = sum(seed not in closed for _, seed in reference_seeds(context, archive))
    pending = archive.index.unclosed + missing + baselines
    room = slots + ahead - pending
    if room < max(1, ahead // 2) and pending >= slots:
        return None  # several at a time, since each opening reads the archive and writes files
    ideas = min(
        room,
        config.ideate.candidates,
        most_ideas(config) - archive.count - missing,
        affordable(context, archive, final=False) - archive.index.unclosed - missing + len(archive.in_flight()),
    )
    if ideas < 1:
        return None
    return Room(ideas, (archive.count + missing) // config.ideate.candidates, None)


def _learn(context: Context, archive: Archive) -> None:
    orders = range(context.bookmark.learned + 1, archive.index.outcomes + 1)
    outcomes = [candidate for order in orders if (candidate := archive.outcome(order)) is not None]
    if outcomes:
        context.ideator.learn(outcomes)
    context.bookmark.learned = archive.index.outcomes


def _open(context: Context, archive: Archive, room: Room) -> None:
    paths = context.run.paths.generation(len(archive.generations))
    parents = replace(context.method.plan(archive, room), proposals=archive.waiting)
    if context.run.paths.guidance.is_file():
        context.run.create_bytes(paths.guidance, context.run.paths.guidance.read_bytes())
    if context.run.create(paths.parents, parents):
        context.run.event("generation", paths.folder, f"{len(parents.candidates)} parents")


def _include_proposals(context: Context, archive: Archive, generation: Generation) -> None:
    """Turn the proposals of a generation into candidates, numbered after those of the ideator."""
    there = {number_of(one.id) for one in generation.candidates}
    for number, name in enumerate(generation.parents.proposals, generation.parents.ideas):
        if number not in there:
            _add(context, archive, generation, number, read_proposal(context.run.paths, name))


def _request(context: Context, archive: Archive, generation: Generation) -> None:
    if context.trouble is not None:
        return
    propose = functools.partial(_propose, context, archive, generation)
    if context.ideator.slow:
        context.background.start(f"ideas {generation.number}", propose, ideas=True)
    else:
        propose()


def _propose(context: Context, archive: Archive, generation: Generation) -> None:
    """Write the missing ideas in order; each depends on those before it, as in an uninterrupted run."""
    parents = tuple(archive.candidate(name) for name in generation.parents.candidates)
    count = generation.parents.ideas
    exploits = round(generation.parents.exploit_share * count) if parents else 0
    ideas = {number_of(one.id): one.idea for one in generation.candidates}
    for number in range(count):
        if number in ideas:
            continue
        exploit = number < exploits
        alike = range(exploits) if exploit else range(exploits, count)
        idea = files.read_if_there(generation.paths.candidate(number).idea, Idea)  # written since the archive was read
        if idea is None:
            try:
                idea = context.ideator.propose(Brief(archive, generation, parents, number, exploit, alike, dict(ideas)))
            except Unanswered:
                return
            except UsedUp as error:
                _end_early(context, archive, generation, number, error)
                return
            maker = context.config.ideate.maker["_target_"].rpartition(".")[2]
            _add(context, archive, generation, number, replace(idea, maker=idea.maker or maker))
        ideas[number] = idea


def _end_early(context: Context, archive: Archive, generation: Generation, ideas: int, error: UsedUp) -> None:
    """Complete a generation with the ideas that it has. Raises `error` if no work would be left."""
    smaller = without_more(generation.parents, ideas, archive.waiting)
    if smaller.size or stop_reason(context, archive) is not None:
        context.run.replace(generation.paths.parents, smaller)
        context.run.event("fewer ideas", generation.paths.folder, f"{ideas} of {generation.parents.ideas}")
    elif not archive.open:
        end = f"; or end this search with stop.candidates={archive.count}" if archive.count else ""
        raise UsedUp(f"{error}{end}")


def without_more(parents: Parents, ideas: int, waiting: tuple[str, ...]) -> Parents:
    """The parents of a generation that gets no more ideas; an empty generation includes the waiting proposals."""
    empty = not ideas and not parents.proposals
    return replace(parents, ideas=ideas, proposals=waiting if empty else parents.proposals)


def _add(context: Context, archive: Archive, generation: Generation, number: int, idea: Idea) -> None:
    paths = generation.paths.candidate(number)
    if context.config.llm.implementers:  # decided once and written down, so that a resumed run asks the same model
        models = [one.model for one in members_of(context.config.llm, Role.IMPLEMENTER).values()]
        rng = random.Random(f"{context.config.seed}/{generation.number}/{number}/implementer")
        name = next_model(archive, generation, context.config, models, lambda one: one.idea.implementer, rng)
        idea = replace(idea, implementer=name)
    if context.run.create(paths.idea, idea):
        context.run.event("idea", paths.folder, idea.title)
