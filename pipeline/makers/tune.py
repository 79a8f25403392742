"""Random hyper-parameter search: the control that any idea must beat."""

import random
from collections.abc import Sequence

from pipeline.errors import BadInput
from pipeline.makers.bank import SETTINGS_FILE, draw_settings, load_bank
from pipeline.makers.base import Brief, Tools
from pipeline.records import Change, Idea
from pipeline.store.views import Candidate

TUNED = "tune"
"""Origin of its ideas."""


class TuneIdeator:
    """Draws all settings at once from the ranges of the bank (Bergstra and Bengio, "Random Search for Hyper-Parameter
    Optimization", JMLR 2012)."""

    needs_model = False
    slow = False

    def __init__(self, tools: Tools) -> None:
        self._bank = load_bank(tools.ideas, tools.config)
        self._tools = tools

    def propose(self, brief: Brief) -> Idea:
        """The next idea. Raises `BadInput` if there is nothing to tune."""
        generation, change = brief.generation.number, self._change(brief)
        if not change.settings:
            raise BadInput(f"there is nothing to tune: {self._nothing()}")
        values = ", ".join(f"{name} = {value}" for name, value in change.settings.items())
        return Idea(f"settings {generation}.{brief.number}", f"Set {values}.", TUNED, change=change)

    def _change(self, brief: Brief) -> Change:
        rng = random.Random(f"{self._tools.config.seed}/{brief.generation.number}/{brief.number}")
        return draw_settings(self._bank, self._bank.settings(self._tools.code(None)), len(self._bank.ranges), rng)

    def _nothing(self) -> str:
        bank = self._bank
        if not bank.ranges:
            return f"the idea bank has no {SETTINGS_FILE} with ranges"
        if not bank.settings_file:
            return "baseline.settings_file is empty; name the Python, YAML or JSON file that holds the settings"
        names = ", ".join(bank.ranges)
        return f"{bank.settings_file} holds none of the settings that {SETTINGS_FILE} has ranges for: {names}"

    def learn(self, outcomes: Sequence[Candidate]) -> None:
        """Does nothing: the search is random."""
