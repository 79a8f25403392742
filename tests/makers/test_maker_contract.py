"""The contract of every ideator and every implementer, whoever wrote it: the program relies on no more than this."""

import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import BadInput
from pipeline.llm.base import Model, Unanswered
from pipeline.llm.replay import Replay
from pipeline.makers.bank_ideator import BankIdeator
from pipeline.makers.bank_implementer import BankImplementer
from pipeline.makers.base import Brief, Crash, Ideator, Implemented, Implementer, Tools
from pipeline.makers.command_implementer import CommandImplementer
from pipeline.makers.llm_ideator import LlmIdeator
from pipeline.makers.llm_implementer import LlmImplementer
from pipeline.makers.tpe import TpeIdeator
from pipeline.makers.tune import TuneIdeator
from pipeline.patching import KINDS, Refusal, edit_settings
from pipeline.patching.replies import judge
from pipeline.patching.trees import Entry, Tree
from pipeline.records import Change, Failure, FailureKind, Idea, Knowledge, Parents, Stage, Standing
from pipeline.store import files
from pipeline.store.ledger import Ledger
from pipeline.store.paths import RunPaths
from tests.llm.desk import desk
from tests.llm.provider import Answer, Asked
from tests.llm.researcher import EDITS, Researcher, block
from tests.makers.world import PRISTINE, archive_of, brief_of, candidate, composed, generation, tools_of
from tests.toy import wait_until

BEST, SECOND, WORSE, CRASHED = (f"generation_000/candidate_00{number}" for number in range(4))
IDEAS = 4
"""Number of ideas that the open generation requests; the first half builds on parents."""


def with_settings(**values: object) -> Tree:
    """The toy with other settings."""
    text = edit_settings(PRISTINE["settings.py"].data.decode(), "Tiny", values)
    assert isinstance(text, str)
    return {**PRISTINE, "settings.py": Entry(text.encode())}


def members(protocol: type) -> set[str]:
    return {*protocol.__annotations__, *(name for name in vars(protocol) if not name.startswith("_"))}


def parameters(function: Callable[..., object]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


# ---- ideators


@dataclass(frozen=True)
class IdeatorCase:
    """How one ideator is created, repeatedly, and what it is asked for."""

    kind: type
    """Its class."""
    make: Callable[[], Ideator]
    """Creates a new one, as after a restart, with everything that is on disk."""
    folder: Path
    """Folder of the run."""

    def briefs(self, ideas: Mapping[int, Idea] | None = None) -> list[Brief]:
        """The requests of the program, in order, with the ideas that exist by then."""
        return [
            brief_of(
                past(self.folder),
                number,
                exploit=number < IDEAS // 2,
                alike=range(IDEAS // 2) if number < IDEAS // 2 else range(IDEAS // 2, IDEAS),
                ideas={known: idea for known, idea in (ideas or {}).items() if known < number},
            )
            for number in range(IDEAS)
        ]

    def propose(self, maker: Ideator) -> list[Idea]:
        """All ideas of the open generation, one after another."""
        ideas: dict[int, Idea] = {}
        for number in range(IDEAS):
            ideas[number] = maker.propose(self.briefs(ideas)[number])
        return list(ideas.values())


CODES = {BEST: with_settings(momentum=0.9), SECOND: with_settings(batch=16)}


def past(folder: Path) -> Any:
    """A generation with two candidates that beat the baseline, one that did not and one that crashed; and one that is
    open."""
    paths = RunPaths(folder)
    crash = Failure(Stage.TRAIN, FailureKind.NAN, "the loss is NaN\nlog", order=4)
    first = [
        candidate(
            paths, BEST, Idea("Momentum", "Keep nine tenths.", "explore", change=Change(patch="momentum")), 0.3, 1
        ),
        candidate(paths, SECOND, Idea("Batch", "Sixteen.", "tune", change=Change(settings={"batch": 16})), 0.5, 2),
        candidate(paths, WORSE, Idea("An idea that is only text", "Think.", "human"), 0.9, 3),
        candidate(paths, CRASHED, Idea("Diverge", "Far steps.", "explore", change=Change(patch="diverge")), crash, 4),
    ]
    for one in first[:2]:
        assert one.attempt is not None
        if not one.attempt.paths.patch.exists():
            candidate(paths, one.id, one.idea, 0.0, code=CODES[one.id])
    seen = Knowledge(4, 1, Standing("baseline", 0.8, 0.01, 3), 0.01)
    opened = Parents((BEST, SECOND), 0.5, IDEAS, seen=seen)
    return archive_of(paths, generation(paths, 0, first), generation(paths, 1, parents=opened))


class Proposer:
    """A model that proposes as many ideas as requested, each once, on the best parent if there are parents; each batch
    comes after an unusable answer."""

    def __init__(self) -> None:
        self._good = Researcher()
        self._asked = 0

    def __call__(self, asked: Asked) -> Answer:
        self._asked += 1
        return Answer("I have no idea.") if self._asked % 2 else self._good(asked)


@pytest.fixture(params=["bank", "tune", "tpe", "llm", "replay"])
def ideator(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[IdeatorCase]:
    simple = {"bank": BankIdeator, "tune": TuneIdeator, "tpe": TpeIdeator}
    if request.param in simple:
        kind = simple[request.param]
        yield IdeatorCase(kind, lambda: kind(tools_of(codes=CODES)), tmp_path)
        return
    with desk(tmp_path, Proposer()) as it:
        asking = IdeatorCase(LlmIdeator, lambda: LlmIdeator(tools_of(model=it.model, codes=CODES)), tmp_path)
        if request.param == "llm":
            yield asking
            return
        asking.propose(asking.make())
    recorded = Replay(Ledger(RunPaths(tmp_path)), "recorded")
    yield IdeatorCase(LlmIdeator, lambda: LlmIdeator(tools_of(model=recorded, codes=CODES)), tmp_path)


def test_an_ideator_has_the_members_of_the_protocol(ideator: IdeatorCase) -> None:
    maker = ideator.make()
    assert members(Ideator) == {"needs_model", "slow", "propose", "learn"}
    assert all(hasattr(maker, name) for name in members(Ideator))
    for name in ("propose", "learn"):
        assert parameters(getattr(ideator.kind, name)) == parameters(getattr(Ideator, name))
    assert type(maker.slow) is bool
    assert type(ideator.kind.needs_model) is bool  # type: ignore[attr-defined]  # asked of the class, before it is made


def test_an_ideator_that_needs_no_model_works_without_one(ideator: IdeatorCase) -> None:
    if ideator.kind.needs_model:  # type: ignore[attr-defined]
        with pytest.raises(BadInput, match="needs_model"):
            ideator.kind(tools_of())
    else:
        assert ideator.kind(tools_of(codes=CODES)).propose(ideator.briefs()[0])


def test_the_same_brief_gives_the_same_idea(ideator: IdeatorCase) -> None:
    """Requested again, after a restart, and alone by a program that was killed before the idea was written."""
    maker, ideas = ideator.make(), dict[int, Idea]()
    for number in range(IDEAS):
        brief = ideator.briefs(ideas)[number]
        ideas[number] = maker.propose(brief)
        assert maker.propose(brief) == ideas[number]
    assert ideator.propose(ideator.make()) == list(ideas.values())
    for number, brief in reversed(list(enumerate(ideator.briefs(ideas)))):
        assert ideator.make().propose(brief) == ideas[number]


def test_an_idea_has_a_title_a_text_and_known_parents(ideator: IdeatorCase) -> None:
    ideas = ideator.propose(ideator.make())
    assert len(ideas) == IDEAS
    for idea, brief in zip(ideas, ideator.briefs(), strict=True):
        assert idea.title.strip() and len(idea.title.splitlines()) == 1 and idea.text.strip() and idea.origin
        assert set(idea.parents) <= ({one.id for one in brief.parents} if brief.exploit else set())
        assert len(set(idea.parents)) == len(idea.parents) <= 2
        files.create(ideator.folder / f"{brief.number}.json", idea)
        assert files.read(ideator.folder / f"{brief.number}.json", Idea) == idea


def test_an_ideator_does_not_change_its_arguments(ideator: IdeatorCase) -> None:
    brief = ideator.briefs()[0]
    before = {one.name: repr(getattr(brief, one.name)) for one in fields(brief)}
    pristine, codes = dict(PRISTINE), {name: dict(tree) for name, tree in CODES.items()}
    index = dict(brief.archive.index.candidates)
    ideator.make().propose(brief)
    assert {one.name: repr(getattr(brief, one.name)) for one in fields(brief)} == before
    assert pristine == PRISTINE and codes == CODES and brief.archive.index.candidates == index


def test_an_ideator_learns_from_any_outcome(ideator: IdeatorCase) -> None:
    """All at once after a restart, later ones one at a time, and ones that were retracted and came again."""
    maker, archive = ideator.make(), past(ideator.folder)
    maker.learn([])
    maker.learn(archive.candidates)
    for one in archive.candidates:
        maker.learn([one])
    assert len(ideator.propose(maker)) == IDEAS


def test_an_ideator_proposes_for_a_run_without_a_past(
    ideator: IdeatorCase, tmp_path_factory: pytest.TempPathFactory
) -> None:
    paths = RunPaths(tmp_path_factory.mktemp("new"))
    archive = archive_of(paths, generation(paths, 0, parents=Parents(ideas=1)))
    try:
        idea = ideator.make().propose(brief_of(archive, 0))
    except BadInput as error:  # a replay contains only what was recorded
        assert isinstance(ideator.make(), LlmIdeator) and "has no" in str(error)
    else:
        assert idea.title and idea.parents == ()


ODD_CODES = {
    "no settings file": {path: entry for path, entry in PRISTINE.items() if path != "settings.py"},
    "no settings": {**PRISTINE, "settings.py": Entry(b"Tiny = dict\n")},
    "a setting that is no number": with_settings(learning_rate=None, batch="many"),
    "a setting that is zero": with_settings(learning_rate=0.0),
    "not UTF-8": {**PRISTINE, "settings.py": Entry(b"# -*- coding: latin-1 -*- \xe9\n" + PRISTINE["settings.py"].data)},
    "a byte order mark": {**PRISTINE, "settings.py": Entry(b"\xef\xbb\xbf" + PRISTINE["settings.py"].data)},
    "not in its encoding": {**PRISTINE, "settings.py": Entry(b"# \xe9\n" + PRISTINE["settings.py"].data)},
    "binary": {**PRISTINE, "settings.py": Entry(b"\0\1\2")},
}


@pytest.mark.parametrize("code", ODD_CODES.values(), ids=ODD_CODES)
@pytest.mark.parametrize("kind", [BankIdeator, TuneIdeator, LlmIdeator], ids=["bank", "tune", "llm"])
def test_an_ideator_handles_any_code_of_a_parent(kind: type, code: Tree, tmp_path: Path) -> None:
    """A variant may have put anything in place of the settings, as long as it trains."""
    paths = RunPaths(tmp_path)
    best = candidate(paths, BEST, Idea("Odd", "Odd.", "explore"), 0.3, 1, code=code)
    seen = Knowledge(1, 1, Standing("baseline", 0.8, 0.01, 3), 0.01)
    opened = generation(paths, 1, parents=Parents((BEST,), 1.0, 6, seen=seen))
    archive = archive_of(paths, generation(paths, 0, [best]), opened)
    with desk(tmp_path, Researcher()) as it:
        maker = kind(tools_of("ideate.batch=6", model=it.model, codes={BEST: code}))
        ideas: dict[int, Idea] = {}
        for number in range(6):
            ideas[number] = maker.propose(brief_of(archive, number, exploit=True, ideas=ideas))
    assert all(idea.title and set(idea.parents) <= {BEST} for idea in ideas.values())


# ---- implementers

GOOD = Idea("Momentum", "Keep nine tenths of the last step.", "explore", change=Change(patch="momentum"))
"""An idea that each implementer can implement."""
CRASH = Crash(
    with_settings(batch="four"),
    Failure(Stage.TRAIN, FailureKind.EXCEPTION, "exit code 1: TypeError: 'str' object\nlog"),
    "Traceback\n  TypeError: 'str' object cannot be interpreted as an integer",
)
_, OLD, NEW = EDITS["Momentum"]
AGENT = f"""
import pathlib, sys
task, settings = pathlib.Path(sys.argv[1]).read_text(), pathlib.Path("settings.py")
old, new = ("batch: int = 'four'", "batch: int = 4") if "crashed" in task else ({OLD!r}, {NEW!r})
settings.write_text(settings.read_text().replace(old, new))
"""
SCRIPTS = {
    "exits with an error": ("unreadable", "raise SystemExit('no tokens left')"),
    "does nothing": ("no_change", ""),
    "touches a protected file": ("protected", "import pathlib; pathlib.Path('evaluate.py').write_text('print(1)')"),
    "adds a file that is not evolvable": (
        "protected",
        "import pathlib; pathlib.Path('more.py').write_text('print(1)')",
    ),
    "deletes a protected file": ("protected", "import pathlib; pathlib.Path('evaluate.py').unlink()"),
    "deletes everything": ("protected", "import pathlib\nfor path in pathlib.Path('.').iterdir(): path.unlink()"),
    "leaves what does not parse": ("syntax", "import pathlib; pathlib.Path('train.py').write_text('def main(:')"),
    "leaves bytes that are no text": (
        "syntax",
        "import pathlib; pathlib.Path('train.py').write_bytes(bytes(range(256)))",
    ),
    "leaves a link to the outside": (
        "outside",
        "import os; os.remove('train.py'); os.symlink('/etc/passwd', 'train.py')",
    ),
    "imports what is not there": ("unreadable", "open('train.py', 'a').write('import nowhere_to_be_found')"),
    "removes its own folder": ("deletes_everything", "import os, shutil; shutil.rmtree(os.getcwd())"),
    "removes the folder around": (
        "deletes_everything",
        "import os, shutil; shutil.rmtree(os.path.dirname(os.getcwd()))",
    ),
    "leaves a link in the place of its folder": (
        "deletes_everything",
        "import os, shutil; shutil.rmtree(at := os.getcwd()); os.symlink('/etc', at)",
    ),
    "leaves a pipe": ("outside", "import os; os.remove('train.py'); os.mkfifo('train.py')"),
}
"""The behaviour of a program, and the kind of the refusal."""
REPLIES = {
    "says nothing": ("unreadable", ""),
    "says no": ("unreadable", "I cannot do that."),
    "touches a protected file": ("protected", "evaluate.py\n```python\nprint(1)\n```\n"),
    "adds a file that is not evolvable": ("protected", "more.py\n```python\nprint(1)\n```\n"),
    "deletes a protected file": ("protected", "```diff\n--- a/evaluate.py\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-x\n```\n"),
    "leaves the folder": ("outside", "../../outside.py\n```python\nprint(1)\n```\n"),
    "leaves what does not parse": ("syntax", "train.py\n```python\ndef main(:\n```\n"),
    "is a broken diff": ("cut_off", "```diff\n--- a/train.py\n+++ b/train.py\n@@ -1,999 +1 @@\n"),
    "is half a character": ("syntax", "settings.py\n```\n\ud83d\n```\n"),
    "is a lot of braces": ("unreadable", "{" * 5000),
    "changes nothing": ("no_change", f"settings.py\n```python\n{PRISTINE['settings.py'].data.decode()}```\n"),
    "imports what is not there": (
        "unreadable",
        block("train.py", "import argparse\n", "import argparse\nimport nowhere_to_be_found\n"),
    ),
}
"""The answer of a model, and the kind of the refusal."""


class Coder:
    """A model that writes the code of `GOOD`, and repairs `CRASH`."""

    def __call__(self, asked: Asked) -> Answer:
        if "This idea was implemented" in asked.turns[1][1]:
            return Answer(block("settings.py", "    batch: int = 'four'", "    batch: int = 4"))
        return Answer(Researcher.code("Momentum"))


@dataclass(frozen=True)
class ImplementerCase:
    """How one implementer is created, repeatedly."""

    kind: type
    """Its class."""
    make: Callable[[], Implementer]
    """Creates a new one, as after a restart."""


def command_tools(folder: Path, script: str, *more: str) -> Tools:
    """Tools with a program that runs these lines in the copy of the code."""
    program = folder / "agent.py"
    program.write_text(script)
    return tools_of(
        f"implement.command=[{sys.executable},{program},'{{idea}}']", "implement.command_limit_min=1", *more
    )


@pytest.fixture(params=["bank", "llm", "command"])
def implementer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ImplementerCase]:
    if request.param == "llm":
        with desk(tmp_path, Coder()) as it:
            yield ImplementerCase(LlmImplementer, lambda: LlmImplementer(tools_of(model=it.model)))
    elif request.param == "bank":
        yield ImplementerCase(BankImplementer, lambda: BankImplementer(tools_of()))
    else:
        yield ImplementerCase(CommandImplementer, lambda: CommandImplementer(command_tools(tmp_path, AGENT)))


def assert_allowed(made: Implemented | Refusal, base: Tree) -> None:
    """The code is valid, or there is a reason that a user or a model can act on."""
    if isinstance(made, Refusal):
        assert made.kind in KINDS and made.reason.strip()
        return
    rules = tools_of().rules
    refusal = judge(base, made.tree, rules)
    assert refusal is None or refusal.kind == "no_change"  # repeated code is detected by its caller
    protected = [path for path in PRISTINE if not rules.allows(path)]
    assert len(protected) == 2 and all(made.tree[path] == base[path] for path in protected)
    assert made.maker.strip() and made.tries >= 1
    json.dumps(made.maker)


def test_an_implementer_has_the_members_of_the_protocol(implementer: ImplementerCase) -> None:
    maker = implementer.make()
    assert members(Implementer) == {"needs_model", "reads_text", "implement", "repair"}
    assert all(hasattr(maker, name) for name in members(Implementer))
    for name in ("implement", "repair"):
        assert parameters(getattr(implementer.kind, name)) == parameters(getattr(Implementer, name))
    for name in ("needs_model", "reads_text"):
        assert type(getattr(implementer.kind, name)) is bool  # requested from the class, before it is created


def test_an_implementer_that_needs_no_model_works_without_one(implementer: ImplementerCase, tmp_path: Path) -> None:
    tools = command_tools(tmp_path, AGENT)
    if implementer.kind.needs_model:  # type: ignore[attr-defined]
        with pytest.raises(BadInput, match="needs_model"):
            implementer.kind(tools)
    else:
        made = implementer.kind(tools).implement(GOOD, PRISTINE, [])
        assert isinstance(made, Implemented) and made.usage is None


def test_an_idea_becomes_the_whole_code_with_the_change_in_it(implementer: ImplementerCase) -> None:
    made = implementer.make().implement(GOOD, PRISTINE, [])
    assert isinstance(made, Implemented), made
    assert_allowed(made, PRISTINE)
    assert b"momentum: float = 0.9" in made.tree["settings.py"].data
    assert {path: entry for path, entry in made.tree.items() if path != "settings.py"} == {
        path: entry for path, entry in PRISTINE.items() if path != "settings.py"
    }
    assert (made.usage is not None) is implementer.kind.needs_model  # type: ignore[attr-defined]


def test_the_parents_code_is_built_upon(implementer: ImplementerCase) -> None:
    parent = {**with_settings(batch=16), "model.py": Entry(PRISTINE["model.py"].data + b"\n# of the parent\n")}
    idea = replace(GOOD, parents=(BEST,))
    made = implementer.make().implement(idea, PRISTINE, [parent])
    assert isinstance(made, Implemented), made
    assert_allowed(made, parent)
    text = made.tree["settings.py"].data
    assert (
        b"momentum: float = 0.9" in text and b"batch: int = 16" in text and made.tree["model.py"] == parent["model.py"]
    )


def test_the_same_idea_becomes_the_same_code(implementer: ImplementerCase) -> None:
    one, two = (implementer.make().implement(GOOD, PRISTINE, []) for _ in range(2))
    assert isinstance(one, Implemented) and isinstance(two, Implemented) and one.tree == two.tree


def test_an_implementer_does_not_change_its_arguments(implementer: ImplementerCase) -> None:
    baseline, parents = dict(PRISTINE), [with_settings(batch=16), with_settings(weight_decay=0.1)]
    before = [dict(parent) for parent in parents]
    crash = replace(CRASH, code=dict(CRASH.code))
    implementer.make().implement(replace(GOOD, parents=(BEST, SECOND)), baseline, parents)
    implementer.make().repair(GOOD, baseline, crash)
    assert baseline == PRISTINE and parents == before and crash.code == CRASH.code


def test_a_repair_builds_on_the_code_that_crashed_or_is_refused(implementer: ImplementerCase) -> None:
    code = {**CRASH.code, "model.py": Entry(PRISTINE["model.py"].data + b"\n# of the idea\n")}
    made = implementer.make().repair(GOOD, PRISTINE, replace(CRASH, code=code))
    assert_allowed(made, code)
    if isinstance(made, Implemented):
        assert made.tree["settings.py"] == PRISTINE["settings.py"] and made.tree["model.py"] == code["model.py"]
    else:
        assert not implementer.kind.reads_text  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "idea",
    [
        pytest.param(Idea("Think", "Think.", "explore"), id="only text"),
        pytest.param(Idea("", "", "explore"), id="no text"),
        pytest.param(
            Idea("$x {idea} %s", "```\n${title} {0} \\N{x} </s> <think>", "explore"), id="text like a template"
        ),
        pytest.param(Idea("A\0B", "\x1b[31m é 学习率 \u202e", "explore"), id="text with unusual characters"),
        pytest.param(Idea("Long", "word " * 20_000, "explore"), id="long text"),
        pytest.param(Idea("A", "a", "explore", change=Change()), id="no change"),
        pytest.param(Idea("A", "a", "explore", change=Change(patch="nowhere")), id="a patch that the bank lacks"),
        pytest.param(Idea("A", "a", "explore", change=Change(settings={"colour": 1})), id="no such setting"),
        pytest.param(Idea("A", "a", "explore", change=Change(settings={"batch": float("inf")})), id="no literal"),
        pytest.param(Idea("A", "a", "exploit", change=Change(join=True)), id="a join without parents"),
    ],
)
def test_a_bad_idea_is_a_refusal_and_not_an_error(idea: Idea, implementer: ImplementerCase) -> None:
    maker = implementer.make()
    assert_allowed(maker.implement(idea, PRISTINE, []), PRISTINE)
    assert_allowed(maker.repair(idea, PRISTINE, CRASH), CRASH.code)
    if not implementer.kind.reads_text and idea.change != Change():  # type: ignore[attr-defined]
        assert isinstance(maker.implement(idea, PRISTINE, []), Refusal)


@pytest.mark.parametrize("code", ODD_CODES.values(), ids=ODD_CODES)
@pytest.mark.parametrize(
    "change",
    [Change(patch="momentum"), Change(settings={"batch": 8}), Change(join=True)],
    ids=["patch", "settings", "join"],
)
def test_any_code_of_a_parent_is_handled(change: Change, code: Tree, implementer: ImplementerCase) -> None:
    idea, maker = replace(GOOD, change=change, parents=(BEST,)), implementer.make()
    assert_allowed(maker.implement(idea, PRISTINE, [code]), code)
    other = with_settings(weight_decay=0.1)
    for parents in ([code, other], [other, code]):
        assert_allowed(maker.implement(replace(idea, parents=(BEST, SECOND)), PRISTINE, parents), parents[0])
    assert_allowed(maker.repair(idea, PRISTINE, replace(CRASH, code=code)), code)


@pytest.mark.parametrize(("kind", "script"), SCRIPTS.values(), ids=SCRIPTS)
def test_a_program_that_misbehaves_is_a_refusal(kind: str, script: str, tmp_path: Path) -> None:
    made = CommandImplementer(command_tools(tmp_path, script)).implement(GOOD, PRISTINE, [])
    assert isinstance(made, Refusal) and made.kind == kind
    assert_allowed(made, PRISTINE)
    assert [path.name for path in tmp_path.iterdir()] == ["agent.py"]


def test_a_missing_program_is_a_refusal(tmp_path: Path) -> None:
    made = CommandImplementer(tools_of(f"implement.command=[{tmp_path}/nowhere]")).implement(GOOD, PRISTINE, [])
    assert isinstance(made, Refusal) and "nowhere" in made.reason


@pytest.mark.parametrize(("kind", "reply"), REPLIES.values(), ids=REPLIES)
def test_an_unusable_reply_is_a_refusal(kind: str, reply: str, tmp_path: Path) -> None:
    with desk(tmp_path, lambda asked: Answer(reply)) as it:
        made = LlmImplementer(tools_of(model=it.model)).implement(GOOD, PRISTINE, [])
    assert isinstance(made, Refusal) and made.kind == kind
    assert_allowed(made, PRISTINE)


# ---- unavailable models and programs


def makers_that_ask(model: Model) -> list[Callable[[Path], object]]:
    """One call of each maker that uses a model."""
    tools = tools_of(model=model)
    return [
        lambda folder: LlmIdeator(tools).propose(brief_of(past(folder), 0)),
        lambda folder: LlmImplementer(tools).implement(GOOD, PRISTINE, []),
        lambda folder: LlmImplementer(tools).repair(GOOD, PRISTINE, CRASH),
        lambda folder: LlmImplementer(tools_of("implement.samples=3", model=model)).implement(GOOD, PRISTINE, []),
    ]


@pytest.mark.parametrize("number", range(4))
def test_while_the_model_is_unavailable_a_maker_is_unanswered(number: int, tmp_path: Path) -> None:
    with (
        desk(tmp_path, lambda asked: Answer("no credit", 402, "insufficient_quota")) as it,
        pytest.raises(Unanswered),
    ):
        makers_that_ask(it.model)[number](tmp_path)


@pytest.mark.parametrize("when", ["before", "while it runs"])
def test_a_program_that_is_stopped_is_unanswered(when: str, tmp_path: Path) -> None:
    """It is run again when the run is resumed; its earlier output does not count."""
    started = tmp_path / "started"
    script = f"import pathlib, time\npathlib.Path({str(started)!r}).touch()\ntime.sleep(1000)"
    tools = command_tools(tmp_path, script, "train.sandbox=none")  # it communicates with the test through a file
    if when == "before":
        tools.stopping.set()
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(CommandImplementer(tools).implement, GOOD, PRISTINE, [])
        wait_until(lambda: started.exists() or made.done())
        tools.stopping.set()
        with pytest.raises(Unanswered):
            made.result()
    assert started.exists() is (when != "before")


def test_every_maker_that_a_configuration_names_is_held_to_this_contract() -> None:
    """A new one has to be added here."""
    ideators = {
        composed((f"ideate={name}", *("llm=replay",))).ideate.maker["_target_"] for name in ("bank", "tune", "llm")
    }
    implementers = {composed((f"implement={name}",)).implement.maker["_target_"] for name in ("bank", "llm", "command")}
    ours = {f"{kind.__module__}.{kind.__name__}" for kind in (BankIdeator, TuneIdeator, LlmIdeator)}
    assert ideators == ours
    ours = {f"{kind.__module__}.{kind.__name__}" for kind in (BankImplementer, LlmImplementer, CommandImplementer)}
    assert implementers == ours
