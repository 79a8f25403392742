"""How many replies of the corpus each tool applies correctly: `python -m tests.patching.compare`.

The other tools get the unchanged reply in a copy of the base, with a dry run first, as a careful user would run them.
"""

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from pipeline.patching import Refusal, patched_tree
from pipeline.patching.trees import Tree, read_tree, write_tree
from tests.patching.cases import RULES, Case, base, cases

Tool = Callable[[Tree, Case], Tree | None]
"""The tree that a tool makes of the base and a reply; none if it refuses."""


def groundwork(tree: Tree, case: Case) -> Tree | None:
    result = patched_tree(tree, case.reply.decode(), RULES)
    return None if isinstance(result, Refusal) else result


def command(*words: str) -> Tool:
    """A tool that patches its working directory, from a reply on standard input."""

    def run(tree: Tree, case: Case) -> Tree | None:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch, "code")
            write_tree(tree, folder)
            environment = {"PATH": "/usr/bin:/bin", "GIT_CEILING_DIRECTORIES": scratch}
            done = subprocess.run(
                words, cwd=folder, input=case.reply, capture_output=True, env=environment, check=False
            )
            result = read_tree(folder)
        return None if done.returncode or isinstance(result, Refusal) else result

    return run


TOOLS: dict[str, Tool] = {
    "groundwork": groundwork,
    "git apply": command("git", "apply", "-"),
    "git apply --recount": command("git", "apply", "--recount", "--ignore-whitespace", "-"),
    "patch -p0": command("patch", "-p0", "--batch", "--forward", "--no-backup-if-mismatch", "-r", "-"),
    "patch -p1": command("patch", "-p1", "--batch", "--forward", "--no-backup-if-mismatch", "-r", "-"),
}


def table() -> str:
    """One row per tool, as Markdown."""
    tree, every = base(), cases()
    good = [case for case in every if case.expected is not None]
    bad = [case for case in every if case.expected is None]
    diffs = [case for case in good if case.format == "diff"]
    rows = [
        "| tool | applicable replies applied right | of these, unified diffs | applied wrong | broken replies refused |",
        "|---|---|---|---|---|",
    ]
    for name, tool in TOOLS.items():
        results = {case.name: tool(tree, case) for case in every}
        right = [case for case in good if results[case.name] == case.expected]
        wrong = [case for case in good if results[case.name] not in (case.expected, None, tree)]
        refused = [case for case in bad if results[case.name] in (None, tree)]
        of_diffs = sum(case in right for case in diffs)
        rows.append(
            f"| {name} | {len(right)}/{len(good)} = {len(right) / len(good):.0%} | {of_diffs}/{len(diffs)} "
            f"= {of_diffs / len(diffs):.0%} | {len(wrong)} | {len(refused)}/{len(bad)} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
