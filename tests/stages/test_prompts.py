"""Prompts and what is read out of answers: golden files, tolerant parsing, history that fits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.compose import compose_config
from pipeline.metric import Direction, Metric
from pipeline.patching import Refusal
from pipeline.patching.trees import Entry
from pipeline.records import (
    Failure,
    Idea,
    Implementation,
    Kind,
    Parents,
    Score,
    Selection,
    Smoke,
    Stage,
    Standing,
)
from pipeline.stages import history
from pipeline.stages.packages import Packages, check_imports, installed_packages
from pipeline.stages.prompting import render, shared_text, shown_diff, without_places
from pipeline.stages.proposals import Proposal, alike, read_proposals
from pipeline.store.archive import Archive, Attempt, Candidate, Generation, Trial
from pipeline.store.paths import RunPaths
from tests.toy import CONF, ROOT, TOY, environment, tree

GOLDEN = ROOT / "tests/golden/prompts"
RENEW = "look at the difference; `RENEW_GOLDEN=1 python -m pytest tests/stages/test_prompts.py` writes it anew"
PACKAGES = Packages(("msgspec 0.19.0", "numpy 2.2.0"), frozenset({"msgspec", "numpy", "os", "json"}))
METRIC = Metric("loss", Direction.minimize, 0.0, float("inf"), False)
PATCH = "diff --git a/train.py b/train.py\nindex 1f..2e 100644\n--- a/train.py\n+++ b/train.py\n@@ -1 +1 @@\n-a\n+b\n"

VALUES: dict[str, dict[str, object]] = {
    "first": {"count": 3, "guidance": "", "proposed": ""},
    "explore": {
        "count": 2,
        "baseline": "0.80 ± 0.06",
        "history": "HISTORY",
        "guidance": "\nThe person who runs this search asks you to heed:\n\nNo dropout.\n",
        "proposed": "\nAlready proposed, not to be repeated:\n- Momentum\n",
    },
    "exploit": {
        "count": 2,
        "baseline": "0.80 ± 0.06",
        "parents": "PARENTS",
        "history": "HISTORY",
        "guidance": "",
        "proposed": "",
    },
    "more": {"problems": "No idea could be read: write them as JSON, as described.", "missing": 2},
    "implement": {"title": "Momentum", "text": "Keep it.", "base": "Your change applies to the codebase above.\n"},
    "repair_patch": {"reason": "there is no file optimizer.py"},
    "repair_crash": {
        "title": "Momentum",
        "text": "Keep it.",
        "patch": shown_diff(PATCH),
        "stage": "in train (exception)",
        "failure": "exit code 1: KeyError: 'x'",
    },
    "command": {
        "title": "Momentum",
        "text": "Keep it.",
        "evolvable": "train.py",
        "protected": "evaluate.py",
        "packages": "numpy 2.2.0",
        "others": "",
        "crash": "",
    },
}


def golden(name: str, text: str) -> None:
    path = GOLDEN / f"{name}.md"
    if os.environ.get("RENEW_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text(), RENEW


@pytest.mark.parametrize("name", VALUES)
def test_prompts_are_as_in_their_golden_files(name: str) -> None:
    golden(name, render(name, **VALUES[name]))


@pytest.mark.parametrize("form", ["blocks", "diff", "files"])
def test_the_shared_part_is_as_in_its_golden_file(form: str) -> None:
    config = compose_config(["baseline=toy", "scale=tiny", f"implement.format={form}"], CONF)
    code = {name: entry for name, entry in tree(TOY).items() if not name.startswith("ideas/")}
    golden(f"shared_{form}", shared_text(config, code, PACKAGES))


@pytest.mark.parametrize("name", VALUES)
def test_a_variable_that_is_missing_or_not_used_is_an_error(name: str) -> None:
    first = next(iter(VALUES[name]))
    with pytest.raises(ValueError, match=rf"{name}\.md: missing \['{first}'\], not used \[\]"):
        render(name, **{key: value for key, value in VALUES[name].items() if key != first})
    with pytest.raises(ValueError, match=rf"{name}\.md: missing \[\], not used \['colour'\]"):
        render(name, **VALUES[name], colour="blue")


def test_every_template_is_tested() -> None:
    templates = {path.stem for path in (ROOT / "pipeline/stages/prompts").glob("*.md")}
    assert templates == {*VALUES, "shared", "format_blocks", "format_diff", "format_files"}


def test_only_what_a_baseline_shows_is_shown() -> None:
    config = compose_config(["baseline=grpo", "scale=tiny"])
    code = {**tree(ROOT / "baselines/grpo"), "evaluator/answers.json": Entry(b"[42]"), "weights.bin": Entry(b"\0\1")}
    text = shared_text(config, code, PACKAGES)
    assert "settings.py\n```python" in text and "train.py\n```python" in text
    for hidden in ("[42]", "answers.json\n```", "weights.bin", "ideas/muon.diff", "def main() -> None:  # evaluate"):
        assert hidden not in text


# ---- ideas as they are written ----


@pytest.mark.parametrize(
    ("answer", "titles"),
    [
        ('{"ideas": [{"title": "A", "text": "a"}, {"title": "B", "text": "b"}]}', "AB"),
        ('Here:\n```json\n{"ideas": [{"title": "A", "text": "a"}]}\n```\nGood luck {really}!', "A"),
        ('[{"title": "A", "text": "a"}, {"name": "B", "description": "b"}]', "AB"),
        ('{"title": "A", "text": "a"}\n\n{"title": "B", "text": "b"}', "AB"),
        ('{"ideas": [{"title": "A", "text": "a"}, {"title": "B", "te', "A"),
        ('<think>{"title": "no", "text": "no"}</think>{"title": "A", "text": "a"}', "A"),
        ('{"title": "A", "text": "with \\alpha and\nan open line"}', "A"),
        ('{"ideas": [{"title": "A", "text": "a"}, {"title": "no text"}, 7, null]}', "A"),
        ("I would rather not.", ""),
        ("", ""),
        ('{"ideas": []}', ""),
        ("{" * 3000, ""),
    ],
)
def test_ideas_are_read_out_of_whatever_stands_around(answer: str, titles: str) -> None:
    assert "".join(one.title for one in read_proposals(answer)) == titles


def test_parents_may_be_a_list_or_a_word() -> None:
    (one,) = read_proposals('{"title": "A", "text": "a", "parents": ["g0/c1", 3]}')
    (two,) = read_proposals('{"title": "A", "text": "a", "parent": "g0/c1"}')
    assert one == two == Proposal("A", "a", ("g0/c1",))


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("Use momentum of 0.9 in the update.", "use  Momentum of 0.9 in the update!", True),
        ("Use momentum of 0.9 in the update.", "Use momentum of 0.5 in the update.", False),
        ("Use momentum.", "Use a larger batch.", False),
    ],
)
def test_near_duplicates_are_seen(one: str, two: str, same: bool) -> None:
    first, second = (Idea("Momentum", text, "explore") for text in (one, two))
    assert alike(first, second) is same
    assert not alike(first, Idea("Momentum", one, "exploit", ("generation_000/candidate_000",)))


# ---- packages ----


@pytest.mark.parametrize(
    ("source", "unknown"),
    [
        ("import numpy.linalg\nfrom os import path\nimport helper\nfrom . import model", ""),
        ("import odd", ""),  # the baseline imports it already
        ("import flash_attn", "flash_attn"),
        ("def f():\n    from apex.optimizers import FusedAdam", "apex"),
        ("try:\n    import triton\nexcept ImportError:\n    pass", "triton"),
    ],
)
def test_a_package_that_is_not_there_is_refused(source: str, unknown: str) -> None:
    base = {"train.py": Entry(b"import odd\n"), "helper.py": Entry(b"")}
    made = check_imports(base, {**base, "train.py": Entry(source.encode())}, PACKAGES)
    if unknown:
        assert isinstance(made, Refusal) and f"train.py imports {unknown}, which is not installed" in made.reason
    else:
        assert made is None


def test_packages_are_those_of_the_interpreter() -> None:
    found = installed_packages("")
    assert {"json", "msgspec", "litellm"} <= found.modules
    assert any(name.startswith("msgspec ") for name in found.distributions)


# ---- history ----


def candidate(paths: RunPaths, number: int, title: str, end: float | Failure, text: str = "Do it.") -> Candidate:
    name = f"generation_000/candidate_{number:03d}"
    folder = paths.candidate(name)
    attempt = folder.attempt(0)
    score = Score("loss", end, 0.01, 10, "validation", 0) if isinstance(end, float) else None
    failure = end if isinstance(end, Failure) else None
    trial = Trial(attempt.trial(0), (), score, failure, None)
    made = Attempt(attempt, Implementation("m", (), title), Smoke(1.0), failure, (trial,) if score else ())
    return Candidate(name, folder, Idea(title, text, "explore"), (made,), failure)


@pytest.fixture
def past(tmp_path: Path) -> tuple[Archive, Selection]:
    """A generation with every sort of end."""
    paths = RunPaths(tmp_path)
    crash = Failure(
        Stage.TRAIN, Kind.EXCEPTION, "exit code 1: /home/me/runs/r/variant/train.py broke at 0x7f001234abcd\nlog"
    )
    twin = Failure(
        Stage.IMPLEMENT, Kind.DUPLICATE, "the same code as g0/c0: Good", twin="generation_000/candidate_000/attempt_0"
    )
    lost = Failure(
        Stage.IMPLEMENT, Kind.DUPLICATE, "the same code as g0/c1: Crash", twin="generation_000/candidate_001/attempt_0"
    )
    ends: tuple[float | Failure, ...] = (0.5, crash, twin, lost, 0.9, 0.4)
    titles = ("Good", "Crash", "Twin", "Lost", "Worse", "Cheat")
    candidates = tuple(candidate(paths, number, *pair) for number, pair in enumerate(zip(titles, ends, strict=True)))
    standings = tuple(
        Standing(one.id, one.score.value, 0.01, 1, 0.8 - one.score.value, 0.02) for one in candidates if one.score
    )
    selection = Selection(
        tuple(one.id for one in candidates),
        Standing("baseline", 0.8, 0.01, 3),
        0.01,
        (),
        standings,
        {candidates[5].id: "peeks"},
    )
    generation = Generation(0, paths.generation(0), Parents(), candidates, selection)
    none = Attempt(paths.baseline, None, None, None, ())
    return Archive(paths, none, (generation,), None, None), selection


def test_history_tells_how_each_ended(past: tuple[Archive, Selection]) -> None:
    archive, selection = past
    known, seen = history.seen(archive, 1)
    assert seen == selection and len(known) == 6
    golden("history", history.sample(archive, known, selection, METRIC, "seed", 10_000) + "\n")


def test_history_is_packed_by_tokens_and_says_what_is_left_out(past: tuple[Archive, Selection]) -> None:
    archive, selection = past
    every = archive.candidates
    size = max(len(history.entry(archive, one, selection, METRIC)) for one in every) // 3 + 1
    texts = {seed: history.sample(archive, every, selection, METRIC, seed, 3 * size) for seed in "abcdef"}
    for text in texts.values():
        assert text.count("\n\n") >= 3 and "others are not shown)" in text and len(text) // 3 < 4 * size
        shown = [line[:5] for line in text.splitlines() if line.startswith("g0/c")]
        assert shown == sorted(shown)
    assert len(set(texts.values())) > 1
    assert history.sample(archive, every, selection, METRIC, "a", 0) == "(6 others are not shown)"


def test_places_and_addresses_are_left_out_of_logs() -> None:
    text = (
        'File "/tmp/x1/runs/r/generation_000/candidate_000/attempt_0/variant/train.py", line 3: <f at 0x7f2b3c4d5e6f>'
    )
    assert without_places(text) == 'File "train.py", line 3: <f at 0x…>'
    assert without_places("a/b = 3 / 4") == "a/b = 3 / 4"


def test_metrics_are_summed_up_without_times() -> None:
    lines = [f'{{"step": {step}, "loss": {1 / step}, "seconds": {step}}}' for step in range(1, 10)]
    assert history.metrics_summary([*lines, '{"torn']) == "loss 1 → 0.2 → 0.1111; step 1 → 5 → 9"


# ---- import ----


def test_nothing_is_fetched_when_litellm_is_imported() -> None:
    code = (
        "import socket\n"
        "def refuse(*_, **__): raise SystemExit('network')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "from pipeline.llm.door import import_litellm, find_prices\n"
        "from pipeline.config import LlmConfig\n"
        "prices = find_prices(LlmConfig(model='anthropic/claude-sonnet-4-5'), import_litellm())\n"
        "assert prices and 0 < prices.tokens_cached < prices.tokens_in < prices.tokens_out\n"
        "assert find_prices(LlmConfig(model='openai/my-own'), import_litellm()) is None\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
