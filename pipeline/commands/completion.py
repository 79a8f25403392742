"""Print the shell completion script, and compute completions.

The shell runs this at each TAB, so nothing slow is imported: Hydra and the other commands would take half a second.
The shell script and its protocol are argcomplete's; this module computes the possible words at the cursor.
"""

import argparse
import ast
import dataclasses
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from argcomplete import autocomplete
from argcomplete.shell_integration import shellcode

from pipeline.commands import COMMANDS
from pipeline.config import Config
from pipeline.setup.folders import CONF, SITE

SHELLS = ("bash", "zsh", "fish")
_PROGRAM = "groundwork"
_HELP = """Print a script that completes commands, settings, runs and candidates for the command `groundwork`.

  bash    eval "$(groundwork completion bash)"              in ~/.bashrc
  zsh     eval "$(groundwork completion zsh)"               in ~/.zshrc, after compinit
  fish    groundwork completion fish | source               in ~/.config/fish/config.fish

`python -m pipeline COMMAND` is completed by bash and zsh, in the folder of the checkout, once the global completion of
argcomplete is active: eval "$(activate-global-python-argcomplete --dest=-)". fish cannot complete a module of Python."""


def main() -> None:
    """Entry point."""
    made = argparse.ArgumentParser(
        prog="python -m pipeline completion",
        description=_HELP,
        epilog="Exit codes: 0 done, 2 bad input.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("shell", choices=SHELLS, help="the shell that reads the script")
    print(shellcode([_PROGRAM], shell=made.parse_args().shell))


def answer(before: Sequence[str]) -> None:
    """Answer the shell, which passes the command line in environment variables, with the possible words at the cursor;
    then exit. `before` are words assumed in front of those typed."""

    def completer(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
        return complete([*before, *(parsed_args.words or [])], prefix)

    made = argparse.ArgumentParser(prefix_chars="\0", add_help=False)  # `complete` interprets the words
    made.add_argument("words", nargs="*").completer = completer  # type: ignore[attr-defined]
    autocomplete(made, always_complete_options=False)


def complete(words: Sequence[str], word: str) -> list[str]:
    """The possible completions of `word`, which follows `words`. Empty where the shell should complete file names."""
    found: Iterable[str] = COMMANDS
    if words:
        command = words[0].replace("-", "_")
        found = _after(_arguments(command), words[1:], word) if command in COMMANDS else ()
    return sorted(one for one in found if one.startswith(word))


# ---- the arguments of a command


@dataclasses.dataclass(frozen=True)
class _Arguments:
    positionals: Sequence[str]
    flags: Sequence[str]
    options: Sequence[str]
    """Options that take a value."""


def _arguments(command: str) -> _Arguments:
    """The arguments of a command, read from its source, since importing it takes too long."""
    tree = ast.parse(Path(__file__).with_name(f"{command}.py").read_text())
    main = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main")
    calls = sorted((node for node in ast.walk(main) if isinstance(node, ast.Call)), key=lambda node: node.lineno)
    positionals, flags, options = list[str](), ["--help"], list[str]()
    for call in calls:
        called = ast.unparse(call.func).rpartition(".")[2]
        if called == "parser":  # pipeline/commands/terminal.py
            flags.append("--verbose")
        elif called == "add_overrides":
            positionals.append("overrides")
            options.append("--config-dir")
        elif called == "add_argument":
            name = ast.literal_eval(call.args[0])
            action = next((ast.literal_eval(one.value) for one in call.keywords if one.arg == "action"), "store")
            optional = flags if action.startswith("store_") else options
            (optional if name.startswith("--") else positionals).append(name)
    return _Arguments(positionals, flags, options)


def _after(arguments: _Arguments, given: Sequence[str], word: str) -> Iterable[str]:
    if given and given[-1] in arguments.options:
        return _values_of(given[-1].lstrip("-"), given, word)
    if word.startswith("-"):
        return (*arguments.flags, *arguments.options)
    values = [second for first, second in zip(("", *given), given, strict=False) if first not in arguments.options]
    place = sum(not one.startswith("-") for one in values)
    if "overrides" in arguments.positionals:  # they take all remaining words
        place = min(place, len(arguments.positionals) - 1)
    return _values_of(arguments.positionals[place], given, word) if place < len(arguments.positionals) else ()


def _values_of(argument: str, given: Sequence[str], word: str) -> Iterable[str]:
    return _COMPLETERS[argument](given, word) if argument in _COMPLETERS else ()


# ---- settings


def _overrides(given: Sequence[str], word: str) -> Iterable[str]:
    folders = _config_folders(given)
    sign = word[: len(word) - len(word.lstrip("+~"))]
    key, equals, _ = word[len(sign) :].partition("=")
    settings = dict(_settings(Config))
    if equals:
        return [f"{sign}{key}={value}" for value in _values(key, settings.get(key), folders, given)]
    # Hydra requires a + before a group that the root defaults do not choose, e.g. +experiment=.
    chosen = set(re.findall(r"^  - (\w+):", (CONF / "config.yaml").read_text(), re.M))
    groups = {group.name for folder in folders for group in _subfolders(folder)}
    names = [f"{'' if group in chosen else '+'}{group}=" for group in groups]
    if sign in ("", "++"):
        names += [f"{sign}{setting}=" for setting in settings]
    return _one_level(names, word)


def _config_folders(given: Sequence[str]) -> list[Path]:
    """The folders with config groups: this program's, the user's or site's, and those of `--config-dir`."""
    line = "\n".join(given)
    own = [Path(folder).expanduser() for folder in re.findall(r"^--config-dir[=\n](.+)$", line, re.M)]
    return [folder for folder in (CONF, SITE, *own) if folder.is_dir()]


def _settings(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names and types of the settings. Replaceable parts are left out, since a group chooses them."""
    for name, hint in typing.get_type_hints(node).items():
        if dataclasses.is_dataclass(hint):
            yield from _settings(hint, f"{prefix}{name}.")
        elif typing.get_origin(hint) is not dict:
            yield prefix + name, hint


def _one_level(names: Iterable[str], word: str) -> set[str]:
    """The dotted names that start with `word`, each cut after its next dot; cut later if only one would remain."""
    names = list(names)
    while True:
        matching = [name for name in names if name.startswith(word)]
        found = {name[: name.find(".", len(word)) + 1] or name for name in matching}
        if len(found) != 1 or not (only := next(iter(found))).endswith("."):
            return found
        word = only


def _values(key: str, hint: Any, folders: Sequence[Path], given: Sequence[str]) -> Iterable[str]:
    if key == "run":
        runs = next((one.partition("=")[2] for one in given if one.startswith("runs=")), "runs")
        return [folder.name for folder in _subfolders(Path(runs)) if _is_run(folder)]
    if hint is bool:
        return ("true", "false")
    if isinstance(hint, type) and issubclass(hint, Enum):
        return [member.name for member in hint]
    return {path.stem for folder in folders for path in (folder / key).glob("*.yaml")}


def _baselines(given: Sequence[str], word: str) -> Iterable[str]:
    return _values("baseline", None, _config_folders(given), given)


# ---- folders of runs


def _runs(given: Sequence[str], word: str) -> Iterable[str]:
    return _below(word, _is_run, lambda folder: True)


def _candidates(given: Sequence[str], word: str) -> Iterable[str]:
    return _below(word, lambda folder: folder.name.startswith("candidate_"), _leads_to_candidates)


def _candidates_or_baseline(given: Sequence[str], word: str) -> Iterable[str]:
    return _below(word, lambda folder: folder.name.startswith(("candidate_", "baseline")), _leads_to_candidates)


def _leads_to_candidates(folder: Path) -> bool:
    return not _is_run(folder.parent) or folder.name.startswith("generation_")


def _below(word: str, wanted: Callable[[Path], bool], leads: Callable[[Path], bool]) -> Iterator[str]:
    """Paths of folders that start with `word`: the wanted ones and, with a trailing slash, those that lead there."""
    if "runs/".startswith(word) and Path("runs").is_dir():
        word = "runs/"
    beginning = word[: word.rfind("/") + 1]
    for folder in _subfolders(Path(beginning or ".").expanduser()):
        if wanted(folder):
            yield f"{beginning}{folder.name}"
        elif leads(folder):
            yield f"{beginning}{folder.name}/"


def _is_run(folder: Path) -> bool:
    return (folder / "run.json").is_file()


def _subfolders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))]
    except OSError:
        return []


_COMPLETERS: dict[str, Callable[[Sequence[str], str], Iterable[str]]] = {
    "overrides": _overrides,
    "baseline": _baselines,
    "run": _runs,
    "candidate": _candidates,
    "folder": _candidates_or_baseline,
    "parent": _candidates,
    "shell": lambda given, word: SHELLS,
}
"""Completer by the name of the argument."""
