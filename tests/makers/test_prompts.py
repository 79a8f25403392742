"""Prompts and what is read out of answers: golden files, tolerant parsing, history that fits."""

import math
import os
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.makers import history
from pipeline.makers.base import Tools
from pipeline.makers.packages import Packages, check_imports, installed_packages
from pipeline.makers.prompting import render, shared_text, shown_diff, without_places
from pipeline.makers.proposals import Proposal, alike, read_proposals
from pipeline.metric import Direction, Metric
from pipeline.patching import Refusal
from pipeline.patching.trees import Entry, Tree
from pipeline.records import Failure, FailureKind, Idea, Knowledge, Stage, Standing
from pipeline.setup.compose import compose_config
from pipeline.store import files
from pipeline.store.archive import Archive
from pipeline.store.paths import RunPaths
from pipeline.store.views import Candidate
from tests.makers.world import archive_of, candidate, generation, tools_of
from tests.toy import ROOT, tree

GOLDEN = ROOT / "tests/golden/prompts"
RENEW = "look at the difference; `RENEW_GOLDEN=1 python -m pytest tests/makers/test_prompts.py` writes it anew"
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
    golden(f"shared_{form}", shared_text(tools_of(f"implement.format={form}", packages=PACKAGES)))


@pytest.mark.parametrize("name", VALUES)
def test_a_variable_that_is_missing_or_not_used_is_an_error(name: str) -> None:
    first = next(iter(VALUES[name]))
    with pytest.raises(ValueError, match=rf"{name}\.md: missing \['{first}'\], not used \[\]"):
        render(name, **{key: value for key, value in VALUES[name].items() if key != first})
    with pytest.raises(ValueError, match=rf"{name}\.md: missing \[\], not used \['colour'\]"):
        render(name, **VALUES[name], colour="blue")


def test_every_template_is_tested() -> None:
    templates = {path.stem for path in (ROOT / "pipeline/makers/prompts").glob("*.md")}
    assert templates == {*VALUES, "shared", "format_blocks", "format_diff", "format_files"}


def test_only_what_a_baseline_shows_is_shown() -> None:
    config = compose_config(["baseline=grpo", "scale=tiny"])
    code: Tree = {
        **tree(ROOT / "baselines/grpo"),
        "evaluator/answers.json": Entry(b"[42]"),
        "weights.bin": Entry(b"\0\1"),
    }
    text = shared_text(Tools(config, METRIC, ROOT, lambda candidate: code))
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
        ('{"title": "A\\ud83d", "text": "half a character: \\udc00"}', "A?"),
        ("I would rather not.", ""),
        ("", ""),
        ('{"ideas": []}', ""),
        ("{" * 3000, ""),
    ],
)
def test_ideas_are_read_out_of_whatever_stands_around(answer: str, titles: str) -> None:
    proposals = read_proposals(answer)
    assert "".join(one.title for one in proposals) == titles
    assert all(files.to_json(Idea(one.title, one.text, "explore")) for one in proposals)


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
        ("Понижай шаг к концу.", "понижай шаг к концу", True),
        ("Понижай шаг к концу.", "Возьми больше строк.", False),
        ("降低学习率", "增加动量", False),
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


@pytest.fixture
def past(tmp_path: Path) -> tuple[Archive, Knowledge]:
    """A generation with every sort of end."""
    paths = RunPaths(tmp_path)
    crash = Failure(
        Stage.TRAIN,
        FailureKind.EXCEPTION,
        "exit code 1: /home/me/runs/r/variant/train.py broke at 0x7f001234abcd\nlog",
        order=2,
    )
    ends: tuple[float | Failure, ...] = (0.5, crash, twin_of(0, "Good", 3), twin_of(1, "Crash", 4), 0.9, 0.4)
    titles = ("Good", "Crash", "Twin", "Lost", "Worse", "Cheat")
    candidates = [
        candidate(paths, f"generation_000/candidate_{number:03d}", Idea(title, "Do it.", "explore"), end, number + 1)
        for number, (title, end) in enumerate(zip(titles, ends, strict=True))
    ]
    # The reference's error is such that a difference has one of 0.02.
    reference = Standing("baseline", 0.8, math.sqrt(0.02**2 - 0.01**2), 3)
    known = Knowledge(6, 1, reference, 0.0, {candidates[5].id: "peeks"})
    return archive_of(paths, generation(paths, 0, candidates)), known


def twin_of(number: int, title: str, order: int) -> Failure:
    """The end of a candidate with the same code as candidate `number`."""
    reason, twin = f"the same code as g0/c{number}: {title}", f"generation_000/candidate_{number:03d}/attempt_0"
    return Failure(Stage.IMPLEMENT, FailureKind.DUPLICATE, reason, twin=twin, order=order)


def test_history_tells_how_each_ended(past: tuple[Archive, Knowledge]) -> None:
    archive, known = past
    golden("history", history.sample(archive, known, (), METRIC, "seed", 10_000) + "\n")


def test_history_is_packed_by_tokens_and_says_what_is_left_out(past: tuple[Archive, Knowledge]) -> None:
    archive, known = past
    size = max(len(history.describe(archive, one, known, METRIC)) for one in archive.candidates) // 3 + 1
    texts = {seed: history.sample(archive, known, (), METRIC, seed, 3 * size) for seed in "abcdef"}
    for text in texts.values():
        assert text.count("\n\n") >= 3 and "others are not shown)" in text and len(text) // 3 < 4 * size
        shown = [line[:5] for line in text.splitlines() if line.startswith("g0/c")]
        assert shown == sorted(shown)
        assert text.endswith(f"({6 - len(shown)} others are not shown)")
    assert len(set(texts.values())) > 1
    assert history.sample(archive, known, (), METRIC, "a", 0) == "(6 others are not shown)"


def test_history_leaves_out_those_that_are_described_elsewhere(past: tuple[Archive, Knowledge]) -> None:
    archive, known = past
    parents = [archive.candidates[0].id, archive.candidates[4].id]
    text = history.sample(archive, known, parents, METRIC, "a", 10_000)
    assert [line[:5] for line in text.splitlines() if line.startswith("g0/c")] == ["g0/c1", "g0/c2", "g0/c3", "g0/c5"]
    assert "not shown" not in text


def test_history_mentions_no_outcome_later_than_it_may_know(past: tuple[Archive, Knowledge]) -> None:
    """Whatever came in since then: the same words."""
    archive, known = past
    early = replace(known, outcomes=2, banned={})
    text = history.sample(archive, early, (), METRIC, "a", 10_000)
    assert [line for line in text.splitlines() if line.startswith("g0/c")] == ["g0/c0: Good", "g0/c1: Crash"]
    paths, first_two = archive.paths, archive.candidates[:2]
    assert history.sample(archive_of(paths, generation(paths, 0, first_two)), early, (), METRIC, "a", 10_000) == text


def test_a_twin_whose_score_came_later_is_only_a_duplicate(past: tuple[Archive, Knowledge]) -> None:
    archive, known = past
    twin, later = archive.candidates[2], archive.candidates[0]
    assert later.score is not None and twin.attempt is not None
    paths = archive.paths
    late = candidate(paths, later.id, later.idea, later.score.value, order=7)
    changed = archive_of(paths, generation(paths, 0, [late, *archive.candidates[1:]]))
    assert history.ending(changed, twin, known, METRIC) == (
        "The same code as g0/c0, and not trained again. Failed in implement (duplicate): the same code as g0/c0: Good"
    )
    assert "Scored 0.5000" in history.ending(changed, twin, replace(known, outcomes=7), METRIC)


def test_the_gain_in_history_has_the_noise_of_seeds_in_it(past: tuple[Archive, Knowledge]) -> None:
    archive, known = past
    noisy = replace(known, seed_sd=0.1)
    text = history.ending(archive, archive.candidates[0], noisy, METRIC)
    assert text == "Scored 0.5000 ± 0.1005: +0.3000 ± 0.1020 against the codebase (better)"


class Counted(Archive):
    """Counts the outcomes that it is asked for."""

    reads = 0

    def outcome(self, order: int) -> Candidate | None:
        Counted.reads += 1
        return super().outcome(order)


def test_history_reads_no_more_of_a_large_archive_than_fits(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    candidates = [
        candidate(paths, f"generation_000/candidate_{n:03d}", Idea(f"Idea {n}", "Do it.", "explore"), 0.5, n + 1)
        for n in range(2000)
    ]
    archive = Counted(**vars(archive_of(paths, generation(paths, 0, candidates))))
    known = Knowledge(2000, 1, Standing("baseline", 0.8, 0.01, 3), 0.0)
    text = history.sample(archive, known, (), METRIC, "seed", 400)
    shown = sum(line.startswith("g0/c") for line in text.splitlines())
    assert 5 <= shown <= Counted.reads <= 11 and text.endswith(f"({2000 - shown} others are not shown)")


def test_places_and_addresses_are_left_out_of_logs() -> None:
    text = (
        'File "/tmp/x1/runs/r/generation_000/candidate_000/attempt_0/variant/train.py", line 3: <f at 0x7f2b3c4d5e6f>'
    )
    assert without_places(text) == 'File "train.py", line 3: <f at 0x…>'
    assert without_places("a/b = 3 / 4") == "a/b = 3 / 4"


def test_metrics_are_summed_up_without_times() -> None:
    lines = [f'{{"step": {step}, "loss": {1 / step}, "seconds": {step}}}' for step in range(1, 10)]
    assert history.metrics_summary([*lines, '{"torn']) == "loss 1 → 0.2 → 0.1111; step 1 → 5 → 9"
