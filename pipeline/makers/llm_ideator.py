"""A language model proposes ideas: first ideas, new ideas given the history, and ideas that build on good candidates."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.config import LlmConfig
from pipeline.errors import CannotContinue
from pipeline.llm.base import tokens
from pipeline.llm.requests import answer_tokens
from pipeline.llm.roles import Member, Role
from pipeline.makers import history
from pipeline.makers.base import Brief, Tools
from pipeline.makers.conversation import Conversation, lacking
from pipeline.makers.elision import elide
from pipeline.makers.lessons import Lessons
from pipeline.makers.novelty import KnownIdeas
from pipeline.makers.prompting import ideator_text, render, shown_diff
from pipeline.makers.proposals import IDEAS_SCHEMA, Proposal, read_proposals
from pipeline.patching.trees import diff
from pipeline.policy.ensemble import next_model
from pipeline.records import Completion, Idea, Knowledge, Usage
from pipeline.store.archive import Archive
from pipeline.store.paths import number_of, short
from pipeline.store.views import Candidate

ANSWERS = 5
_MOST_CUT_OFF = 2
"""Number of cut-off answers without an idea after which the program stops and names the setting to change."""
_MARGIN_TOKENS = 2000
_KEPT_PATCHES = 64
_HEAD_TOKENS = 400
"""Approximate upper bound on the tokens for the score and training of a parent."""
_MOST_TITLES = 300
"""Most titles of ideas without a known outcome that a prompt lists, newest first."""


class LlmIdeator:
    """Requests ideas in batches. The prompt of a batch depends only on what was known when its generation opened and on the
    batches before it. So a resumed run repeats it word for word and finds the answer that it has paid for."""

    needs_model = True
    slow = True

    def __init__(self, tools: Tools) -> None:
        self._members = tools.members_for(Role.IDEATOR)
        self._shared = ideator_text(tools)
        self._config = tools.config
        self._metric = tools.metric
        self._code = tools.code
        self._lessons = Lessons(tools.config, tools.metric, self._members[0].model, self._shared)
        self._known = KnownIdeas(tools.config.ideate.similarity, tools.embedder)
        self._baseline = elide(tools.code(None), tools.config.baseline, tools.config.scale)
        self._patches: dict[str, str] = {}

    def propose(self, brief: Brief) -> Idea:
        """Raises `CannotContinue` if the answers contain too few ideas, `Unanswered` if the model is unavailable."""
        size = max(1, self._config.ideate.batch)
        first = brief.number - (brief.number - brief.alike.start) % size
        batch = range(first, min(first + size, brief.alike.stop))
        brief = replace(brief, parents=brief.parents_of(batch) if brief.exploit else brief.parents)
        return self._ideas(brief, batch)[brief.number - first]

    def learn(self, outcomes: Sequence[Candidate]) -> None:
        """Does nothing: outcomes reach the model through the prompts."""

    def _ideas(self, brief: Brief, batch: range) -> list[Idea]:
        before = [
            idea
            for number, idea in sorted(brief.ideas.items())
            if number < batch.start or number >= brief.generation.parents.ideas  # proposals of people come first
        ]
        self._known.update(brief.archive, brief.generation.parents.seen.generations)
        member = self._member(brief, batch)
        purpose, text = self._question(brief, batch, before, member.settings)
        talk = Conversation(member.model, self._shared, purpose, text, schema=IDEAS_SCHEMA)
        ideas: list[Idea] = []
        reasons, asked, usage = list[str](), 0, Usage()
        for _ in range(ANSWERS):
            (answer,) = talk.answers()
            asked, usage = asked + 1, usage + answer.usage
            good, problems = self._sift(brief, read_proposals(answer.text), [*before, *ideas])
            ideas += good
            if len(ideas) >= len(batch):
                share = usage.usd / len(batch) if usage.usd is not None else None
                maker = member.name or answer.model  # recorded answers have no model in the settings
                return [replace(idea, maker=maker, usd=share) for idea in ideas[: len(batch)]]
            reasons += [reason] if (reason := lacking(answer, answer_tokens(member.settings))) else []
            if not good and _hopeless(answer, len(reasons)):
                break
            missing = len(batch) - len(ideas)
            why = "\n".join(problems) or "These are too few."
            talk.reply(answer, render("more", self._config.prompts, problems=why, missing=missing))
        seen = f" ({reasons[-1]})" if reasons else ""
        raise CannotContinue(
            f"the language model gave {len(ideas)} of {len(batch)} ideas in {asked} answers{seen}; read llm/{talk.key} in "
            "the run folder; to ask again, move the folders of such answers away, or set another model with llm.model=…"
        )

    def _member(self, brief: Brief, batch: range) -> Member:
        """The model that writes a batch."""
        names = {one.name: one for one in self._members}
        rng = random.Random(f"{self._config.seed}/{brief.generation.number}/{batch.start}/ideator")
        return names[
            next_model(brief.archive, brief.generation, self._config, tuple(names), lambda one: one.idea.maker, rng)
        ]

    def _question(self, brief: Brief, batch: range, before: Sequence[Idea], llm: LlmConfig) -> tuple[str, str]:
        """The purpose and the text of a prompt."""
        archive, known = brief.archive, brief.generation.parents.seen
        own, metric = self._config.prompts, self._metric
        common = {
            "count": len(batch),
            "measured": history.measured(archive, known, self._config, metric),
            "guidance": _guidance(brief.generation.paths.guidance),
            "proposed": _proposed([*_undecided(archive, known), *before]),
        }
        if known.baseline is None or not known.outcomes:
            return "first", render("first", own, **common)
        common["lessons"] = self._lessons.text(brief, self._room("", self._members[0].settings))
        most = self._room(str(common), llm)
        seed = f"{self._config.seed}/{brief.generation.number}/{batch.start}"
        if not brief.exploit:
            tried = history.tried(archive, known, metric, seed, most)
            return "explore", render("explore", own, history=tried, **common)
        names = [one.id for one in brief.parents]
        tried = history.tried(archive, known, metric, seed, most // 2, names)
        parents = "\n\n".join((*self._parents(brief, most // 2), *_draws(brief, batch)))
        return "exploit", render("exploit", own, parents=parents, history=tried, **common)

    def _room(self, taken: str, llm: LlmConfig) -> int:
        """Tokens left for the history in a prompt that also contains `taken`."""
        room = llm.context - answer_tokens(llm) - tokens(self._shared) - tokens(taken) - _MARGIN_TOKENS
        return max(0, min(self._config.ideate.history_tokens, room))

    def _parents(self, brief: Brief, most_tokens: int) -> Iterator[str]:
        """Descriptions of the parents, with as much of their code as fits. Short ones leave room to long ones."""
        known, config = brief.generation.parents.seen, self._config
        patches = [self._patch(one) for one in brief.parents]
        whole = [
            tokens(shown_diff(patch)) + tokens(one.idea.text) for one, patch in zip(brief.parents, patches, strict=True)
        ]
        rooms = history.shares([size + _HEAD_TOKENS for size in whole], most_tokens)
        for one, patch, room in zip(brief.parents, patches, rooms, strict=True):
            yield history.parent(brief.archive, one, known, self._metric, config.train.clock, patch, room)

    def _patch(self, candidate: Candidate) -> str:
        """A candidate's change of the shown codebase; cached, since the same parents are described many times."""
        assert candidate.attempt is not None
        if not self._baseline.classes:
            return candidate.attempt.paths.patch.read_text(errors="replace")
        kept, config = self._patches, self._config
        if candidate.id not in kept:
            if len(kept) >= _KEPT_PATCHES:
                kept.clear()
            code = elide(self._code(candidate), config.baseline, config.scale)
            kept[candidate.id] = diff(self._baseline.shown, code.shown)
        return kept[candidate.id]

    def _sift(self, brief: Brief, proposals: Sequence[Proposal], tried: Sequence[Idea]) -> tuple[list[Idea], list[str]]:
        """The usable ideas, and the problems of the others."""
        origin = "exploit" if brief.exploit else "explore"
        ids = {name: one.id for one in brief.parents for name in (one.id, short(one.id))} if brief.exploit else {}
        good: list[Idea] = []
        problems = [] if proposals else ["No idea could be read: write them as JSON, as described."]
        read: list[Idea] = []
        for proposal in proposals:
            parents = tuple(dict.fromkeys(ids[name] for name in proposal.parents if name in ids))[:2]
            if brief.exploit and not parents:
                problems.append(
                    f"{proposal.title!r} names no parent among {', '.join(map(short, map(_id, brief.parents)))}."
                )
                continue
            read.append(Idea(" ".join(proposal.title.split())[:120], proposal.text, origin, parents))
        self._known.prepare([*tried, *read])
        for idea in read:
            twin = self._known.twin(idea, brief.generation.parents.seen.generations) or next(
                (other for other in (*tried, *good) if self._known.alike(idea, other)), None
            )
            if twin is not None:
                problems.append(f"{idea.title!r} is the same as {twin.title!r}, which is known already.")
                continue
            good.append(idea)
        return good, problems


def _hopeless(answer: Completion, reasons: int) -> bool:
    """Whether repeating the question with the same settings is unlikely to give a better answer."""
    return answer.finish == "context" or (answer.finish in ("length", "reasoning") and reasons >= _MOST_CUT_OFF)


def _draws(brief: Brief, batch: range) -> Iterator[str]:
    """How many ideas of a batch the search method drew for each of its parents, if for several."""
    counts = Counter(brief.generation.parents.draws[batch.start : batch.stop])
    if len(counts) > 1:
        numbers = ", ".join(f"{short(one.id)} {counts[one.id]}" for one in brief.parents)
        yield f"Number of ideas for each as the first parent: {numbers}."


def _id(candidate: Candidate) -> str:
    return candidate.id


def _undecided(archive: Archive, known: Knowledge) -> list[Idea]:
    """Ideas whose outcome was not known yet, those of the newest generations first. Reads only candidates that are open or
    whose outcome came later."""
    found = {one.id: one for one in archive.open}  # before the outcomes, so that no candidate that closes is missed
    for order in range(known.outcomes + 1, archive.index.outcomes + 1):
        candidate = archive.outcome(order)
        if candidate is not None:
            found[candidate.id] = candidate
    waiting = [(_generation(one), one) for one in found.values() if not 0 < one.order <= known.outcomes]
    waiting = [(number, one) for number, one in waiting if number < known.generations]
    waiting.sort(key=lambda pair: (-pair[0], number_of(pair[1].id)))
    return [one.idea for _, one in waiting]


def _generation(candidate: Candidate) -> int:
    return number_of(candidate.paths.folder.parent.name)


def _proposed(ideas: Sequence[Idea]) -> str:
    titles = "\n".join(f"- {idea.title}" for idea in ideas[:_MOST_TITLES])
    return f"\nAlready proposed, not to be repeated:\n{titles}\n" if titles else ""


def _guidance(path: Path) -> str:
    """The user's guidance, as it was when the generation opened, as text for a prompt."""
    text = path.read_text(errors="replace").strip() if path.is_file() else ""
    return f"\nThe person who runs this search gives this guidance:\n\n{text}\n" if text else ""
