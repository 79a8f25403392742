"""Ideas of a policy that learns from executed ideas. Jobs sample and train it (`stages/learn.py`, `rl/`); this module writes
its prompts and reads its answers."""

import random
from collections.abc import Sequence
from typing import Any

import yaml

from pipeline.config import Config, Mode
from pipeline.errors import BadInput
from pipeline.llm.base import Unanswered
from pipeline.makers.bank import Bank, load_bank, needs_patches
from pipeline.makers.bank_ideator import Ingredients, Tried
from pipeline.makers.base import Brief, Tools
from pipeline.makers.prompting import ideator_text, render
from pipeline.makers.proposals import read_proposals
from pipeline.records import Change, Idea, Sample
from pipeline.rl.words import Words, parts_of, prompt_text
from pipeline.store import files
from pipeline.store.archive import Archive
from pipeline.store.tasks import finished
from pipeline.store.views import Candidate, Generation

_ON_A_GRID = 8
"""Number of values of a setting from one end of its range to the other."""
_LONGEST_TITLE = 100


class PolicyIdeator:
    """One idea for each sample of the policy, in order. The tiny policy writes words of the idea bank. An answer without an
    idea becomes a candidate that fails, so that the policy learns from it."""

    needs_model = False
    slow = False

    def __init__(self, tools: Tools) -> None:
        check_settings(tools.config)
        self._config = tools.config
        self._bank, self._prompt = None, tools.config.rl.prompt
        if not tools.config.rl.model:
            self._bank = load_bank(tools.ideas, tools.config, patches=True)
        elif not self._prompt:
            first = render("first", tools.config.prompts, count=1, measured="", guidance="", proposed="")
            self._prompt = f"{ideator_text(tools)}\n{first}\n{{parent}}"
        if tools.config.rl.shown and "{shown}" not in self._prompt:
            self._prompt += "\n{shown}"
        self._metric, self._tried = tools.metric, Tried()
        self._samples: tuple[int, list[Sample]] = (-1, [])

    def propose(self, brief: Brief) -> Idea:
        """Raises `Unanswered` until the generation has been sampled."""
        generation = brief.generation
        if self._samples[0] != generation.number:
            made = samples_of(brief.archive, generation.number)
            if made is None:
                raise Unanswered
            self._samples = (generation.number, made)
        answer = self._samples[1][brief.number].text
        parent = parent_of(brief.archive, generation, brief.number)
        return self._read(answer, (parent.id,) if parent is not None else ())

    def learn(self, outcomes: Sequence[Candidate]) -> None:
        """Does nothing: the policy learns in jobs."""

    def prompts(self, archive: Archive, generation: Generation) -> tuple[str, ...]:
        """One prompt for each idea of a generation; ideas with the same parent get the same prompt."""
        parents = [parent_of(archive, generation, number) for number in range(generation.parents.ideas)]
        if self._bank is not None:
            self._tried.update(Brief(archive, generation, (), 0, False, range(0)))
            return tuple(prompt_text(words_of(self._tried.of(one.id)) if one is not None else ()) for one in parents)
        texts = [
            f"Build on this idea:\n{one.idea.title}\n{one.idea.text}" if one is not None else "" for one in parents
        ]
        prompt = self._prompt.replace("{shown}", self._shown(archive, generation))
        return tuple(prompt.replace("{parent}", text) for text in texts)

    def _shown(self, archive: Archive, generation: Generation) -> str:
        """Some executed ideas with their scores; the same for all prompts of a step, so that groups stay whole."""
        executed = [one for one in archive.candidates if one.score is not None]
        rng = random.Random(f"{self._config.seed} shown {generation.number}")
        chosen = rng.sample(executed, min(self._config.rl.shown, len(executed)))
        lines = [f"* {one.idea.title}: {self._metric.text(one.score.value)}" for one in chosen if one.score is not None]
        return "\n".join(["Ideas that were executed:", *lines]) if lines else ""

    def _read(self, answer: str, parents: tuple[str, ...]) -> Idea:
        found = read_proposals(answer)
        if not found:  # an empty change is refused before any code is requested
            return Idea("an answer without an idea", answer or "(empty)", "policy", parents, change=Change(text=""))
        title, text = found[0].title[:_LONGEST_TITLE], found[0].text
        change = change_of(self._bank, text) if self._bank is not None else None
        return Idea(title, text, "policy", parents, change=change)


def check_settings(config: Config) -> None:
    """Raises `BadInput` for what no policy can learn from."""
    if config.search.mode is Mode.steady:
        raise BadInput("ideate=policy learns from whole generations; set search.mode=generational")
    if config.ideate.candidates < 2:
        raise BadInput("a group of one idea has nothing to compare; set ideate.candidates to 2 or more")
    if config.rl.model and needs_patches(config):
        raise BadInput(f"rl.model={config.rl.model} writes ideas in words; add implement=llm or implement=command")


def samples_of(archive: Archive, step: int) -> list[Sample] | None:
    """The samples of a step; none until they are written."""
    place = finished(archive.paths.policy_step(step).sample)
    return files.read(place.samples, list[Sample]) if place is not None else None


def parent_of(archive: Archive, generation: Generation, number: int) -> Candidate | None:
    """The parent of the idea with this number; none for the baseline. Exploit ideas are divided evenly among parents, at
    least two on each, since advantages compare ideas within a group. So draws of the search method are ignored."""
    plan = generation.parents
    exploits = round(plan.exploit_share * plan.ideas) if plan.candidates else 0
    if number >= exploits:
        return None
    parents = plan.candidates[: max(1, exploits // 2)]
    return archive.candidate(parents[number * len(parents) // exploits])


# ---- words of a bank


def bank_words(bank: Bank, now: dict[str, Any]) -> Words:
    """The vocabulary of the tiny policy. Settings with a range get log-spaced values from end to end; the current values
    `now` are left out."""
    settings = []
    for name, known in bank.ranges.items():
        if name in now:
            values = known.choices if known.factor is None else _grid(now[name], known.factor)
            settings.append(tuple(f"{name}={value}" for value in dict.fromkeys(values) if value != now[name]))
    return Words(tuple(bank.published), tuple(one for one in settings if one))


def _grid(now: Any, factor: tuple[float, float]) -> list[Any]:
    low, high = factor
    values = [now * low * (high / low) ** (step / (_ON_A_GRID - 1)) for step in range(_ON_A_GRID)]
    return [max(1, round(value)) if isinstance(now, int) else float(f"{value:.3g}") for value in values]


def change_of(bank: Bank, text: str) -> Change | None:
    """The change that the words of an idea describe; none if a word is not in the bank, or there is none."""
    names, settings = [], {}
    for word in parts_of(text):
        name, sign, value = word.partition("=")
        if sign and name in bank.ranges:
            settings[name] = yaml.safe_load(value) if "e" not in value else float(value)
        elif not sign and name in bank.published:
            names.append(name)
        else:
            return None
    distinct = tuple(dict.fromkeys(names))
    return Change(distinct[0] if distinct else None, settings, more=distinct[1:]) if distinct or settings else None


def words_of(ingredients: Ingredients) -> list[str]:
    """The words of a candidate, including those that it inherited."""
    return [*sorted(ingredients.patches), *(f"{name}={value}" for name, value in sorted(ingredients.settings.items()))]
