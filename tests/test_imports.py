"""Modules import only from lower floors of the design page; late imports count, too."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.store.run import JOB_CODE
from tests.toy import ROOT, environment

PLAIN = {"records", "metric", "config", "errors", "text", "likeness"}
DOORS = {"store", "llm", "patching", "cluster", "sandbox"}
MIDDLE = {"methods", "makers", "policy", "job", "report", "rl"}
FLOOR = {
    **dict.fromkeys(PLAIN, 0),
    **dict.fromkeys(DOORS, 1),
    **dict.fromkeys(MIDDLE, 2),
    **dict.fromkeys(("stages", "loop"), 3),
}
TOP = 4
STRANGERS = (
    *(("makers", "methods"), ("methods", "makers")),
    *((ours, "job") for ours in ("methods", "makers", "policy", "report")),
    *(("job", theirs) for theirs in sorted(MIDDLE - {"job"})),
    *(("rl", theirs) for theirs in sorted(MIDDLE - {"rl", "job"})),  # its ranks meet like those of trials
    ("stages", "loop"),
)
"""Pairs of rooms: the first may not import the second, although the floors would allow it."""
HEAVY = {"torch", "transformers", "deepspeed", "vllm", "datasets"}


def imports(source: str, package: str) -> Iterator[str]:
    """Dotted names that a module imports anywhere; `from a import b` gives `a.b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            around = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*around, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            yield ast.literal_eval(node.args[0]) if isinstance(node.args[0], ast.Constant) else "a computed name"


def room(name: str) -> str:
    """`store` for `pipeline.store.files`."""
    return name.split(".")[1] if "." in name else ""


def wrong(importer: str, imported: str) -> str | None:
    """Why one module of the pipeline may not import another; none if it may."""
    ours, theirs = room(importer), room(imported)
    if ours == theirs or not theirs:
        return None
    upper, lower = FLOOR.get(ours, TOP), FLOOR.get(theirs, TOP)
    if lower > upper:
        return f"{importer} imports {imported}, which stands above it"
    if upper == lower == 1 or (ours, theirs) in STRANGERS:
        return f"{importer} imports {imported}: these rooms are strangers to each other"
    return None


def modules(folder: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def package(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).parent.parts)


@pytest.mark.parametrize("path", modules("pipeline"), ids=dotted)
def test_imports_go_down(path: Path) -> None:
    found = list(imports(path.read_text(), package(path)))
    ours = [name for name in found if name.split(".")[0] == "pipeline"]
    assert [words for name in ours if (words := wrong(dotted(path), name))] == []
    assert not {name.split(".")[0] for name in found} & {"baselines", "analysis", "tests"}
    if room(dotted(path)) != "rl":
        assert not {name.split(".")[0] for name in found} & HEAVY
    if room(dotted(path)) in PLAIN:
        assert {name.split(".")[0] for name in found} <= sys.stdlib_module_names | {"pipeline"}


@pytest.mark.parametrize("path", modules("analysis"), ids=dotted)
def test_analysis_sees_the_ground_floor_the_store_and_the_report(path: Path) -> None:
    ours = {room(name) for name in imports(path.read_text(), package(path)) if name.startswith("pipeline")}
    assert ours <= PLAIN | {"store", "report"}


@pytest.mark.parametrize("path", [*modules("baselines"), *modules("tests/baselines/toy")], ids=dotted)
def test_a_baseline_imports_nothing_of_the_program(path: Path) -> None:
    found = {name.split(".")[0] for name in imports(path.read_text(), package(path))}
    assert not found & {"pipeline", "analysis", "baselines", "tests"}


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("pipeline.stages.train", "pipeline.store.files", True),
        ("pipeline.loop", "pipeline.stages.train", True),
        ("pipeline.commands.run", "pipeline.setup.compose.compose_config", True),
        ("pipeline.setup.build", "pipeline.job.trial.run_try", True),
        ("pipeline.stages.implement", "pipeline.makers.base", True),
        ("pipeline.methods.truncation", "pipeline.policy.trials", True),
        ("pipeline.methods.truncation", "pipeline.makers.bank", False),
        ("pipeline.makers.bank", "pipeline.methods.base", False),
        ("pipeline.makers.command_implementer", "pipeline.job.score", False),
        ("pipeline.policy.trials", "pipeline.job.trial", False),
        ("pipeline.job.trial", "pipeline.policy.trials", False),
        ("pipeline.job.trial", "pipeline.sandbox.base", True),
        ("pipeline.config", "pipeline.metric.Direction", True),
        ("pipeline.records", "pipeline.store.files", False),
        ("pipeline.store.run", "pipeline.cluster.base", False),
        ("pipeline.store.run", "pipeline.store.files", True),
        ("pipeline.stages.train", "pipeline.loop", False),
        ("pipeline.stages.train", "pipeline.setup.compose", False),
        ("pipeline.loop", "pipeline.commands.run", False),
    ],
)
def test_what_the_floors_allow(importer: str, imported: str, allowed: bool) -> None:
    assert (wrong(importer, imported) is None) is allowed


def test_late_and_relative_imports_are_seen() -> None:
    source = "def f():\n    from ..store import files\n    from . import base\n    import a.b\n    __import__('c')\n"
    assert list(imports(source, "pipeline.stages")) == ["pipeline.store.files", "pipeline.stages.base", "a.b", "c"]


BY_NAME = {
    "pipeline/__main__.py": "commands",
    "pipeline/commands/beside.py": "analysis",
    "pipeline/setup/parts.py": "parts that a person names in YAML",
    "pipeline/sandbox/base.py": "the sandbox that a person names in YAML",
    "pipeline/makers/bank.py": "the implementer that a person names in YAML",
}
"""Files that import by a computed name, with what they import."""
RUNS_CODE = {"exec", "eval", "__import__", "import_module", "resolve_name", "run_path", "run_module", "exec_module"}


def test_no_code_of_a_variant_is_ever_imported() -> None:
    """Settings and imports of a variant are read from its syntax tree; its code runs only in processes of its own."""
    found = set()
    for path in modules("pipeline"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in RUNS_CODE:
                found.add(path.relative_to(ROOT).as_posix())
    assert found == set(BY_NAME)


def test_the_commands_load_no_heavy_packages() -> None:
    programs = [dotted(path) for path in modules("pipeline/commands")]
    assert "pipeline.commands.run" in programs
    code = f"import sys, {', '.join(programs)}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_a_run_copies_what_its_jobs_import() -> None:
    """`job/`, `rl/` and what they may import, and nothing else."""
    names = {name.removesuffix(".py") for name in JOB_CODE} - {"__init__"}
    assert names == PLAIN | DOORS | {"job", "rl"}
