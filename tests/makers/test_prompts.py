"""Prompts and the parsing of answers: golden files, tolerant parsing, history that fits."""

import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Clock, Config, IdeaKind
from pipeline.errors import BadInput
from pipeline.llm.base import tokens
from pipeline.makers import history
from pipeline.makers.base import Tools
from pipeline.makers.packages import Packages, check_imports, installed_packages, training_packages
from pipeline.makers.prompting import (
    code_on_top,
    ideator_text,
    implementer_text,
    own_templates,
    render,
    shown_diff,
    without_places,
)
from pipeline.makers.proposals import Proposal, alike, read_proposals
from pipeline.metric import Direction, Metric
from pipeline.patching import Refusal
from pipeline.patching.trees import Entry, Tree
from pipeline.records import (
    Ended,
    Failure,
    FailureKind,
    Idea,
    Job,
    Knowledge,
    Memory,
    Purpose,
    Result,
    Score,
    Seconds,
    Stage,
    Standing,
)
from pipeline.setup.compose import compose_config, differences
from pipeline.store import files
from pipeline.store.archive import Archive
from pipeline.store.paths import RunPaths
from pipeline.store.views import Attempt, Candidate, Trial, Try
from tests.makers.world import archive_of, candidate, generation, tools_of
from tests.toy import ROOT, tree

GOLDEN = ROOT / "tests/golden/prompts"
RENEW = "look at the difference; `RENEW_GOLDEN=1 python -m pytest tests/makers/test_prompts.py` regenerates it"
PACKAGES = Packages(("msgspec 0.19.0", "numpy 2.2.0"), frozenset({"msgspec", "numpy", "os", "json"}))
METRIC = Metric("loss", Direction.minimize, 0.0, float("inf"), False)
PATCH = "diff --git a/train.py b/train.py\nindex 1f..2e 100644\n--- a/train.py\n+++ b/train.py\n@@ -1 +1 @@\n-a\n+b\n"

VALUES: dict[str, dict[str, object]] = {
    "first": {"count": 3, "measured": "", "guidance": "", "proposed": ""},
    "explore": {
        "count": 2,
        "measured": "\nMEASURED\n",
        "history": "HISTORY",
        "lessons": "",
        "guidance": "\nThe person who runs this search gives this guidance:\n\nNo dropout.\n",
        "proposed": "\nAlready proposed, not to be repeated:\n- Momentum\n",
    },
    "exploit": {
        "count": 2,
        "measured": "",
        "parents": "PARENTS",
        "history": "HISTORY",
        "lessons": "\nA note on what was learned, written before generation 2:\n\nNOTE\n",
        "guidance": "",
        "proposed": "",
    },
    "lessons": {"measured": "", "history": "HISTORY", "lessons": "\nThe note so far:\n\nNOTE\n"},
    "more": {"problems": "No idea could be read: write them as JSON, as described.", "missing": 2},
    "implement": {"title": "Momentum", "text": "Keep it.", "base": "Your change applies to the codebase above.\n"},
    "repair_patch": {"reason": "there is no file optimizer.py"},
    "repair_crash": {
        "title": "Momentum",
        "text": "Keep it.",
        "base": code_on_top({"train.py": Entry(b"a\n")}, {"train.py": Entry(b"b\n")}, 100),
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
def test_the_implementers_shared_part_is_as_in_its_golden_file(form: str) -> None:
    golden(f"implementer_{form}", implementer_text(tools_of(f"implement.format={form}", packages=PACKAGES)))


@pytest.mark.parametrize("kind", [one.value for one in IdeaKind])
def test_the_ideators_shared_part_is_as_in_its_golden_file(kind: str) -> None:
    golden(f"ideator_{kind}", ideator_text(tools_of(f"ideate.kind={kind}", packages=PACKAGES)))


def test_both_shared_parts_have_a_common_prefix_and_nothing_of_the_other() -> None:
    """A provider's cache may serve the codebase to both."""
    ideas, code = (make(tools_of(packages=PACKAGES)) for make in (ideator_text, implementer_text))
    same = ideas[: next(at for at, (one, two) in enumerate(zip(ideas, code, strict=False)) if one != two)]
    assert same.endswith("# Your task\n\nYou ") and tokens(same) > 0.75 * tokens(ideas)
    assert "```json" not in code and "SEARCH" not in ideas


@pytest.mark.parametrize(
    ("settings", "budget"),
    [
        (["scale=tiny"], "12 steps on 1 node with 1 CPU core and 3 GB of host memory (RAM)."),
        (
            ["scale=paper"],
            "60 minutes from the start of the process to its end, start-up included, on 1 node with 1 GPU, 8 CPU cores and "
            "64 GB of host memory (RAM).",
        ),
        (
            ["scale=paper", "train.resources.nodes=2", "train.resources.gpus_per_node=8"],
            "on 2 nodes with 8 GPUs, 8 CPU cores and 64 GB of host memory (RAM) on each.",
        ),
    ],
)
def test_the_machine_is_stated_and_its_main_memory_is_called_so(settings: list[str], budget: str) -> None:
    config = compose_config(["baseline=grpo", *settings])
    tools = Tools(config, METRIC, ROOT, lambda candidate: tree(ROOT / "baselines/grpo"))
    vars(tools)["packages"] = PACKAGES
    assert budget in ideator_text(tools)
    assert budget in implementer_text(tools)


def test_the_table_of_sizes_in_the_documentation_is_that_of_the_golden_files() -> None:
    page = (ROOT / "docs/explanation/prompts.md").read_text()
    rows = dict(re.findall(r"^\| (\w+) \| [\d–]+ \| (\d+) \|$", page, re.M))
    assert rows == {name: str(tokens((GOLDEN / f"{name}.md").read_text())) for name in (*VALUES, "history")}
    for form in ("blocks", "diff", "files"):
        sizes = [tokens((GOLDEN / f"{name}.md").read_text()) for name in ("ideator_any", f"implementer_{form}")]
        assert re.search(rf"baseline, {form}\) \| [\d,]+ \| {sizes[0]:,} \| {sizes[1]:,} \|", page), sizes


@pytest.mark.parametrize("name", VALUES)
def test_a_variable_that_is_missing_or_not_used_is_an_error(name: str) -> None:
    first = next(iter(VALUES[name]))
    with pytest.raises(ValueError, match=rf"{name}\.md: missing \['{first}'\], not used \[\]"):
        render(name, **{key: value for key, value in VALUES[name].items() if key != first})
    with pytest.raises(ValueError, match=rf"{name}\.md: missing \[\], not used \['colour'\]"):
        render(name, **VALUES[name], colour="blue")


def test_every_template_is_tested() -> None:
    templates = {path.stem for path in (ROOT / "pipeline/makers/prompts").glob("*.md")}
    kinds = {f"kind_{one.value}" for one in IdeaKind}
    assert templates == {
        *VALUES,
        "codebase",
        "ideator",
        "implementer",
        "format_blocks",
        "format_diff",
        "format_files",
        *kinds,
    }


# ---- a user's own templates


def test_a_template_of_the_users_folder_replaces_ours(tmp_path: Path) -> None:
    (tmp_path / "first.md").write_text("For $$1: $count ideas.\n$measured$guidance$proposed")
    (tmp_path / "README.md").write_text("Costs $5 and more.")
    (tmp_path / "kind_any.md").write_text("")
    own = own_templates(tmp_path)
    assert set(own) == {"first", "kind_any"} and render("kind_any", own) == "\n"
    assert render("first", own, **VALUES["first"]) == "For $1: 3 ideas.\n"
    assert render("more", own, **VALUES["more"]) == render("more", **VALUES["more"])
    assert own_templates(tmp_path / "nowhere") == {}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "first",
            "$count $measured $guidance",
            r"first\.md: it lacks \$proposed; the variables of this prompt are: \$count, \$g",
        ),
        ("more", "$problems $missing $colour", r"more\.md: unknown \$colour; .*are: \$missing, \$problems"),
        ("kind_any", "$all", r"kind_any\.md: unknown \$all; .*are: none"),
        ("more", "$problems $missing at 5 $", r"more\.md: a \$ begins no variable; write \$\$"),
        ("explores", "", r"explores\.md is not the name of a prompt; did you mean explore\.md\?"),
    ],
)
def test_an_invalid_template_is_refused_in_one_line(name: str, text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.md").write_text(text)
    with pytest.raises(BadInput, match=words) as caught:
        own_templates(tmp_path)
    assert "\n" not in str(caught.value)


def test_own_templates_are_settings_of_the_run_and_a_change_is_shown_in_one_line(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    (tmp_path / "conf").mkdir()
    (prompts / "kind_any.md").write_text("Think first.\nThen think again.\n")
    config = compose_config(["baseline=grpo", "scale=tiny"], tmp_path / "conf")
    assert config.prompts == {"kind_any": "Think first.\nThen think again.\n"}
    tools = Tools(config, METRIC, ROOT, lambda candidate: {})
    vars(tools)["packages"] = PACKAGES
    assert "Think first." in ideator_text(tools)
    (line,) = differences({"prompts": config.prompts}, {"prompts": {"kind_any": "Do not think.\n"}})
    assert line == "prompts.kind_any: Think first.… -> Do not think."


def test_only_what_a_baseline_shows_is_shown() -> None:
    config = compose_config(["baseline=grpo", "scale=tiny"])
    code: Tree = {
        **tree(ROOT / "baselines/grpo"),
        "evaluator/answers.json": Entry(b"[42]"),
        "weights.bin": Entry(b"\0\1"),
    }
    text = ideator_text(Tools(config, METRIC, ROOT, lambda candidate: code))
    assert "settings.py\n```python" in text and "train.py\n```python" in text
    for hidden in ("[42]", "answers.json\n```", "weights.bin", "ideas/muon.diff", "def main() -> None:  # evaluate"):
        assert hidden not in text


# ---- parsing of ideas ----


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
        ('{"title": "A\\ud83d", "text": "half a character: \\udc00"}', "A\N{REPLACEMENT CHARACTER}"),
        ("I would rather not.", ""),
        ("", ""),
        ('{"ideas": []}', ""),
        ("{" * 3000, ""),
    ],
)
def test_ideas_are_extracted_from_surrounding_text(answer: str, titles: str) -> None:
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
def test_near_duplicates_are_detected(one: str, two: str, same: bool) -> None:
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
def test_a_missing_package_is_refused(source: str, unknown: str) -> None:
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


def test_only_packages_that_training_code_would_import_are_named() -> None:
    has = Packages(
        (
            "Flash_Attn 2.7",
            "PyYAML 6.0",
            "hydra-core 1.3",
            "msgspec 0.19",
            "my-kernels 1",
            "ruff 0.9",
            "scikit-learn 1.6",
        ),
        frozenset(),
        {"yaml": ["PyYAML"], "msgspec": ["msgspec"]},
    )
    code = {"train.py": Entry(b"import yaml.nodes\nimport os\n"), "notes.txt": Entry(b"import msgspec")}
    assert training_packages(has, code, ["my_*"]) == (
        "Flash_Attn 2.7",
        "PyYAML 6.0",
        "my-kernels 1",
        "scikit-learn 1.6",
    )
    assert training_packages(has, {}, []) == ("Flash_Attn 2.7", "scikit-learn 1.6")


def test_naming_fewer_packages_makes_a_prompt_shorter() -> None:
    """Dependencies of the program and build tools took over a thousand tokens of every prompt."""
    has = installed_packages("")
    named = training_packages(has, tree(ROOT / "baselines/nanogpt"), [])
    assert {"torch", "numpy", "deepspeed"} <= {name.split()[0] for name in named}
    assert 10 * tokens(", ".join(named)) < tokens(", ".join(has.distributions))


# ---- code


HUNKS = [f"@@ -{10 * n},1 +{10 * n},1 @@\n-old {n}\n+new {n}\n" for n in range(1, 5)]
LONG = (
    "diff --git a/a.py b/a.py\n--- a/a.py\n+++ b/a.py\n"
    + "".join(HUNKS[:3])
    + "diff --git a/b.py b/b.py\n--- a/b.py\n+++ b/b.py\n"
    + HUNKS[3]
)


@pytest.mark.parametrize(
    ("room", "shown", "note"),
    [
        (tokens(LONG), [1, 2, 3, 4], ""),
        (tokens(LONG) - 1, [1, 2, 3], "(1 of 4 hunks are left out)"),
        (tokens(LONG[: LONG.index(HUNKS[1])]), [1], "(3 of 4 hunks are left out)"),
        (15, [], "(the rest of the first hunk and the 3 others are left out)"),
    ],
)
def test_a_diff_that_is_too_long_is_shown_in_whole_hunks(room: int, shown: list[int], note: str) -> None:
    text = shown_diff(LONG, room)
    assert [n for n in range(1, 5) if HUNKS[n - 1] in text] == shown
    assert text.endswith(note or "```") and text.startswith("```diff\ndiff --git a/a.py") and text.count("```") == 2
    assert ("b/b.py\n@@" in text) is (4 in shown)


def test_a_hunk_that_is_too_long_leaves_room_for_those_after_it() -> None:
    big = HUNKS[0] + "+more\n" * 500
    text = shown_diff(LONG.replace(HUNKS[0], big), 200)
    assert "more" not in text and HUNKS[1] in text and text.count("+++ b/a.py") == 1
    assert text.endswith("(1 of 4 hunks are left out)")


def test_bytes_that_are_not_text_are_shown_in_a_hunk_that_is_too_long() -> None:
    """From a file in another encoding, whose diff contains lone surrogates."""
    latin = LONG[: LONG.index(HUNKS[1])].replace("+new 1\n", "+caf\udce9\n" * 300)
    text = shown_diff(latin, 60)
    assert "+caf" in text and "left out" in text


def test_a_binary_file_counts_as_a_hunk() -> None:
    binary = "diff --git a/w b/w\nGIT binary patch\nliteral 900\n" + "z" * 900 + "\n"
    assert shown_diff(LONG + binary, tokens(LONG) + 5).endswith("(1 of 5 hunks are left out)")


def test_the_parents_code_is_whole_files_or_if_these_are_too_long_a_diff() -> None:
    before = {"a.py": Entry(b"one\n" * 300), "gone.py": Entry(b"x"), "same.py": Entry(b"same")}
    after = {"a.py": Entry(b"one\n" * 300 + b"two\n"), "new.bin": Entry(b"\0"), "same.py": Entry(b"same")}
    files = code_on_top(before, after, 1000)
    assert "a.py\n```python\none\none\n" in files and "\ntwo\n```" in files
    assert "new.bin (not a text file)" in files and "Removed: gone.py" in files and "same" not in files
    less = code_on_top(before, after, 200)
    assert "+two" in less and less.count("one") < 10


# ---- history ----


@pytest.fixture
def past(tmp_path: Path) -> tuple[Archive, Knowledge]:
    """A generation with every kind of outcome."""
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
    # The reference's error is such that a difference has an error of 0.02.
    reference = Standing("baseline", 0.8, math.sqrt(0.02**2 - 0.01**2), 3)
    known = Knowledge(6, 1, reference, 0.0, {candidates[5].id: "peeks"})
    return archive_of(paths, generation(paths, 0, candidates)), known


def twin_of(number: int, title: str, order: int) -> Failure:
    """The outcome of a candidate with the same code as candidate `number`."""
    reason, twin = f"the same code as g0/c{number}: {title}", f"generation_000/candidate_{number:03d}/attempt_0"
    return Failure(Stage.IMPLEMENT, FailureKind.DUPLICATE, reason, twin=twin, order=order)


def test_history_contains_the_outcome_of_each(past: tuple[Archive, Knowledge]) -> None:
    archive, known = past
    golden("history", history.tried(archive, known, METRIC, "seed", 10_000) + "\n")


def described(text: str) -> list[str]:
    """The candidates that a history describes."""
    return [line[:5] for line in text.splitlines() if line.startswith("g0/c")]


def titled(text: str) -> list[str]:
    """The candidates of which it gives only the title."""
    return [line[2:].partition(" ")[0] for line in text.splitlines() if line.startswith("- g0/c")]


def test_history_fits_its_tokens_and_states_what_is_omitted(past: tuple[Archive, Knowledge]) -> None:
    archive, known = past
    room = 250
    texts = {seed: history.tried(archive, known, METRIC, seed, room) for seed in "abcdef"}
    for text in texts.values():
        assert tokens(text) < room + 40  # for the headings
        assert text.startswith("The best so far, best first:\n\ng0/c0: Good\n")
        shown = [*described(text), *titled(text)]
        assert sorted(shown) == sorted(set(shown)) and described(text)[1:] == sorted(described(text)[1:])
        assert titled(text) and ("others are not shown)" in text) is (len(shown) < 6)
    assert len(set(texts.values())) > 1
    assert history.tried(archive, known, METRIC, "a", 0) == "(6 others are not shown)"


def test_history_gives_the_titles_of_those_that_it_does_not_describe(past: tuple[Archive, Knowledge]) -> None:
    archive, known = past
    known = replace(known, seed_sd=0.4)  # no difference is clear
    texts = [history.tried(archive, known, METRIC, seed, 240) for seed in "abcdef"]
    lines = {line for text in texts for line in text.splitlines() if line.startswith("- ")}
    assert {"- g0/c5 (banned): Cheat", "- g0/c3 (failed: exception): Lost", "- g0/c2 (within noise): Twin"} <= lines


def test_the_best_are_described_however_little_room_there_is_for_others(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    values = [0.9, 0.8, 0.3, 0.7, 0.1, 0.75, 0.6, 0.2, 0.77, 0.5]
    candidates = [
        candidate(paths, f"generation_000/candidate_{n:03d}", Idea(f"Idea {n}", "Do it.", "explore"), value, n + 1)
        for n, value in enumerate(values)
    ]
    archive = archive_of(paths, generation(paths, 0, candidates))
    known = Knowledge(9, 1, Standing("baseline", 0.65, 0.02, 3), 0.0, {candidates[2].id: "cheats"})
    text = history.tried(archive, known, METRIC, "a", 2000)
    best, _, others = text.partition("Others that were tried:")
    # Best first; without the banned c2, the clear losses, and c9, whose outcome came later.
    assert described(best) == ["g0/c4", "g0/c7", "g0/c6"]
    assert described(others) == ["g0/c0", "g0/c1", "g0/c2", "g0/c3", "g0/c5", "g0/c8"] and not titled(text)
    highest = replace(METRIC, direction=Direction.maximize)
    best, _, others = history.tried(archive, known, highest, "a", 2000).partition("Others that were tried:")
    assert described(best) == ["g0/c0", "g0/c1", "g0/c8", "g0/c5", "g0/c3"]


def test_history_omits_those_that_are_described_elsewhere(past: tuple[Archive, Knowledge]) -> None:
    archive, known = past
    parents = [archive.candidates[0].id, archive.candidates[4].id]
    text = history.tried(archive, known, METRIC, "a", 10_000, parents)
    assert described(text) == ["g0/c1", "g0/c2", "g0/c3", "g0/c5"]
    assert "not shown" not in text and not titled(text) and "The best" not in text
    text = history.tried(archive, known, METRIC, "a", 10_000, parents[1:])
    assert text.startswith("The best of the others, best first:\n\ng0/c0: Good")


def test_history_mentions_no_outcome_later_than_allowed(past: tuple[Archive, Knowledge]) -> None:
    """The text is the same whatever has arrived since then."""
    archive, known = past
    early = replace(known, outcomes=2, banned={})
    text = history.tried(archive, early, METRIC, "a", 10_000)
    assert [line for line in text.splitlines() if line.startswith("g0/c")] == ["g0/c0: Good", "g0/c1: Crash"]
    paths, first_two = archive.paths, archive.candidates[:2]
    assert history.tried(archive_of(paths, generation(paths, 0, first_two)), early, METRIC, "a", 10_000) == text


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


def test_the_gain_in_history_includes_seed_noise(past: tuple[Archive, Knowledge]) -> None:
    archive, known = past
    noisy = replace(known, seed_sd=0.1)
    text = history.ending(archive, archive.candidates[0], noisy, METRIC)
    assert text.startswith("Scored 0.5000 ± 0.1005: +0.3000 ± 0.1020 against the codebase (clear gain). Estimated")


@pytest.mark.parametrize(
    ("value", "verdicts"),
    [
        (0.40, ["clear gain", "clear gain"]),
        (0.49, ["clear gain", "within noise"]),
        (0.55, ["clear gain", "clear loss"]),
        (0.80, ["within noise", "clear loss"]),
    ],
)
def test_history_also_compares_with_the_parent(
    past: tuple[Archive, Knowledge], value: float, verdicts: list[str]
) -> None:
    """The parent scored 0.5, the baseline 0.8; the error of a difference from the parent is 0.014."""
    archive, known = past
    idea = Idea("Child", "Do more.", "exploit", (archive.candidates[0].id,))
    child = candidate(archive.paths, "generation_001/candidate_000", idea, value, 7)
    both = archive_of(archive.paths, archive.generations[0], generation(archive.paths, 1, [child]))
    text = history.ending(both, child, replace(known, outcomes=7), METRIC)
    gain = f"{0.5 - value:+.4f}"
    assert f"; {gain} ± 0.0141 against g0/c0 ({verdicts[1]})" in text
    assert f"against the codebase ({verdicts[0]})" in text
    assert history.describe(both, child, replace(known, outcomes=7), METRIC).startswith(
        "g1/c0, builds on g0/c0: Child\n  Do more.\n  Scored"
    )


class Counted(Archive):
    """Counts the outcomes that are read from it."""

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
    history.tried(archive, known, METRIC, "seed", 1000)  # reads all outcomes once
    Counted.reads = 0
    text = history.tried(archive, known, METRIC, "seed", 1000)
    shown = len(described(text)) + len(titled(text))
    assert len(described(text)) > 7 and len(titled(text)) > 20
    assert all(int(name.removeprefix("g0/c")) > 1900 for name in titled(text))  # the newest
    assert shown <= Counted.reads <= 70 and text.endswith(f"({2000 - shown} others are not shown)")


@pytest.mark.parametrize(
    ("sizes", "room", "given"),
    [
        ([100, 100], 500, [100, 100]),
        ([100, 900], 500, [100, 400]),
        ([900, 100, 900], 500, [200, 100, 200]),
        ([900, 900], 0, [0, 0]),
        ([], 500, []),
    ],
)
def test_room_that_short_texts_leave_is_given_to_long_ones(sizes: list[int], room: int, given: list[int]) -> None:
    assert history.shares(sizes, room) == given


def test_a_parent_is_described_with_as_much_of_its_code_as_fits(past: tuple[Archive, Knowledge]) -> None:
    archive, known = past
    whole, part = (
        history.parent(archive, archive.candidates[0], known, METRIC, Clock.steps, LONG * 20, room)
        for room in (10_000, 300)
    )
    assert whole.startswith("g0/c0: Good\nDo it.\nScored 0.5000") and "left out" not in whole
    assert tokens(part) < 330 and HUNKS[0] in part and "hunks are left out)" in part
    assert "\nIt wrote no metrics.\nIts code" in whole


# ---- measurements of the unmodified code

NO_MEMORY = Memory()
ON_H100 = ("NVIDIA H100 80GB HBM3", Memory(540.0, 12.04, 85.52, 69.3))


def baseline_run(
    paths: RunPaths, values: list[float | None], rows: list[dict[str, Any]], gpu: str = "", memory: Memory = NO_MEMORY
) -> Archive:
    """An archive with trials of the baseline; if none are given it has no score yet. The second try of each has the
    result."""
    trials = []
    for number, value in enumerate(values):
        trial = paths.baseline.trial(number)
        score = (
            Score("loss", value, 0.01, 10, "validation", number, "try_1", purpose=Purpose.BASELINE) if value else None
        )
        result = Result(Ended.SCORED, score, seconds=Seconds(train=1000.0), gpu=gpu, memory=memory) if score else None
        tries = (
            Try(trial.try_(0), Job("a", number, "validation", purpose=Purpose.BASELINE), None, None),
            Try(trial.try_(1), Job("a", number, "validation", used_s=500.0, purpose=Purpose.BASELINE), None, result),
        )
        trials.append(Trial(trial, tries, score, None))
        trial.try_(1).output.mkdir(parents=True)
        trial.try_(1).metrics.write_text("".join(f"{json.dumps(row)}\n" for row in rows) + '{"step": 9')
    archive = archive_of(paths)
    return replace(archive, baseline=Attempt(paths.baseline, None, None, None, tuple(trials)))


def config_of(clock: Clock, seeds: int = 3) -> Config:
    config = Config()
    config.train.clock, config.select.baseline_seeds = clock, seeds
    return config


ROWS = [
    {
        "step": n,
        "loss": 4 / n,
        "tokens_per_s": 1000.0 + n,
        "memory_gb": 70.0 - n,
        "seconds": 3.0 * n,
        "mfu": None,
        "on": True,
    }
    for n in range(1, 301)
]


def test_the_baselines_score_noise_speed_and_curve_are_stated_with_a_wall_clock(tmp_path: Path) -> None:
    archive = baseline_run(RunPaths(tmp_path), [0.8, 0.82, 0.78], ROWS, *ON_H100)
    known = Knowledge(0, 0, Standing("baseline", 0.8, 0.015, 3), 0.02)
    assert history.measured(archive, known, config_of(Clock.wall), METRIC) == (
        "\nThe unmodified codebase scores 0.8000 ± 0.0150 with 3 seeds; between seeds the standard deviation is 0.0200.\n"
        "Its training took 300 steps in 1500 s, 5 s a step, on NVIDIA H100 80GB HBM3 with 85.5 GB of GPU memory; at most "
        "69.3 GB of GPU memory and 12 GB of host memory were in use. From the first step to the last: "
        "loss 4 → 0.05263 → 0.02649 → 0.01778 → 0.01333; memory_gb at most 69; seconds 3 → 228 → 453 → 675 → 900; "
        "step 1 → 76 → 151 → 225 → 300; tokens_per_s 1001 → 1076 → 1151 → 1225 → 1300.\n"
    )


def test_machine_dependent_values_are_omitted_if_the_clock_counts_steps(tmp_path: Path) -> None:
    """So that a run can be repeated and replayed word for word."""
    archive = baseline_run(RunPaths(tmp_path), [0.8, 0.82, 0.78], ROWS, *ON_H100)
    known = Knowledge(0, 0, Standing("baseline", 0.8, 0.015, 3), 0.0)
    assert history.measured(archive, known, config_of(Clock.steps), METRIC) == (
        "\nThe unmodified codebase scores 0.8000 ± 0.0150 with 3 seeds.\n"
        "Its training took 300 steps, on NVIDIA H100 80GB HBM3 with 85.5 GB of GPU memory. "
        "From the first step to the last: loss 4 → 0.05263 → 0.02649 → 0.01778 → 0.01333; step 1 → 76 → 151 → 225 → 300.\n"
    )


def test_only_values_of_the_baseline_known_when_the_generation_opened_are_stated(tmp_path: Path) -> None:
    """With several trials, it cannot be determined later which had ended by then; so their training is omitted until
    all have."""
    early, late = (
        baseline_run(RunPaths(tmp_path / name), values, ROWS[: 10 * len(values)])
        for name, values in (("early", [None, 0.8]), ("late", [0.9, 0.8, 0.7]))
    )
    config = config_of(Clock.wall)
    assert history.measured(late, Knowledge(), config, METRIC) == ""
    known = Knowledge(0, 0, Standing("baseline", 0.8, 0.01, 1), 0.0)
    text = "\nThe unmodified codebase scores 0.8000 ± 0.0100 with one seed.\n"
    assert history.measured(early, known, config, METRIC) == history.measured(late, known, config, METRIC) == text
    assert "took 30 steps" in history.measured(
        late, replace(known, baseline=Standing("baseline", 0.8, 0.01, 3)), config, METRIC
    )


def test_a_baseline_without_metrics_is_described_by_its_score(tmp_path: Path) -> None:
    archive = baseline_run(RunPaths(tmp_path), [0.8], [])
    known = Knowledge(0, 0, Standing("baseline", 0.8, 0.01, 1), 0.0)
    text = history.measured(archive, known, config_of(Clock.wall, 1), METRIC)
    assert text.endswith("with one seed.\nIt wrote no metrics in 1500 s.\n")
    metrics = archive.baseline.trials[0].paths.try_(1).metrics
    metrics.write_text('{"step": Infinity}\n')
    assert history.measured(archive, known, config_of(Clock.wall, 1), METRIC).endswith(
        "took 1 step in 1500 s, 1500 s a step.\n"
    )
    metrics.unlink()
    assert history.measured(archive, known, config_of(Clock.wall, 1), METRIC) == text


def test_paths_and_addresses_are_removed_from_logs() -> None:
    text = (
        'File "/tmp/x1/runs/r/generation_000/candidate_000/attempt_0/variant/train.py", line 3: <f at 0x7f2b3c4d5e6f>'
    )
    assert without_places(text) == 'File "train.py", line 3: <f at 0x…>'
    assert without_places("a/b = 3 / 4") == "a/b = 3 / 4"


@pytest.mark.parametrize(
    ("clock", "text"),
    [
        (Clock.steps, "loss 1 → 0.2 → 0.1111; step 1 → 5 → 9"),
        (Clock.wall, "loss 1 → 0.2 → 0.1111; seconds 1 → 5 → 9; step 1 → 5 → 9"),
    ],
)
def test_metrics_are_summarized_with_speed_only_with_a_wall_clock(clock: Clock, text: str) -> None:
    lines = [f'{{"step": {step}, "loss": {1 / step}, "seconds": {step}}}' for step in range(1, 10)]
    assert history.metrics_summary([*lines, '{"torn', "[" * 10_000, "NaN", '{"loss": NaN}'], clock) == text
    assert history.metrics_summary(lines[:1], Clock.steps) == "loss 1; step 1"


def test_any_metrics_written_by_a_variant_are_summarized() -> None:
    odd = [f'{{"big": {10**400}, "step": Infinity, "flag": true, "word": "x", "list": [1]}}', '{"loss": 2}', "3"]
    assert history.metrics_summary(odd, Clock.steps) == "loss 2"
    many = json.dumps({f"name {number}": number for number in range(10_000)})
    assert len(history.metrics_summary([many], Clock.steps)) <= 2001
