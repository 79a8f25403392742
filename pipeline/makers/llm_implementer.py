"""A language model implements ideas; an unusable answer is returned to it with the exact reason."""

from collections.abc import Sequence

from pipeline.config import LlmConfig
from pipeline.llm.base import tokens
from pipeline.llm.requests import answer_tokens
from pipeline.llm.roles import Member, Role
from pipeline.makers.base import Crash, Implemented, Tools
from pipeline.makers.conversation import Conversation, lacking
from pipeline.makers.elision import Elision, elide
from pipeline.makers.packages import check_imports
from pipeline.makers.prompting import code_on_top, implementer_text, output_text, render, shown_diff
from pipeline.patching import Refusal, patched_tree
from pipeline.patching.trees import Tree, diff
from pipeline.records import Completion, Idea, Usage

_LEAST_TOKENS = 1000
"""Minimum number of tokens for code besides the codebase, even if `llm.context` is too small."""


class LlmImplementer:
    """Requests code from a language model. The same idea, parents and answers give the same code."""

    needs_model = True
    reads_text = True

    def __init__(self, tools: Tools) -> None:
        self._members = {one.name: one for one in tools.members_for(Role.IMPLEMENTER)}
        self._shared = implementer_text(tools)
        self._config = tools.config
        self._rules = tools.rules
        self._packages = tools.packages

    def implement(self, idea: Idea, baseline: Tree, parents: Sequence[Tree]) -> Implemented | Refusal:
        """Raises `Unanswered` when the model cannot be asked for now."""
        member = self._member(idea)
        base, *others = map(self._elide, parents or [baseline])
        text = render(
            "implement",
            self._config.prompts,
            title=idea.title,
            text=idea.text,
            base=self._base(self._elide(baseline), base if parents else None, others, member.settings),
        )
        return self._write("implement", text, base, member)

    def repair(self, idea: Idea, baseline: Tree, crash: Crash) -> Implemented | Refusal:
        """Raises `Unanswered` when the model cannot be asked for now."""
        member, code = self._member(idea), self._elide(crash.code)
        files = code_on_top(self._elide(baseline).shown, code.shown, self._room(member.settings))
        text = render(
            "repair_crash",
            self._config.prompts,
            title=idea.title,
            text=idea.text,
            base=f"The implementation is the codebase above with a change. {files}",
            stage=f"in {crash.failure.stage} ({crash.failure.kind})",
            failure=output_text(crash),
        )
        return self._write("repair_crash", text, code, member)

    def _member(self, idea: Idea) -> Member:
        """The model chosen for an idea; the first one if none was chosen or the chosen one is no longer configured."""
        return self._members.get(idea.implementer) or next(iter(self._members.values()))

    def _elide(self, tree: Tree) -> Elision:
        return elide(tree, self._config.baseline, self._config.scale)

    def _room(self, llm: LlmConfig) -> int:
        """Tokens available for code besides the codebase."""
        return max(_LEAST_TOKENS, (llm.context - answer_tokens(llm) - tokens(self._shared)) // 2)

    def _base(self, baseline: Elision, first: Elision | None, others: Sequence[Elision], llm: LlmConfig) -> str:
        """Text that shows the code to which the change applies."""
        if first is None:
            return "Your change applies to the codebase above.\n"
        room = self._room(llm) // (1 + len(others))
        texts = [
            "The idea builds on a candidate, and your change applies to the code of that candidate. "
            + code_on_top(baseline.shown, first.shown, room)
        ]
        texts += [
            "It includes this change of the codebase by another candidate, which is not in that code:\n\n"
            f"{shown_diff(diff(baseline.shown, other.shown), room)}\n"
            for other in others
        ]
        return "\n".join(texts)

    def _write(self, purpose: str, text: str, base: Elision, member: Member) -> Implemented | Refusal:
        """The code of the first usable answer, or why there is none."""
        talk = Conversation(member.model, self._shared, purpose, text, max(1, self._config.implement.samples))
        usage, tries = Usage(), 0
        refusal = Refusal("unreadable", "no answer was requested")
        for _ in range(1 + self._config.implement.revisions):
            answers, key = talk.answers(), talk.key
            tries += len(answers)
            usage = sum((answer.usage for answer in answers), usage)
            refused: list[tuple[Completion, Refusal]] = []
            for answer in answers:
                made = self._read(base, answer, member.settings)
                if not isinstance(made, Refusal):
                    return Implemented(made, answer.model or member.name, tries, usage)
                refused.append((answer, made))
            returned, refusal = next((pair for pair in refused if pair[0].text.strip()), refused[0])
            again = render("repair_patch", self._config.prompts, reason=refusal.reason)
            talk.reply(returned, again, "repair_patch")
        return Refusal(refusal.kind, f"{refusal.reason} (the answers are in llm/{key})")

    def _read(self, base: Elision, answer: Completion, llm: LlmConfig) -> Tree | Refusal:
        reason = lacking(answer, answer_tokens(llm))
        if reason:
            return Refusal("cut_off" if answer.finish == "length" else "unreadable", reason)
        shown = patched_tree(base.shown, answer.text, self._rules)
        made = base.restore(shown) if not isinstance(shown, Refusal) else shown
        return made if isinstance(made, Refusal) else check_imports(base.full, made, self._packages) or made
