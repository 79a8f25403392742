"""Any program writes the code: a coding agent, an editor. It works in a copy of the code, and what it leaves there is judged
like the reply of a language model."""

import math
import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from pipeline.config import Config
from pipeline.llm.base import Unanswered
from pipeline.patching import Refusal, Rules
from pipeline.patching.replies import judge
from pipeline.patching.trees import Tree, diff, read_tree, write_tree
from pipeline.records import Idea, Stage
from pipeline.sandbox.command import Limits, run_command
from pipeline.stages.base import Crash, Implemented
from pipeline.stages.commands import fill
from pipeline.stages.diagnose import failure_of
from pipeline.stages.packages import Packages, check_imports
from pipeline.stages.prompting import render, shown_diff, without_places
from pipeline.store import files


class CommandImplementer:
    """Runs `implement.command`."""

    def __init__(self, config: Config, rules: Rules, packages: Packages, stopping: threading.Event) -> None:
        self._config = config
        self._rules = rules
        self._packages = packages
        self._stopping = stopping

    def implement(self, idea: Idea, baseline: Tree, parents: Sequence[Tree]) -> Implemented | Refusal:
        """Raises `Unanswered` when the run is stopped meanwhile: the command is run again when it goes on."""
        base, *others = parents or [baseline]
        texts = [shown_diff(diff(baseline, other)) for other in others]
        words = "\nIt brings in what another candidate changed in the baseline:\n\n" if others else ""
        return self._run(idea, base, others=words + "\n\n".join(texts))

    def repair(self, idea: Idea, baseline: Tree, crash: Crash) -> Implemented | Refusal:
        """Raises `Unanswered` like `implement`."""
        failure = without_places(f"{crash.failure.reason.splitlines()[0]}\n\n{crash.log}").strip()
        stage = crash.failure.stage
        words = f"\nThe code in this folder does so already, but it crashed in {stage}. Mend it:\n\n{failure}\n"
        return self._run(idea, crash.code, crash=words)

    def _run(self, idea: Idea, base: Tree, others: str = "", crash: str = "") -> Implemented | Refusal:
        config = self._config
        words = render(
            "command",
            title=idea.title,
            text=idea.text,
            evolvable=", ".join(self._rules.evolvable) or "all that are not protected",
            protected=", ".join(self._rules.protected) or "none",
            packages=", ".join(self._packages.distributions) or "none",
            others=others,
            crash=crash,
        )
        limits = Limits(60 * config.implement.command_limit_min, math.inf)
        with tempfile.TemporaryDirectory(prefix="implement-") as scratch:
            code, idea_file, log = (Path(scratch, name) for name in ("code", "idea.md", "log"))
            write_tree(base, code)
            idea_file.write_text(words)
            argv = fill(config.baseline, config.implement.command, {"idea": idea_file, "code": code})
            outcome = run_command(
                argv, cwd=code, environment=os.environ, log=log, limits=limits, enough=self._stopping.is_set
            )
            if self._stopping.is_set():
                raise Unanswered
            failure = failure_of(Stage.IMPLEMENT, outcome, limits, files.tail(log))
            made = read_tree(code)
        if failure is not None:
            return Refusal("unreadable", f"implement.command: {failure.reason.splitlines()[0]}")
        if isinstance(made, Refusal):
            return made
        refusal = judge(base, made, self._rules) or check_imports(base, made, self._packages)
        return refusal or Implemented(made, f"command {Path(argv[0]).name}")
