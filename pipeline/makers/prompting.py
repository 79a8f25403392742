"""Prompts: templates in `prompts/`, and the part that all prompts of a run share.

The shared part holds the codebase and everything else that does not change during a run, and comes first. Providers read
what they have just read from a cache, at a fraction of the price.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template

from pipeline.config import Clock, Config
from pipeline.llm.base import encodable
from pipeline.makers.base import Tools
from pipeline.metric import Direction
from pipeline.patching import Rules
from pipeline.patching.trees import Entry

_FOLDER = Path(__file__).with_name("prompts")


def render(template: str, **values: object) -> str:
    """The text of `prompts/TEMPLATE.md` with its variables filled in. Raises ValueError for a variable that is missing
    or not used."""
    found = Template((_FOLDER / f"{template}.md").read_text())
    wanted = set(found.get_identifiers())
    if wanted != set(values):
        missing, unused = sorted(wanted - set(values)), sorted(set(values) - wanted)
        raise ValueError(f"{template}.md: missing {missing}, not used {unused}")
    return encodable(found.substitute(values)).strip() + "\n"  # code and logs may hold bytes that are no text


def shared_text(tools: Tools) -> str:
    """The first message of every prompt."""
    config, code = tools.config, tools.code(None)
    baseline = config.baseline
    better = "higher" if baseline.metric.direction is Direction.maximize else "lower"
    settings = ""
    if baseline.settings_file and config.scale in baseline.settings_class:
        settings = (
            f"Settings of this scale: class {baseline.settings_class[config.scale]} in {baseline.settings_file}\n"
        )
    return render(
        "shared",
        code=code_text(code, Rules(baseline.shown)),
        description=baseline.description.strip(),
        metric=f"{baseline.metric.name}, {better} is better",
        budget=_budget(config),
        size=json.dumps(config.size),
        settings=settings,
        evolvable=", ".join(baseline.evolvable) or "all that are not protected",
        protected=", ".join(baseline.protected) or "none",
        packages=", ".join(tools.packages.distributions) or "none",
        format=render(f"format_{config.implement.format.value}").strip(),
    )


def code_text(code: Mapping[str, Entry], shown: Rules) -> str:
    """Files with their paths, each in a fence. Only text, and only what is shown."""
    parts = []
    for path, entry in code.items():
        if shown.allows(path) and b"\0" not in entry.data:
            language = "python" if path.endswith(".py") else ""
            parts.append(f"{path}\n```{language}\n{entry.data.decode(errors='replace').rstrip()}\n```")
    return "\n\n".join(parts)


def shown_diff(patch: str) -> str:
    """A patch in a fence, without the lines that only git needs."""
    return "```diff\n" + re.sub(r"^index [0-9a-f.]+( \d+)?\n", "", patch, flags=re.M) + "```"


def without_places(text: str) -> str:
    """A log without what differs between two runs that do the same: where the code lies, and addresses in memory."""
    text = re.sub(r"(?:/[^\s\"':,;()]+)*/(?:variant|site-packages|lib/python3\.\d+)/", "", text)
    text = re.sub(r"(?:/[^\s\"':,;()/]+)+/([^\s\"':,;()/]+)", r"\1", text)
    return re.sub(r"\b0x[0-9a-f]{6,}\b", "0x…", text)


def _budget(config: Config) -> str:
    needs = config.train.resources
    devices = f"{needs.gpus_per_node} GPU" if needs.gpus_per_node else f"{needs.cpus_per_task} processor core"
    amount = (
        f"{config.train.budget_steps} steps"
        if config.train.clock is Clock.steps
        else f"{config.train.budget_min:g} minutes"
    )
    return f"{amount} on {needs.nodes} node(s) with {devices}(s) and {needs.mem_gb:g} GB of memory each"
