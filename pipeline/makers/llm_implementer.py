"""A language model writes an idea as code; an answer that cannot be used is returned to it with the exact reason."""

from collections.abc import Sequence

from pipeline.makers.base import Crash, Implemented, Tools
from pipeline.makers.conversation import Conversation
from pipeline.makers.packages import check_imports
from pipeline.makers.prompting import render, shared_text, shown_diff, without_places
from pipeline.patching import Refusal, patched_tree
from pipeline.patching.trees import Tree, diff
from pipeline.records import Completion, Idea, Usage


class LlmImplementer:
    """Asks for code. The same idea, parents and answers give the same code."""

    needs_model = True
    reads_text = True

    def __init__(self, tools: Tools) -> None:
        self._model = tools.needed_model
        self._shared = shared_text(tools)
        self._config = tools.config
        self._rules = tools.rules
        self._packages = tools.packages

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
        talk = Conversation(self._model, self._shared, purpose, text, max(1, self._config.implement.samples))
        usage, tries = Usage(), 0
        refusal = Refusal("unreadable", "no answer was asked for")
        for _ in range(1 + self._config.implement.revisions):
            answers, key = talk.answers(), talk.key
            tries += len(answers)
            usage = sum((answer.usage for answer in answers), usage)
            refused: list[tuple[Completion, Refusal]] = []
            for answer in answers:
                made = self._read(base, answer)
                if not isinstance(made, Refusal):
                    return Implemented(made, answer.model or self._config.llm.model, tries, usage)
                refused.append((answer, made))
            returned, refusal = next((pair for pair in refused if pair[0].text.strip()), refused[0])
            talk.reply(returned, render("repair_patch", reason=refusal.reason), "repair_patch")
        return Refusal(refusal.kind, f"{refusal.reason} (the answers are in llm/{key})")

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
