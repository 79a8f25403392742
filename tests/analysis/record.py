"""Makes the recorded run in `tests/analysis/recorded/`: `python -m tests.analysis.record`.

The search, the training and the scores of the toy baseline are real. The language model is replaced by a script that
answers over HTTP: its ideas are fixed, and some of them fail on purpose. Takes about two minutes on two cores.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.llm.provider import Answer, Asked, Provider
from tests.llm.researcher import EDITS, block, title_of
from tests.toy import CONF, ROOT, Bench, program

_STEP = EDITS["Decaying steps"][1].strip()
_LINE = f"                {_STEP}"
_SLOPE = '            loss, slope = gradient(state["weights"], random.sample(rows, settings.batch))'


@dataclass(frozen=True)
class Proposal:
    """An idea of the script, with its code."""

    title: str
    why: str
    code: str


IDEAS = (
    Proposal(
        "Momentum",
        "The slope of few rows is noisy; an average of past steps is less so. Use momentum 0.9.",
        block(*EDITS["Momentum"]),
    ),
    Proposal(
        "Larger batch", "Look at 16 rows in a step, so that each slope is less noisy.", block(*EDITS["Larger batch"])
    ),
    Proposal(
        "Divide by the loss",
        "Scale a step by the inverse of the loss minus its floor, which is met late in training.",
        block("train.py", _SLOPE, f"{_SLOPE}\n            slope = [part / max(0, 40 - step) for part in slope]"),
    ),
    Proposal(
        "Much larger steps",
        "Sixty steps are few: try a learning rate of 5.",
        block("settings.py", "    learning_rate: float = 0.01", "    learning_rate: float = 5.0"),
    ),
    Proposal(
        "Decaying steps",
        "Large steps first, small ones at the end, so that the last weights hardly move.",
        block(*EDITS["Decaying steps"]),
    ),
    Proposal(
        "Pull to zero", "A small weight decay keeps weights of useless inputs near zero.", block(*EDITS["Pull to zero"])
    ),
    Proposal(
        "Score on easier rows",
        "Leave the largest errors out of the score.",
        block("evaluate.py", "import argparse", "import argparse  # easier"),
    ),
    Proposal("Huber loss", "Outliers pull the line; clip the error of a row at 3.", block(*EDITS["Huber loss"])),
    Proposal("Larger steps", "Twice the learning rate.", block(*EDITS["Larger steps"])),
    Proposal(
        "Clip the slope",
        "Limit each part of the slope to 5, so that one bad batch does no harm.",
        block("train.py", _SLOPE, f"{_SLOPE}\n            slope = [max(-5.0, min(5.0, part)) for part in slope]"),
    ),
    Proposal(
        "Momentum once more",
        "An average of past steps is less noisy than one. Use momentum 0.9.",
        block(*EDITS["Momentum"]),
    ),
    Proposal(
        "Warm-up",
        "The first slopes are the largest: raise the learning rate over ten steps.",
        block("train.py", _LINE, f"{_LINE} * min(1.0, step / 10)"),
    ),
    Proposal("Smaller batch", "Two rows a step, as a check of the larger batch.", block(*EDITS["Smaller batch"])),
    Proposal(
        "Slope in parts",
        "Compute the slope from two halves and take their mean.",
        block("train.py", _SLOPE, f"{_SLOPE}\n            slope = halves(slope)"),
    ),
    Proposal("Smaller steps", "Half the learning rate, as a check of the larger one.", block(*EDITS["Smaller steps"])),
    Proposal(
        "Sign of the slope",
        "Use only the sign of each part of the slope, scaled by 3.",
        block("train.py", _SLOPE, f"{_SLOPE}\n            slope = [3.0 if part > 0 else -3.0 for part in slope]"),
    ),
)


class Script:
    """Proposes `IDEAS` in order, building on parents if the prompt requires it."""

    def __init__(self) -> None:
        self._left: Iterator[Proposal] = iter(IDEAS)
        self._code = {idea.title: idea.code for idea in IDEAS}

    def __call__(self, asked: Asked) -> Answer:
        count = re.search(r"Propose (\d+)|(\d+) more are needed", asked.question)
        if count is None:
            return Answer(f"I change only what the idea says.\n\n{self._code[title_of(asked)]}")
        parents = re.findall(r"^(g\d+/c\d+)", asked.turns[1][1].partition("best first:")[2], re.M)[:1]
        batch = [idea for _, idea in zip(range(int(count[1] or count[2])), self._left, strict=False)]
        ideas = [{"title": one.title, "text": one.why, "parents": parents} for one in batch]
        return Answer(f"Here they are.\n```json\n{json.dumps({'ideas': ideas}, indent=1)}\n```")


def main(folder: Path) -> None:
    """Make the run and keep the files that a report requires."""
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        program("prepare", "--config-dir", str(CONF), "baseline=toy", "scale=tiny", f"data={data}").ok()
        bench = Bench(Path(scratch) / "runs", data)
        settings = (
            *("ideate=llm", "implement=llm", "llm=openai_compatible", "ideate.candidates=4", "stop.generations=4"),
            *("seed=1", "select.elites=2", "cluster.poll_s=0.1", "cluster.max_parallel=2", "keep.checkpoints=none"),
        )
        with Provider(Script()) as provider:
            more = (f"llm.api_base={provider.openai}",)
            print(bench.run("recorded", *settings, *more, extra={"LLM_API_KEY": "none"}, timeout=900).ok().out)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(bench.folder / "recorded", folder, ignore=_left_out)
        live = json.loads((folder / "live.json").read_text())
        (folder / "live.json").write_text(json.dumps(live | {"own_code": ""}, indent=2))  # `status` would look for it
        for path in folder.rglob("*.*"):
            if path.is_file():
                text = path.read_text().replace(scratch, "/scratch").replace(str(ROOT), "/groundwork")
                path.chmod(0o644)
                path.write_text(text)


def _left_out(folder: str, names: list[str]) -> list[str]:
    """Caches, submitit's files, resume state, and the copy of the program, none of which is shown."""
    drop = {"__pycache__", "jobs", "resume", "variant", "checkpoint"}
    if Path(folder).name == "code":
        drop |= {"pipeline", "ideas"}
    return [name for name in names if name in drop]


if __name__ == "__main__":
    main(Path(__file__).with_name("recorded"))
