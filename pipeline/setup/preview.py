"""Estimates the cost of a run from its real prompts, and shows what it would submit. Sends no request."""

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.cluster.slurm import SlurmCluster
from pipeline.config import Clock, Config, LlmConfig, LlmKind
from pipeline.errors import BadInput
from pipeline.llm.base import Trouble, Unanswered, tokens
from pipeline.llm.prices import Prices
from pipeline.llm.provider import find_prices, import_litellm
from pipeline.llm.requests import answer_tokens, shown_parameters
from pipeline.llm.roles import Role, members_of
from pipeline.makers.base import Brief, Ideator, Implementer, Tools
from pipeline.makers.lessons import LESSONS
from pipeline.makers.llm_ideator import ANSWERS
from pipeline.makers.variants import pristine_tree
from pipeline.methods.base import Room, Terms
from pipeline.patching import Refusal
from pipeline.patching.trees import Tree, read_tree
from pipeline.policy.accounting import trial_h
from pipeline.policy.forecast import forecast
from pipeline.records import Completion, Idea, Prompt, Usage
from pipeline.setup.build import asks_provider, check_parts, code_reader, make_cluster, terms_of
from pipeline.setup.code import code_files
from pipeline.setup.parts import class_of, make_part
from pipeline.store.archive import Archive
from pipeline.store.paths import RunPaths
from pipeline.store.reader import Reader
from pipeline.store.run import open_run
from pipeline.store.views import Candidate, Generation

IDEA_TOKENS, CODE_TOKENS = 400, 2000
"""Assumed tokens of one idea and of one answer with code. Hidden reasoning comes on top."""


@dataclass(frozen=True)
class Requests:
    """Estimated requests of one kind."""

    what: str
    """`ideas`, `embeddings` or `code`."""
    requests: int
    """Number of requests."""
    usage: Usage
    """Their tokens, and dollars if prices are known."""
    model: str
    """The model; empty if recorded answers are used."""
    parameters: str
    """Parameters sent with the prompts."""

    @property
    def asked(self) -> str:
        """Model and parameters, for display."""
        if not self.model:
            return "recorded answers"
        return f"{self.model} ({self.parameters})" if self.parameters else self.model


@dataclass(frozen=True)
class CostEstimate:
    """Estimated cost of a generation."""

    generation: int
    """Number of the generation."""
    expected: tuple[Requests, ...]
    """Expected requests: answers of usual length, each usable at the first try."""
    most: tuple[Requests, ...]
    """Upper limit: answers of maximum length, each requested the maximum number of times."""
    later_usd: float | None
    """Expected dollars for a generation whose prompts have a full history; none if prices are unknown."""
    device: str
    """`GPU` or `core`."""
    trials: int
    """Number of trials of the generation, if no code crashes."""
    expected_h: float | None
    """Device hours of these trials if each uses its full budget; none if the budget is counted in steps."""
    most_h: float
    """Upper limit of the generation's device hours: each job runs for its time limit, each crash is repaired and
    trained again."""


class _Silent:
    """A model that only records its prompts."""

    trouble: Trouble | None = None
    delay: Trouble | None = None

    def __init__(self) -> None:
        self._asked: list[Prompt] = []

    def ask(self, prompt: Prompt, sample: int = 0) -> Completion:
        self._asked.append(prompt)
        if prompt.purpose == LESSONS:  # the prompts for ideas come after it
            return Completion("word " * (IDEA_TOKENS * 3 // len("word ")), "stop", "")
        raise Unanswered

    def take(self) -> list[Prompt]:
        """The prompts since the last call."""
        asked, self._asked = self._asked, []
        return asked


def dry_run(config: Config) -> CostEstimate:
    """Cost estimate for the next generation of the configured run, or for the first if the run does not exist yet.
    Needs no key, and writes nothing. Raises `BadInput`."""
    check_parts(config)
    paths = RunPaths(Path(config.runs).resolve() / config.run)
    if config.run and paths.facts.exists():
        archive, read = open_run(paths).reader.read(), code_reader(paths)
        return estimate_cost(terms_of(config), archive, pristine_tree(paths), read)
    folder, code = Path(config.baseline.folder), set(code_files(config.baseline).paths)
    tree = read_tree(folder)
    if isinstance(tree, Refusal):
        raise BadInput(f"baseline.folder={folder}: {tree.reason}")
    ideas = f"{config.baseline.ideas}/"
    baseline = {path: entry for path, entry in tree.items() if path in code and not path.startswith(ideas)}
    archive = Reader(RunPaths(paths.folder / "not-made")).read()
    return estimate_cost(terms_of(config), archive, baseline, lambda _: baseline)


def would_submit(config: Config) -> Iterator[str]:
    """What a run would submit and could cost, line by line. Creates nothing. Raises `BadInput`."""
    if not config.cluster.unattended:  # local cluster: this works on a laptop, too
        yield from forecast(config, config.cluster.max_parallel or os.cpu_count() or 1).lines(config)
        return
    cluster = make_cluster(RunPaths(Path(config.runs).resolve() / (config.run or "NAME")), config)
    yield from forecast(config, cluster.slots()).lines(config)
    if isinstance(cluster, SlurmCluster):
        count = min(cluster.slots(), config.ideate.candidates + config.select.baseline_seeds)
        yield f"a first wave of up to {count} jobs, as an array with this script:"
        yield from cluster.script(count).splitlines()


def estimate_cost(
    terms: Terms, archive: Archive, baseline: Tree, code: Callable[[Candidate | None], Tree]
) -> CostEstimate:
    """Cost estimate for the open generation, or for the next one if none is open."""
    config, silent = terms.config, _Silent()
    generation = _open_generation(terms, archive)
    tools = Tools(config, terms.metric, Path(config.baseline.folder) / config.baseline.ideas, code, silent)
    ideas = _ideas(tools, silent, archive, generation)
    codes = _codes(tools, silent, archive, generation, baseline)
    litellm = import_litellm() if asks_provider(config) else None
    asked = {"ideas": _dearest(config, Role.IDEATOR, litellm), "code": _dearest(config, Role.IMPLEMENTER, litellm)}
    embedder = _dearest(config, Role.EMBEDDER, litellm) if Role.EMBEDDER in config.llm.roles else None
    per_batch = IDEA_TOKENS * min(config.ideate.batch, config.ideate.candidates)
    tries = (1 + config.implement.revisions) * (1 + config.implement.crash_repairs)

    def lines(idea_out: int | None, idea_rounds: int, code_out: int | None, code_rounds: int) -> Iterator[Requests]:
        for what, questions, out, rounds in (
            ("ideas", ideas, idea_out, idea_rounds),
            ("code", codes, code_out, code_rounds),
        ):
            if questions:
                llm, prices = asked[what]
                used = _usage(questions, answer_tokens(llm) if out is None else out, rounds, llm.context)
                model = llm.model if llm.kind is LlmKind.provider else ""
                yield Requests(what, rounds * len(questions), _priced(used, prices), model, shown_parameters(llm))
                if what == "ideas" and embedder is not None:
                    yield _embeddings(rounds * len(questions), used.tokens_out, *embedder)

    expected = tuple(lines(per_batch, 1, CODE_TOKENS, 1))
    history = config.ideate.history_tokens * len(ideas) if generation.number == 0 else 0
    later = sum((line.usage for line in expected), _priced(Usage(history), asked["ideas"][1]) if history else Usage())
    device, count = config.train.resources.device, config.train.resources.devices
    wall = config.train.clock is Clock.wall
    trials, trial = config.ideate.candidates, trial_h(config)
    return CostEstimate(
        generation=generation.number,
        expected=expected,
        most=tuple(lines(None, ANSWERS, None, tries)),
        later_usd=later.usd if expected else None,
        device=device,
        trials=trials,
        expected_h=trials * count * config.train.budget_min / 60 if wall else None,
        most_h=trials * (1 + config.implement.crash_repairs) * trial,
    )


def _dearest(config: Config, role: Role, litellm: Any) -> tuple[LlmConfig, Prices | None]:
    """The dearest model that a role may ask; one without a known price is dearer still."""
    found = [
        (llm, find_prices(llm, litellm) if llm.kind is LlmKind.provider and litellm is not None else None)
        for llm in members_of(config.llm, role).values()
    ]
    return max(found, key=lambda pair: pair[1].tokens_out if pair[1] is not None else math.inf)


def _open_generation(terms: Terms, archive: Archive) -> Generation:
    """The newest generation if it is open, else the next as the search method would plan it."""
    newest = archive.newest
    if newest is not None and newest.selection is None:
        return newest
    number = newest.number + 1 if newest is not None else 0
    room = Room(terms.config.ideate.candidates, number, newest.selection if newest is not None else None)
    parents = terms.method.plan(archive, room)
    return Generation(number, archive.paths.generation(number), parents, (), None)


def _ideas(tools: Tools, silent: "_Silent", archive: Archive, generation: Generation) -> list[Prompt]:
    """The first prompt of each batch of ideas."""
    part = tools.config.ideate.maker
    if not class_of(part, "ideate.maker").needs_model:
        return []
    ideator: Ideator = make_part(part, "ideate.maker", tools)
    parents = tuple(archive.candidate(name) for name in generation.parents.candidates)
    count = tools.config.ideate.candidates
    exploits = round(generation.parents.exploit_share * count) if parents else 0
    for exploit, alike in ((True, range(exploits)), (False, range(exploits, count))):
        for number in alike[:: max(1, tools.config.ideate.batch)]:
            with contextlib.suppress(Unanswered):
                ideator.propose(Brief(archive, generation, parents, number, exploit, alike))
    return silent.take()


def _codes(tools: Tools, silent: "_Silent", archive: Archive, generation: Generation, baseline: Tree) -> list[Prompt]:
    """The first prompt for the code of each idea. Assumes ideas of usual length, on the best parent."""
    part = tools.config.implement.maker
    if not class_of(part, "implement.maker").needs_model:
        return []
    implementer: Implementer = make_part(part, "implement.maker", tools)
    trees = [tools.code(archive.candidate(name)) for name in generation.parents.candidates[:1]]
    idea = Idea("An idea", "word " * (IDEA_TOKENS * 3 // len("word ")), "explore")
    count = tools.config.ideate.candidates
    exploits = round(generation.parents.exploit_share * count) if trees else 0
    for number in range(count):
        with contextlib.suppress(Unanswered):
            implementer.implement(idea, baseline, trees if number < exploits else [])
    return silent.take()


def _usage(prompts: Sequence[Prompt], out: int, rounds: int, context: int) -> Usage:
    """Usage of one conversation of `rounds` rounds per prompt. Assumes that all requests except the first find the
    shared part in the provider's cache."""
    shared = tokens(prompts[0].messages[0].text)
    sizes = [sum(tokens(message.text) for message in prompt.messages) for prompt in prompts]
    grown = [min(size + number * out, context) for size in sizes for number in range(rounds)]
    return Usage(sum(grown), shared * (len(grown) - 1), out * len(grown))


def _embeddings(requests: int, tokens_in: int, llm: LlmConfig, prices: Prices | None) -> Requests:
    """Embeddings of all that the ideator writes: one request for each of its answers."""
    model = llm.model if llm.kind is LlmKind.provider else ""
    return Requests("embeddings", requests, _priced(Usage(tokens_in), prices), model, "")


def _priced(usage: Usage, prices: Prices | None) -> Usage:
    return replace(usage, usd=prices.of(usage) if prices is not None else None)
