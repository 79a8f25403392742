"""Shell completion: the choices at the cursor, and a real bash that requests them."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import argcomplete
import pytest

from pipeline.commands import COMMANDS
from pipeline.commands.completion import SHELLS, complete
from tests.toy import CONF, ROOT, environment, program


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folders of two runs in the working directory, and one folder that is not a run."""
    for name in ("first", "second"):
        for inside in ("baseline/trial_0", "generation_000/candidate_000", "generation_000/candidate_001", "llm"):
            (tmp_path / "runs" / name / inside).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").touch()
    (tmp_path / "runs/older").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def test_commands() -> None:
    assert complete([], "") == sorted(COMMANDS)
    assert complete([], "res") == ["resume"]
    assert complete(["no_such_command"], "") == []


@pytest.mark.parametrize(
    ("given", "word", "found"),
    [
        pytest.param([], "+", ["+experiment="], id="a group that the defaults do not choose"),
        pytest.param([], "scal", ["scale="], id="a group"),
        pytest.param([], "scale=", ["scale=paper", "scale=small", "scale=tiny"], id="its choices"),
        pytest.param(["scale=tiny"], "cluster=", ["cluster=auto", "cluster=local", "cluster=slurm"], id="after a word"),
        pytest.param([], "ideate=b", ["ideate=bank"], id="choices of a stage"),
        pytest.param([], "llm", ["llm.", "llm="], id="a group that is also a section"),
        pytest.param(
            [],
            "bud",
            ["budget.device_hour_usd=", "budget.gpu_hours=", "budget.reserve=", "budget.usd="],
            id="the only section",
        ),
        pytest.param([], "train.re", ["train.resources.", "train.retries="], id="keys of one level"),
        pytest.param([], "++stop.t", ["++stop.target="], id="a forced key"),
        pytest.param([], "search.mode=", ["search.mode=generational", "search.mode=steady"], id="an enum"),
        pytest.param([], "dry_run=", ["dry_run=false", "dry_run=true"], id="true or false"),
        pytest.param([], "seed=", [], id="a number"),
        pytest.param(["--config-dir", str(CONF)], "baseline=t", ["baseline=toy"], id="a group of the user's own"),
        pytest.param([f"--config-dir={CONF}"], "baseline=t", ["baseline=toy"], id="in one word"),
        pytest.param(["--config-dir"], "", [], id="the value of an option"),
        pytest.param(["--once"], "scale=t", ["scale=tiny"], id="after a flag"),
    ],
)
def test_settings(given: list[str], word: str, found: list[str]) -> None:
    assert complete(["run", *given], word) == found


def test_every_experiment_is_offered() -> None:
    found = complete(["run"], "+experiment=")
    assert found == sorted(f"+experiment={path.stem}" for path in (ROOT / "conf/experiment").glob("*.yaml"))
    assert "+experiment=evolve_posttrain" in found


def test_a_baseline_is_a_name_and_then_come_settings() -> None:
    assert complete(["check-baseline"], "") == ["grpo", "nanogpt"]
    assert complete(["check_baseline", "grpo"], "scale=t") == ["scale=tiny"]


@pytest.mark.parametrize(
    ("words", "word", "found"),
    [
        pytest.param(["status"], "", ["runs/first", "runs/older/", "runs/second"], id="a run"),
        pytest.param(["pause"], "runs/f", ["runs/first"], id="its beginning"),
        pytest.param(["status", "runs/first"], "", [], id="nothing after it"),
        pytest.param(["pause", "runs/first", "--reason"], "", [], id="no run in place of a reason"),
        pytest.param(["pause", "--reason", "lunch"], "ru", ["runs/first", "runs/older/", "runs/second"], id="after it"),
        pytest.param(["show"], "runs/s", ["runs/second/"], id="the run of a candidate"),
        pytest.param(["mark"], "runs/first/", ["runs/first/generation_000/"], id="its generation"),
        pytest.param(
            ["show"],
            "runs/first/generation_000/c",
            [f"runs/first/generation_000/candidate_00{number}" for number in (0, 1)],
            id="a candidate",
        ),
        pytest.param(
            ["evaluate"], "runs/first/", ["runs/first/baseline", "runs/first/generation_000/"], id="or the baseline"
        ),
        pytest.param(
            ["propose", "runs/first", "--parent"],
            "runs/first/generation_000/candidate_001",
            ["runs/first/generation_000/candidate_001"],
            id="a parent",
        ),
        pytest.param(["status"], "nowhere/", [], id="a folder that does not exist"),
        pytest.param(["run"], "run=", ["run=first", "run=second"], id="the name of a run"),
        pytest.param(["run", "runs=elsewhere"], "run=", [], id="of another folder"),
    ],
)
def test_runs_and_candidates(runs: Path, words: list[str], word: str, found: list[str]) -> None:
    assert complete(words, word) == found


@pytest.mark.parametrize("name", COMMANDS)
def test_the_options_are_those_of_the_help(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit):
        importlib.import_module(f"pipeline.commands.{name}").main()
    listed = set(re.findall(r"^  (?:-\w, )?(--[a-z-]+)", capsys.readouterr().out, re.M))
    assert listed >= {"--help"}
    assert set(complete([name], "-")) == listed


def test_nothing_slow_is_imported() -> None:
    slow = {"hydra", "omegaconf", "rich", "submitit", "msgspec", "torch"}
    script = (
        "import sys; from pipeline.commands.completion import complete\n"
        "assert complete(['run'], 'train.') and complete(['run'], 'scale=') and complete(['status'], '-')\n"
        f"print(*{slow} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def in_bash(folder: Path, completion: str, function: str, lines: list[str]) -> list[list[str]]:
    """Completions that a bash offers at the end of each line, after loading a completion."""
    (folder / "bin").mkdir()
    groundwork = folder / "bin/groundwork"
    groundwork.write_text(f'#!/bin/bash\nexec {sys.executable} -m groundwork_hpc "$@"\n')
    groundwork.chmod(0o755)
    script = [completion, "set -e", 'complete -p | grep -q " -F $1 "']
    for line in lines:
        script += [
            f"COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)} COMP_TYPE=9 COMPREPLY=()",
            "read -ra COMP_WORDS <<< $COMP_LINE",
            "$1 ${COMP_WORDS[0]}",
            '(IFS="|"; echo "${COMPREPLY[*]}")',
        ]
    path = f"{folder}/bin:{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "-c", "\n".join(script), "bash", function],
        env=environment({"PATH": path}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [line.split("|") for line in done.stdout.splitlines()]


def test_bash_completes_the_command(tmp_path: Path) -> None:
    lines = ["groundwork sta", "groundwork run +experiment=evolve_p", f"groundwork run --config-dir {CONF} baseline=t"]
    found = in_bash(tmp_path, "source <(groundwork completion bash)", "_python_argcomplete", lines)
    # bash treats the text after = as a separate word
    assert found == [["status "], ["evolve_posttrain", "evolve_pretrain"], ["toy "]]


def test_bash_completes_the_module(tmp_path: Path) -> None:
    script = next(Path(argcomplete.__file__).parent.glob("bash_completion.d/*python-argcomplete*"))
    lines = ["python -m pipeline sta", "python -m pipeline run scale=t", "python -m pipeline.run scale=t"]
    found = in_bash(tmp_path, f"source {script}", "_python_argcomplete_global", lines)
    assert [[word.strip() for word in words] for words in found] == [["status"], ["tiny"], ["tiny"]]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_for_each_shell(shell: str) -> None:
    text = program("completion", shell).ok().out
    assert re.search(r"^ *(complete|compdef) .*\bgroundwork\b", text, re.M)


def test_another_shell_is_refused() -> None:
    done = program("completion", "tcsh")
    assert done.code == 2
    assert "choose from" in done.err
