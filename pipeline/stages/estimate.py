"""What a generation costs, before anything is asked: its prompts are the real ones, only that nobody answers them."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.config import Clock, Config, IdeateMaker, ImplementMaker
from pipeline.llm.base import Trouble, Unanswered, tokens
from pipeline.llm.prices import Prices
from pipeline.metric import Metric
from pipeline.patching import Rules
from pipeline.patching.trees import Tree
from pipeline.records import Completion, Idea, Parents, Prompt, Usage
from pipeline.stages.account import devices, trial_h
from pipeline.stages.base import Brief
from pipeline.stages.ideate import exploit_share
from pipeline.stages.implement import variant_tree
from pipeline.stages.llm_ideate import ANSWERS, LlmIdeator
from pipeline.stages.llm_implement import LlmImplementer
from pipeline.stages.packages import Packages
from pipeline.stages.prompting import shared_text
from pipeline.store.archive import Archive, Generation

IDEA_TOKENS, CODE_TOKENS = 400, 2000
"""Tokens of one idea, and of one answer with code, as long as nothing better is known. Hidden reasoning comes on top."""


@dataclass(frozen=True)
class Line:
    """Requests of one sort."""

    what: str
    """`ideas` or `code`."""
    requests: int
    """How many."""
    usage: Usage
    """Their tokens, and dollars where prices are known."""


@dataclass(frozen=True)
class Estimate:
    """A generation, and the run around it."""

    generation: int
    """Its number."""
    expected: tuple[Line, ...]
    """With answers of the usual length, each usable at once."""
    most: tuple[Line, ...]
    """With answers as long as they may be, each asked for as often as it may be."""
    later_usd: float | None
    """Dollars expected for a generation whose prompts hold a full history; none where prices are not known."""
    device: str
    """`GPU` or `core`."""
    trials: int
    """Trials of the generation, if no code crashes."""
    expected_h: float | None
    """Device hours of these trials, each taking its budget; none where the budget is counted in steps."""
    most_h: float
    """Device hours of the generation at most: each job takes its time limit, each crash is repaired and tried again."""


class _Silent:
    """A model that only remembers what it was asked."""

    trouble: Trouble | None = None

    def __init__(self) -> None:
        self.asked: list[Prompt] = []

    def ask(self, prompt: Prompt, sample: int = 0) -> Completion:
        self.asked.append(prompt)
        raise Unanswered


def estimate(
    config: Config, archive: Archive, baseline: Tree, packages: Packages, metric: Metric, prices: Prices | None
) -> Estimate:
    """Of the generation that is open, or of the next."""
    archive = _with_open_generation(config, archive)
    generation = archive.generations[-1]
    shared = shared_text(config, baseline, packages)
    ideas = _ideas(config, archive, shared, metric)
    codes = _codes(config, archive, shared, baseline, packages)
    most = config.llm.max_tokens
    per_batch = IDEA_TOKENS * min(config.ideate.batch, config.ideate.candidates)
    tries = (1 + config.implement.revisions) * (1 + config.implement.crash_repairs)

    def lines(idea_out: int, idea_rounds: int, code_out: int, code_rounds: int) -> Iterator[Line]:
        for what, prompts, out, rounds in (
            ("ideas", ideas, idea_out, idea_rounds),
            ("code", codes, code_out, code_rounds),
        ):
            if prompts:
                used = _usage(prompts, out, rounds, tokens(shared), config.llm.context)
                yield Line(what, rounds * len(prompts), _priced(used, prices))

    expected = tuple(lines(per_batch, 1, CODE_TOKENS, 1))
    history = config.ideate.history_tokens * len(ideas) if generation.number == 0 else 0
    later = sum((line.usage for line in expected), Usage(history))
    device, count = devices(config.train.resources)
    wall = config.train.clock is Clock.wall
    trials, trial = config.ideate.candidates, trial_h(config)
    most_h = trials * (1 + config.implement.crash_repairs) * trial
    return Estimate(
        generation=generation.number,
        expected=expected,
        most=tuple(lines(most, ANSWERS, most, tries)),
        later_usd=_priced(later, prices).usd,
        device=device,
        trials=trials,
        expected_h=trials * count * config.train.budget_min / 60 if wall else None,
        most_h=most_h,
    )


def _with_open_generation(config: Config, archive: Archive) -> Archive:
    """The archive with the next generation in it, if the newest is decided."""
    newest = archive.newest
    if newest is not None and newest.selection is None:
        return archive
    number, parents = 0, Parents()
    if newest is not None and newest.selection is not None:
        number = newest.number + 1
        parents = Parents(newest.selection.parents, exploit_share(config, number))
    opened = Generation(number, archive.paths.generation(number), parents, (), None)
    return replace(archive, generations=(*archive.generations, opened))


def _ideas(config: Config, archive: Archive, shared: str, metric: Metric) -> list[Prompt]:
    """The first question of each batch."""
    if config.ideate.maker is not IdeateMaker.llm:
        return []
    generation = archive.generations[-1]
    parents = tuple(archive.candidate(name) for name in generation.parents.candidates)
    count = config.ideate.candidates
    exploits = round(generation.parents.exploit_share * count) if parents else 0
    model = _Silent()
    ideator = LlmIdeator(model, shared, config, metric)
    for exploit, alike in ((True, range(exploits)), (False, range(exploits, count))):
        for number in alike[:: max(1, config.ideate.batch)]:
            with contextlib.suppress(Unanswered):
                ideator.propose(Brief(archive, parents, generation.number, number, exploit, alike))
    return model.asked


def _codes(config: Config, archive: Archive, shared: str, baseline: Tree, packages: Packages) -> list[Prompt]:
    """The first question for the code of each idea, a sample at a time; ideas of the usual length, on the best parent."""
    if config.implement.maker is not ImplementMaker.llm:
        return []
    generation = archive.generations[-1]
    trees = [variant_tree(archive.paths, archive.candidate(name)) for name in generation.parents.candidates[:1]]
    idea = Idea("An idea", "word " * (IDEA_TOKENS * 3 // len("word ")), "explore")
    model = _Silent()
    rules = Rules(config.baseline.evolvable, config.baseline.protected)
    implementer = LlmImplementer(model, shared, config, rules, packages)
    exploits = round(generation.parents.exploit_share * config.ideate.candidates) if trees else 0
    for number in range(config.ideate.candidates):
        with contextlib.suppress(Unanswered):
            implementer.implement(idea, baseline, trees if number < exploits else [])
    return model.asked


def _usage(prompts: Sequence[Prompt], out: int, rounds: int, shared: int, context: int) -> Usage:
    """Conversations of so many rounds; all requests but one find the shared part in the provider's cache."""
    sizes = [sum(tokens(message.text) for message in prompt.messages) for prompt in prompts]
    grown = [min(size + number * out, context) for size in sizes for number in range(rounds)]
    return Usage(sum(grown), shared * (len(grown) - 1), out * len(grown))


def _priced(usage: Usage, prices: Prices | None) -> Usage:
    return replace(usage, usd=prices.of(usage) if prices is not None else None)
