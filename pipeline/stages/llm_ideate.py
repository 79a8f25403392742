"""A language model proposes: first ideas, new ones beside what was tried, and ones that build on what worked."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.config import Config, Search
from pipeline.errors import CannotGoOn
from pipeline.llm.base import Model, tokens
from pipeline.metric import Metric
from pipeline.records import Idea, Message, Prompt
from pipeline.stages import history
from pipeline.stages.base import Brief
from pipeline.stages.prompting import render
from pipeline.stages.proposals import Proposal, alike, read_proposals
from pipeline.store.archive import Candidate
from pipeline.store.paths import number_of, short

ANSWERS = 5
_MARGIN_TOKENS = 2000


class LlmIdeator:
    """Asks for ideas in batches. A batch's prompt depends on nothing that happens after its generation opened but the
    batches before it, so each of its ideas can be found again by asking again, which costs nothing."""

    slow = True

    def __init__(self, model: Model, shared: str, config: Config, metric: Metric) -> None:
        self._model = model
        self._shared = shared
        self._config = config
        self._metric = metric

    def propose(self, brief: Brief) -> Idea:
        """Raises `CannotGoOn` when the answers hold too few ideas, `Unanswered` when there is none for now."""
        size = max(1, self._config.ideate.batch)
        first = brief.number - (brief.number - brief.alike.start) % size
        batch = range(first, min(first + size, brief.alike.stop))
        return self._ideas(brief, batch)[brief.number - first]

    def _ideas(self, brief: Brief, batch: range) -> list[Idea]:
        before = [
            candidate
            for generation in brief.archive.generations[: brief.generation + 1]
            for candidate in generation.candidates
            if generation.number < brief.generation
            or number_of(candidate.id) < batch.start
            or number_of(candidate.id) >= self._config.ideate.candidates  # what people brought in is there first
        ]
        tried = [candidate.idea for candidate in before]
        purpose, text = self._question(brief, len(batch), before)
        messages = [Message("system", self._shared), Message("user", text)]
        ideas: list[Idea] = []
        sample, prompt = 0, Prompt(purpose, tuple(messages))
        for _ in range(ANSWERS):
            answer = self._model.ask(prompt, sample)
            good, problems = self._sift(brief, read_proposals(answer.text), [*tried, *ideas])
            ideas += good
            if len(ideas) >= len(batch):
                return ideas[: len(batch)]
            if not answer.text.strip():
                sample += 1  # there is nothing to talk about: the same question once more
                continue
            more = render("more", problems="\n".join(problems) or "These are too few.", missing=len(batch) - len(ideas))
            messages += [Message("assistant", answer.text), Message("user", more)]
            sample, prompt = 0, Prompt(purpose, tuple(messages))
        raise CannotGoOn(
            f"the language model gave {len(ideas)} of {len(batch)} ideas in {ANSWERS} answers; read llm/{prompt.key} in "
            "the run folder, and move the folders of such answers away to ask again, or another model with llm.model=…"
        )

    def _question(self, brief: Brief, count: int, before: Sequence[Candidate]) -> tuple[str, str]:
        """The purpose and the words."""
        known, selection = history.seen(brief.archive, brief.generation)
        if self._config.select.method is Search.independent:
            known, selection = (), None
        proposed = "\n".join(f"- {candidate.idea.title}" for candidate in before if candidate not in known)
        common = {
            "count": count,
            "guidance": _guidance(brief.archive.generations[brief.generation].paths.guidance),
            "proposed": f"\nAlready proposed, not to be repeated:\n{proposed}\n" if proposed else "",
        }
        if selection is None:
            return "first", render("first", **common)
        llm = self._config.llm
        room = llm.context - llm.max_tokens - tokens(self._shared) - tokens(str(common)) - _MARGIN_TOKENS
        most = max(0, min(self._config.ideate.history_tokens, room))
        common["baseline"] = self._metric.text_error(selection.baseline.value, selection.baseline.standard_error)
        seed = f"{self._config.seed}/{brief.generation}"
        if not brief.exploit:
            tried = history.sample(brief.archive, known, selection, self._metric, seed, most)
            return "explore", render("explore", history=tried or "Nothing.", **common)
        each = most // 2 // len(brief.parents)
        parents = [history.parent(brief.archive, one, selection, self._metric, each) for one in brief.parents]
        others = [one for one in known if one not in brief.parents]
        tried = history.sample(brief.archive, others, selection, self._metric, seed, most // 2)
        return "exploit", render("exploit", parents="\n\n".join(parents), history=tried or "Nothing.", **common)

    def _sift(self, brief: Brief, proposals: Sequence[Proposal], tried: Sequence[Idea]) -> tuple[list[Idea], list[str]]:
        """The ideas that can be used, and what is wrong with the others."""
        origin = "exploit" if brief.exploit else "explore"
        ids = {name: one.id for one in brief.parents for name in (one.id, short(one.id))} if brief.exploit else {}
        good: list[Idea] = []
        problems = [] if proposals else ["No idea could be read: write them as JSON, as described."]
        for proposal in proposals:
            parents = tuple(dict.fromkeys(ids[name] for name in proposal.parents if name in ids))[:2]
            if brief.exploit and not parents:
                problems.append(
                    f"{proposal.title!r} names no parent among {', '.join(map(short, map(_id, brief.parents)))}."
                )
                continue
            idea = Idea(" ".join(proposal.title.split())[:120], proposal.text, origin, parents)
            twin = next((other for other in (*tried, *good) if alike(idea, other)), None)
            if twin is not None:
                problems.append(f"{idea.title!r} is the same as {twin.title!r}, which is known already.")
                continue
            good.append(idea)
        return good, problems


def _id(candidate: Candidate) -> str:
    return candidate.id


def _guidance(path: Path) -> str:
    """What a person wrote, read when the generation was opened."""
    text = path.read_text(errors="replace").strip() if path.is_file() else ""
    return f"\nThe person who runs this search asks you to heed:\n\n{text}\n" if text else ""
