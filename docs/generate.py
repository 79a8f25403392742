"""Write `docs/reference/` from the code: `python -m docs.generate`, or `make reference`.

The pages are made of the strings under the fields of `pipeline/config.py` and `pipeline/records.py`. A test fails when
they are stale. `--check` only tells, with exit code 1.
"""

import ast
import dataclasses
import enum
import inspect
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from omegaconf import OmegaConf

from pipeline import config, records
from pipeline.stages import account, nodes, probe
from pipeline.store import data, paths, run

ROOT = Path(__file__).resolve().parent.parent
CONF = ROOT / "conf"
REFERENCE = ROOT / "docs/reference"
COMMAND = "python -m docs.generate"
_NOTE = f"<!-- Made by `{COMMAND}`. Do not edit: change the strings in the code. -->"


@dataclass(frozen=True)
class Documented:
    """A class and what stands under its names."""

    about: str
    """Its docstring."""
    names: Mapping[str, str]
    """Field or member to the string under it; empty where there is none."""


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` only tell which are stale."""
    stale = [path for path, text in pages().items() if not path.is_file() or path.read_text() != text]
    for path in stale:
        if "--check" not in arguments:
            path.write_text(pages()[path])
        print(path.relative_to(ROOT), "is stale" if "--check" in arguments else "written")
    return int(bool(stale) and "--check" in arguments)


def pages() -> dict[Path, str]:
    """Every generated page with its text."""
    return {REFERENCE / "settings.md": settings_page(), REFERENCE / "run-folder.md": run_folder_page()}


def documented(module: ModuleType) -> dict[str, Documented]:
    """The classes of a module with their docstrings and those of their fields, which Python itself throws away."""
    found = {}
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef):
            names: dict[str, str] = {}
            for statement, after in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(statement, ast.AnnAssign):
                    target: ast.expr = statement.target
                elif isinstance(statement, ast.Assign):
                    target = statement.targets[0]
                else:
                    continue
                assert isinstance(target, ast.Name)
                names[target.id] = _string(after)
            found[node.name] = Documented(_flow(ast.get_docstring(node) or ""), names)
    return found


# ---- settings ----


@dataclass(frozen=True)
class Setting:
    """One key of the configuration."""

    key: str
    """Dotted, as on the command line."""
    kind: str
    """Type, or the choices."""
    default: str
    """What holds where no file of `conf/` says otherwise."""
    live: bool
    """Whether it may change when a run is resumed."""
    meaning: str
    """The string under the field."""


def settings_page() -> str:
    """docs/reference/settings.md."""
    texts = documented(config)
    hints = typing.get_type_hints(config.Config)
    groups = [field for field in dataclasses.fields(config.Config) if dataclasses.is_dataclass(hints[field.name])]
    lines = [
        _NOTE,
        "",
        "# Settings",
        "",
        "Every setting of a run. On the command line they are written as `KEY=VALUE`, for example",
        "`stop.generations=8`; which files of `conf/` set which of them is told [below](#groups).",
        "",
        "*Fixed* settings belong to the run: a run that is resumed with another value is refused. *Live* settings may",
        "change from one start to the next; the change is shown and recorded. **required** marks what has no default.",
        "",
        "## Top level",
        "",
        *_table(list(_settings(config.Config, "", False, texts, deep=False))),
    ]
    for field in groups:
        node = hints[field.name]
        live = bool(field.metadata.get("live"))
        lines += ["", f"## {field.name}", "", texts[node.__name__].about, ""]
        lines += _table(list(_settings(node, f"{field.name}.", live, texts)))
    return "\n".join([*lines, "", *_groups(), ""])


def _settings(
    node: Any, prefix: str, live: bool, texts: Mapping[str, Documented], deep: bool = True
) -> Iterator[Setting]:
    hints = typing.get_type_hints(node)
    for field in dataclasses.fields(node):
        hint, here = hints[field.name], live or bool(field.metadata.get("live"))
        if dataclasses.is_dataclass(hint):
            if deep:
                yield from _settings(hint, f"{prefix}{field.name}.", here, texts)
            continue
        meaning = texts[node.__name__].names[field.name]
        yield Setting(prefix + field.name, _kind(hint), _default(field), here, meaning)


def _kind(hint: Any) -> str:
    """A type in the words of a YAML file."""
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return " \\| ".join(f"`{member.name}`" for member in hint)
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if one is type(None) else _kind(one) for one in inside)
    if origin is list:
        return f"list of {_kind(inside[0])}"
    if origin is dict:
        return "keys and values" if inside[1] is Any else f"keys to {_kind(inside[1])}"
    return {bool: "true or false", int: "integer", float: "number", str: "text"}[hint]


def _default(field: "dataclasses.Field[Any]") -> str:
    value = field.default
    if value is dataclasses.MISSING:
        assert field.default_factory is not dataclasses.MISSING
        value = field.default_factory()
    if value == config.MISSING:
        return "**required**"
    if isinstance(value, enum.Enum):
        return f"`{value.name}`"
    if value in ("", [], {}):
        return "empty"
    if value is None or isinstance(value, bool):
        return {None: "`null`", True: "`true`", False: "`false`"}[value]
    return f"`{value}`"


def _table(settings: list[Setting]) -> list[str]:
    rows = [
        f"| `{one.key}` | {one.kind} | {one.default} | {'live' if one.live else 'fixed'} | {_cell(one.meaning)} |"
        for one in settings
    ]
    return ["| setting | type | default | | meaning |", "|---|---|---|---|---|", *rows]


def _groups() -> list[str]:
    """The files of `conf/`: what there is to choose from, and what each sets."""
    root = OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml"))
    assert isinstance(root, dict)
    chosen = {key: value for entry in root["defaults"] if isinstance(entry, dict) for key, value in entry.items()}
    groups = sorted({path.parent for path in CONF.glob("*/*.yaml")})
    lines = [
        "## Groups",
        "",
        "A group is a folder of `conf/`, and a choice is a file in it: `select=independent` takes",
        "`conf/select/independent.yaml`. Settings given by name win over all files. Files of your own lie in the same",
        "groups of a folder that is named with `--config-dir`.",
        "",
        "| group | choices | default |",
        "|---|---|---|",
    ]
    for folder in groups:
        choices = " ".join(f"`{path.stem}`" for path in sorted(folder.glob("*.yaml")))
        default = f"`{chosen[folder.name]}`" if folder.name in chosen else "none"
        word = f"`+{folder.name}=`" if folder.name == "experiment" else f"`{folder.name}=`"
        lines.append(f"| {word} | {choices} | {default} |")
    for folder in (group for group in groups if group.name != "size"):
        lines += ["", f"### {folder.name}", "", "| choice | what it is | sets |", "|---|---|---|"]
        for path in sorted(folder.glob("*.yaml")):
            lines.append(f"| `{path.stem}` | {_cell(_comment(path))} | {_cell(_sets(path))} |")
    return [*lines, "", *_sizes()]


def _sizes() -> list[str]:
    """The numbers of each baseline at each scale, side by side."""
    files = sorted((CONF / "size").glob("*.yaml"))
    values = {path.stem: _flat(path, leave_out=("size", "defaults")) for path in files}
    keys = list(dict.fromkeys(key for found in values.values() for key in found))
    lines = [
        "### size",
        "",
        "Chosen by `baseline` and `scale` together. What stands under `size:` goes to the baseline only.",
        "",
    ]
    lines += [f"* `{path.stem}`: {_comment(path)}" for path in files]
    lines += ["", f"| setting | {' | '.join(f'`{name}`' for name in values)} |", "|---|" + "---|" * len(values)]
    for key in keys:
        lines.append(f"| `{key}` | {' | '.join(str(found.get(key, '')) for found in values.values())} |")
    return lines


def _comment(path: Path) -> str:
    """The comment a file begins with."""
    lines = (line for line in path.read_text().splitlines() if not line.startswith("# @package"))
    said = []
    for line in lines:
        if not line.startswith("#"):
            break
        said.append(line.removeprefix("#").strip())
    return " ".join(said)


def _sets(path: Path) -> str:
    """What a file sets, in short: long texts and lists are only named."""
    content = OmegaConf.to_container(OmegaConf.load(path))
    chosen = content.get("defaults", []) if isinstance(content, dict) else []
    words = [f"`{key.removeprefix('override /')}={value}`" for entry in chosen for key, value in entry.items()]
    for key, value in _flat(path, leave_out=("defaults",)).items():
        short = isinstance(value, int | float | str) and len(str(value)) < 20
        words.append(f"`{key}={value}`" if short else f"`{key}`")
    return ", ".join(words)


def _flat(path: Path, leave_out: tuple[str, ...]) -> dict[str, Any]:
    content = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(content, dict)

    def walk(node: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for key, value in node.items():
            if isinstance(value, Mapping):
                yield from walk(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    return dict(walk({key: value for key, value in content.items() if key not in leave_out}, ""))


# ---- run folder ----

_FILES: tuple[tuple[str, str, type | None, str], ...] = (
    ("run.json", "the run", run.Facts, "Written once; makes the folder a run."),
    ("live.json", "the run", None, "The live settings now in force, as in [Settings](settings.md)."),
    ("controller.json", "the run", run.Holder, "There while a controller holds the run."),
    ("pause.json", "the run", records.Pause, "While it is there nothing new is started."),
    ("events.jsonl", "the run", records.Event, "One event a line."),
    ("account.json", "the run", account.Statement, "What it cost, as of the last selection or report."),
    ("alarm.json", "an alarm", records.Alarm, "Opens it, in `alarms/alarm_K/`: failures look like a machine's."),
    ("verdict.json", "an alarm", records.Verdict, "Closes it."),
    ("report.json", "the run", records.Report, "Written at the end."),
    ("parents.json", "a generation", records.Parents, "Opens it."),
    ("selection.json", "a generation", records.Selection, "Closes it."),
    ("idea.json", "a candidate", records.Idea, "Opens it."),
    (
        "generation_N/candidate_N.json",
        "`marks/`",
        records.Mark,
        "There while a person has pinned or banned it; may change.",
    ),
    ("failure.json", "a candidate, an attempt, a trial", records.Failure, "Closes it without a score."),
    ("implement.json", "an attempt", records.Implementation, "Written after `patch.diff` and `variant/`."),
    ("smoke.json", "an attempt", records.Smoke, "The variant may be trained."),
    ("score.json", "a trial", records.Score, "Closes it."),
    ("job.json", "a try", records.Job, "Opens it."),
    ("claim.json", "a try", records.Claim, "Some process runs it."),
    ("result.json", "a try", records.Result, "Closes it."),
    ("spoiled.json", "a try", records.Failure, "A machine's fault that came to light later; counts for the result."),
    ("rendezvous.json", "a try", nodes.Meeting, "On several nodes: where the ranks meet."),
    ("node_K.json", "a try", nodes.NodeEnd, "On several nodes: how it ended on node K."),
    ("question.json", "`runs/.doctor-…/`", probe.Question, "What `pipeline.doctor` asks a node. Removed again."),
    ("seen.json", "`runs/.doctor-…/`", probe.Seen, "What the node answers."),
    ("manifest.json", "`data/BASELINE/SCALE/`", data.Manifest, "Closes prepared data. Not in the run folder."),
)


def run_folder_page() -> str:
    """docs/reference/run-folder.md."""
    texts = documented(records) | documented(run) | documented(data)
    texts |= documented(account) | documented(nodes) | documented(probe)
    others = (account.Account, account.Statement, nodes.Meeting, nodes.NodeEnd, probe.Question, probe.Seen)
    kinds = [cls for _, cls in inspect.getmembers(records, inspect.isclass) if cls.__module__ == records.__name__]
    linked = {cls for _, _, cls, _ in _FILES if cls} | {*kinds, *others}
    tree = (inspect.getdoc(paths) or "").partition("\n\n")[2]
    lines = [
        _NOTE,
        "",
        "# The run folder",
        "",
        f"Format {records.FORMAT}. The files are the state of a run: nothing else records how far it came. Every file is",
        "written whole or not at all, and one that decides something is never written over. How they work together is told",
        "in [How a run works](../explanation/how-a-run-works.md).",
        "",
        "```text",
        *tree.splitlines(),
        "```",
        "",
        "No path in these files is absolute. Times are seconds since 1970, run times are seconds, memory is GB. Every",
        "number is finite.",
        "",
        "## Files",
        "",
        "| file | of | record | |",
        "|---|---|---|---|",
    ]
    for name, where, cls, words in _FILES:
        record = f"[{cls.__name__}](#{cls.__name__.lower()})" if cls else ""
        lines.append(f"| `{name}` | {where} | {record} | {words} |")
    lines += [
        "",
        "Beside the records: `patch.diff` (the change from the baseline to the variant, for `git apply`), `variant/` (the",
        "code that runs), `train.log`, `evaluate.log`, `serve_0.log` and on, and `smoke.log` (what commands printed),",
        "`evaluation.json` (what the evaluator wrote), and `output/` (all that the variant can write: `metrics.jsonl`,",
        "`checkpoint/`, `resume/`).",
        "`code/size.json` is what the baseline's commands are handed as `{size}`, `guidance.md` is what a person tells the",
        "ideator, each file of `proposals/` is an [Idea](#idea) for the next generation, `train_K.log` is what node K of",
        "several printed, a `failure_K.json` was taken back by an alarm, and each folder of `llm/` holds one",
        "`prompt.json` and the completions, `sample_0.json` and on.",
        "",
        "## Records",
    ]
    in_order = sorted(
        [*kinds, run.Facts, run.Holder, data.Manifest, *others],
        key=lambda cls: (issubclass(cls, enum.Enum), list(texts).index(cls.__name__)),
    )
    for cls in in_order:
        text = texts[cls.__name__]
        lines += ["", f"### {cls.__name__}", "", text.about, ""]
        if issubclass(cls, enum.Enum):
            lines += ["| value | meaning |", "|---|---|"]
            lines += [_member(member, text) for member in cls]
        else:
            lines += ["| key | type | meaning |", "|---|---|---|"]
            dataclass_: Any = cls
            hints = typing.get_type_hints(dataclass_)
            lines += [_key(field, hints[field.name], text, linked) for field in dataclasses.fields(dataclass_)]
    return "\n".join([*lines, ""])


def _key(field: "dataclasses.Field[Any]", hint: Any, text: Documented, linked: set[type]) -> str:
    return f"| `{field.name.rstrip('_')}` | {_json(hint, linked)} | {_cell(text.names.get(field.name, ''))} |"


def _member(member: enum.Enum, text: Documented) -> str:
    fault = "**machine** " if getattr(member, "infrastructure", False) else ""
    return f"| `{member.value}` | {fault}{_cell(text.names.get(member.name, ''))} |"


def _json(hint: Any, linked: set[type]) -> str:
    """A type in the words of JSON; records are linked."""
    if hint in linked:
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if one is type(None) else _json(one, linked) for one in inside)
    if origin is tuple:
        return f"list of {_json(inside[0], linked)}"
    if origin is not None:
        return f"keys to {_json(inside[1], linked)}"
    return {bool: "true or false", int: "integer", float: "number", str: "text", Any: "anything"}[hint]


def _string(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return _flow(node.value.value)
    return ""


def _flow(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
