"""Prompts: templates in `prompts/`, which a user may override, and the part shared by all prompts of a maker.

The shared part comes first. It contains the codebase and everything else that is constant during a run, so that providers
serve it from their prompt cache at a fraction of the price. Measurements are therefore in the text of each generation.
"""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from pipeline.config import Clock, Config
from pipeline.errors import BadInput
from pipeline.llm.base import tokens
from pipeline.makers.base import Crash, Tools
from pipeline.makers.elision import elide
from pipeline.makers.packages import training_packages
from pipeline.metric import Direction
from pipeline.patching import Rules
from pipeline.patching.trees import Entry, diff
from pipeline.text import counted, fence_around, quoted, writable

_FOLDER = Path(__file__).with_name("prompts")
OWN_FOLDER = "prompts"
"""Folder of a user's own templates, next to the folder of `--config-dir`."""


def own_templates(folder: Path) -> dict[str, str]:
    """A user's templates by name. Files with unrelated names are ignored. Raises `BadInput` for an unusable template."""
    names = sorted(path.stem for path in _FOLDER.glob("*.md"))
    found = {}
    for path in sorted(folder.glob("*.md")) if folder.is_dir() else ():
        if path.stem not in names:
            near = difflib.get_close_matches(path.stem, names, 1, 0.8)
            if near:
                raise BadInput(
                    f"{path} is not the name of a prompt; did you mean {near[0]}.md? Valid names: {', '.join(names)}"
                )
            continue
        try:
            found[path.stem] = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{path} cannot be read: {error}") from None
        _check(path, found[path.stem])
    return found


def _check(path: Path, text: str) -> None:
    """Raise `BadInput` unless a template has exactly the variables of the one that it replaces."""
    template = Template(text)
    if not template.is_valid():
        raise BadInput(f"{path}: a $ begins no variable; write $$ for a dollar sign")
    wanted = set(Template((_FOLDER / path.name).read_text()).get_identifiers())
    found = set(template.get_identifiers())
    problems = [
        f"{what} {', '.join(f'${name}' for name in sorted(names))}"
        for what, names in (("it lacks", wanted - found), ("unknown", found - wanted))
        if names
    ]
    if problems:
        allowed = ", ".join(f"${name}" for name in sorted(wanted)) or "none"
        raise BadInput(f"{path}: {'; '.join(problems)}; the variables of this prompt are: {allowed}")


def render(name: str, own: Mapping[str, str] | None = None, /, **values: object) -> str:
    """The text of `prompts/NAME.md`, or of the user's own template, with its variables filled in. Raises ValueError for a
    missing or unused variable."""
    found = Template(own[name] if own and name in own else (_FOLDER / f"{name}.md").read_text())
    wanted = set(found.get_identifiers())
    if wanted != set(values):
        missing, unused = sorted(wanted - set(values)), sorted(set(values) - wanted)
        raise ValueError(f"{name}.md: missing {missing}, not used {unused}")
    return writable(found.substitute(values)).strip() + "\n"  # code and logs may contain bytes that are not text


def ideator_text(tools: Tools) -> str:
    """The first message of every prompt for ideas, and for a note about them."""
    own = tools.config.prompts
    kind = render(f"kind_{tools.config.ideate.kind.value}", own).strip()
    return render("ideator", own, codebase=_codebase(tools), kind=kind)


def implementer_text(tools: Tools) -> str:
    """The first message of every prompt for code."""
    own = tools.config.prompts
    written = render(f"format_{tools.config.implement.format.value}", own).strip()
    return render("implementer", own, codebase=_codebase(tools), format=written)


def _codebase(tools: Tools) -> str:
    """The common beginning of both first messages, so that a provider's prompt cache serves both."""
    config, code = tools.config, tools.code(None)
    baseline = config.baseline
    better = "higher" if baseline.metric.direction is Direction.maximize else "lower"
    settings, of_scale = baseline.settings_file, baseline.settings_class.get(config.scale, "")
    if settings:
        settings = f"Settings: class {of_scale} in {settings}\n" if of_scale else f"Settings: {settings}\n"
    return render(
        "codebase",
        config.prompts,
        code=code_text(elide(code, baseline, config.scale).shown, Rules(baseline.shown)),
        description=baseline.description.strip(),
        metric=f"{baseline.metric.name}, {better} is better",
        budget=_budget(config),
        size=json.dumps(config.size),
        settings=settings,
        evolvable=", ".join(baseline.evolvable) or "all that are not protected",
        protected=", ".join(baseline.protected) or "none",
        packages=packages_text(tools),
    )


def packages_text(tools: Tools) -> str:
    """The packages that training code may use, as text."""
    found = training_packages(tools.packages, tools.code(None), tools.config.baseline.packages)
    return ", ".join(found) or "none"


def code_text(code: Mapping[str, Entry], shown: Rules) -> str:
    """The shown text files with their paths, each in a fence."""
    return "\n\n".join(
        _fenced(path, entry) for path, entry in code.items() if shown.allows(path) and b"\0" not in entry.data
    )


def changed_files(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> str:
    """The new content of the files that differ, and the names of removed files."""
    paths = sorted(path for path in {*before, *after} if before.get(path) != after.get(path))
    gone = [path for path in paths if path not in after]
    parts = [
        _fenced(path, after[path]) if b"\0" not in after[path].data else f"{path} (not a text file)"
        for path in paths
        if path in after
    ]
    return "\n\n".join([*parts, *([f"Removed: {', '.join(gone)}"] if gone else [])])


def _fenced(path: str, entry: Entry) -> str:
    language = "python" if path.endswith(".py") else ""
    text = entry.data.decode(errors="replace").rstrip()
    fence = fence_around(text)
    return f"{path}\n{fence}{language}\n{text}\n{fence}"


def code_on_top(before: Mapping[str, Entry], after: Mapping[str, Entry], most_tokens: int) -> str:
    """The code after a change, as text to quote from: the changed files, or the diff if they are too long."""
    files = changed_files(before, after)
    if tokens(files) <= most_tokens:
        return f"These files differ from those above, and are shown as they are now:\n\n{files}\n"
    return f"It differs from the code above by this:\n\n{shown_diff(diff(before, after), most_tokens)}\n"


def shown_diff(patch: str, most_tokens: int | None = None) -> str:
    """A patch in a fence, without the lines that only git needs. If it is too long, as many complete hunks as fit are shown
    with the number of those left out; if none fits, part of the first."""
    patch = re.sub(r"^index [0-9a-f.]+(?: \d+)?\n", "", patch, flags=re.M)
    if most_tokens is None or tokens(patch) <= most_tokens:
        return _fenced_diff(patch)
    kept, left_out, room = list[str](), list[str](), most_tokens
    for head, hunks in _files_of(patch):
        opened = False
        for hunk in hunks:
            text = hunk if opened else head + hunk
            if tokens(text) <= room:
                kept, room, opened = [*kept, text], room - tokens(text), True
            else:
                left_out.append(text)
    count = len(kept) + len(left_out)
    note = f"({len(left_out)} of {count} hunks are left out)"
    if not kept:
        part = (
            left_out[0].encode(errors="replace")[: 3 * max(0, most_tokens)].decode(errors="ignore").rpartition("\n")[0]
        )
        kept, note = (
            [f"{part}\n" if part else ""],
            f"(the rest of the first hunk and the {count - 1} others are left out)",
        )
    return f"{_fenced_diff(''.join(kept))}\n{note}"


def _fenced_diff(patch: str) -> str:
    fence = fence_around(patch)
    return f"{fence}diff\n{patch}{fence}"


def _files_of(patch: str) -> list[tuple[str, Sequence[str]]]:
    """The header of each file of a patch and its hunks; a file without hunks (binary, mode) counts as one."""
    files: list[tuple[str, Sequence[str]]] = []
    for text in re.split(r"^(?=diff --git )", patch, flags=re.M):
        head, *hunks = re.split(r"^(?=@@ )", text, flags=re.M)
        if text:
            files.append((head, hunks) if hunks else ("", [head]))
    return files


def without_places(text: str) -> str:
    """A log without parts that differ between identical runs: folders and memory addresses."""
    text = re.sub(r"(?:/[^\s\"':,;()]+)*/(?:variant|site-packages|lib/python3\.\d+)/", "", text)
    text = re.sub(r"(?:/[^\s\"':,;()/]+)+/([^\s\"':,;()/]+)", r"\1", text)
    return re.sub(r"\b0x[0-9a-f]{6,}\b", "0x…", text)


def output_text(crash: Crash) -> str:
    """The failure of a variant and the last lines of its log, quoted."""
    return quoted(without_places(f"{crash.failure.reason.splitlines()[0]}\n\n{crash.log}").strip())


def _budget(config: Config) -> str:
    """The budget with the machine, in words. Host memory is named as such, since it would be mistaken for GPU memory."""
    needs = config.train.resources
    amount = (
        f"{config.train.budget_steps} steps"
        if config.train.clock is Clock.steps
        else f"{config.train.budget_min:g} minutes from the start of the process to its end, start-up included,"
    )
    devices = counted(needs.cpus_per_task, "CPU core")
    if needs.gpus_per_node:
        devices = f"{counted(needs.gpus_per_node, 'GPU')}, {devices}"
    each = " on each" if needs.nodes > 1 else ""
    return (
        f"{amount} on {counted(needs.nodes, 'node')} with {devices} and {needs.mem_gb:g} GB of host memory (RAM){each}"
    )
