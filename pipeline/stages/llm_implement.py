"""A language model writes an idea as code; what cannot be used goes back to it with the exact reason."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pipeline.config import Config
from pipeline.llm.base import Model
from pipeline.patching import Refusal, Rules, patched_tree
from pipeline.patching.trees import Tree, diff
from pipeline.records import Completion, Idea, Message, Prompt, Usage
from pipeline.stages.base import Crash, Implemented
from pipeline.stages.packages import Packages, check_imports
from pipeline.stages.prompting import render, shown_diff, without_places


class LlmImplementer:
    """Asks for code. The same idea, parents and answers give the same code."""

    def __init__(self, model: Model, shared: str, config: Config, rules: Rules, packages: Packages) -> None:
        self._model = model
        self._shared = shared
        self._config = config
        self._rules = rules
        self._packages = packages

    def implement(self, idea: Idea, baseline: Tree, parents: Sequence[Tree]) -> Implemented | Refusal:
        """Raises `Unanswered` when the model cannot be asked for now."""
        text = render("implement", title=idea.title, text=idea.text, base=_base(baseline, parents))
        return self._write("implement", text, parents[0] if parents else baseline)

    def repair(self, idea: Idea, baseline: Tree, crash: Crash) -> Implemented | Refusal:
        """Raises `Unanswered` when the model cannot be asked for now."""
        text = render(
            "repair_crash",
            title=idea.title,
            text=idea.text,
            patch=shown_diff(diff(baseline, crash.code)),
            stage=f"in {crash.failure.stage} ({crash.failure.kind})",
            failure=without_places(f"{crash.failure.reason.splitlines()[0]}\n\n{crash.log}").strip(),
        )
        return self._write("repair_crash", text, crash.code)

    def _write(self, purpose: str, text: str, base: Tree) -> Implemented | Refusal:
        """The first of several answers that can be used, or why none can."""
        messages = [Message("system", self._shared), Message("user", text)]
        usage, tries, again = Usage(), 0, 0
        refusal = Refusal("unreadable", "no answer was asked for")
        for _ in range(1 + self._config.implement.revisions):
            prompt = Prompt(purpose, tuple(messages))
            answers = self._samples(prompt, again)
            tries += len(answers)
            usage = sum((answer.usage for answer in answers), usage)
            read = [self._read(base, answer) for answer in answers]
            for answer, made in zip(answers, read, strict=True):
                if not isinstance(made, Refusal):
                    return Implemented(made, answer.model or self._config.llm.model, tries, usage)
            refused = [(answer, made) for answer, made in zip(answers, read, strict=True) if isinstance(made, Refusal)]
            told, refusal = next((pair for pair in refused if pair[0].text.strip()), refused[0])
            if not told.text.strip():
                again += len(answers)  # there is nothing to talk about: the same question once more
                continue
            messages += [
                Message("assistant", told.text),
                Message("user", render("repair_patch", reason=refusal.reason)),
            ]
            purpose, again = "repair_patch", 0
        return Refusal(refusal.kind, f"{refusal.reason} (the answers are in llm/{prompt.key})")

    def _samples(self, prompt: Prompt, first: int) -> list[Completion]:
        count = max(1, self._config.implement.samples)
        with ThreadPoolExecutor(count, "sample") as pool:
            return list(pool.map(lambda number: self._model.ask(prompt, number), range(first, first + count)))

    def _read(self, base: Tree, answer: Completion) -> Tree | Refusal:
        if not answer.text.strip():
            return Refusal("unreadable", f"the answer is empty ({answer.finish})")
        if answer.finish == "length":
            return Refusal("cut_off", f"the answer was cut off after {answer.usage.tokens_out} tokens: write less")
        made = patched_tree(base, answer.text, self._rules)
        return made if isinstance(made, Refusal) else check_imports(base, made, self._packages) or made


def _base(baseline: Tree, parents: Sequence[Tree]) -> str:
    """Which code the change applies to."""
    if not parents:
        return "Your change applies to the codebase above.\n"
    first, *others = (f"{shown_diff(diff(baseline, tree))}\n" for tree in parents)
    texts = [
        "The idea builds on a candidate whose code is the codebase above with this change in it, and your change applies to "
        f"that code:\n\n{first}"
    ]
    texts += [
        f"It brings in this change of the codebase by another candidate, which is not in that code:\n\n{other}"
        for other in others
    ]
    return "\n".join(texts)
