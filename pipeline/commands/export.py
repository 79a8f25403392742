"""Write a candidate as a code base of its own, with a history of its changes."""

import argparse
import dataclasses
import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.commands.terminal import call, parser
from pipeline.errors import BadInput
from pipeline.makers.lineage import lineage
from pipeline.metric import Metric
from pipeline.patching.history import Commit, write_history
from pipeline.patching.trees import Entry, Tree, diff
from pipeline.records import Idea, Purpose, Score
from pipeline.sandbox.command_lines import train_command
from pipeline.setup.build import code_reader
from pipeline.setup.derive import Source, check_code, source_at
from pipeline.store import files
from pipeline.store.paths import short
from pipeline.store.views import Candidate

FOLDER = "provenance"
"""Folder of the export that holds everything but code."""


def main() -> None:
    """Entry point."""
    made = parser(
        "export",
        "Write a candidate as a git repository: the baseline, a commit for each change, and its provenance.",
        "examples:\n  python -m pipeline export g2/c1 better-recipe\n"
        "  python -m pipeline export runs/NAME/generation_002/candidate_001 /tmp/recipe --json",
    )
    made.add_argument("candidate", type=Path, help="a candidate's folder, or its short name in the newest run")
    made.add_argument("out", type=Path, help="a new folder")
    made.add_argument("--json", action="store_true", help="print the provenance as one JSON object")
    call(entry, made.parse_args())


@dataclass(frozen=True)
class Step:
    """One candidate of the lineage."""

    candidate: str
    """Id of the candidate."""
    idea: Idea
    maker: str
    """Author of the code: the bank, a person, or the name of a model."""
    scores: Sequence[Score]
    """Scores of all its trials."""


@dataclass(frozen=True)
class Provenance:
    """Where an exported code comes from (provenance.json)."""

    run: str
    """Name of the run."""
    version: str
    """Version of Groundwork that created the run."""
    metric: str
    """Name of the metric."""
    checked: dict[str, str]
    """Hashes that were checked against the record, by name."""
    data: str
    """Hash of the data that the candidate was trained on, by the record."""
    baseline: Sequence[Score]
    """Scores of the unmodified code."""
    lineage: Sequence[Step]
    """Earliest change first; the last is the candidate."""
    command: str
    """Command line that trains the code, to be run in its folder."""


def entry(arguments: argparse.Namespace) -> int:
    """Check the hashes, then write the folder completely or not at all."""
    source, out = source_at(arguments.candidate), arguments.out
    found = provenance_of(source)
    kept, record = out / FOLDER / "provenance.json", files.to_json(found)
    if not (kept.is_file() and kept.read_bytes() == record):  # else the same command wrote it earlier
        try:
            write_history(list(commits(source, found)), out)
        except FileExistsError:
            raise BadInput(f"{out} exists and is not an export of {source.name}; name a new folder") from None
    if arguments.json:
        print(json.dumps(dataclasses.asdict(found), indent=2))
    else:
        print(f"{source.name} is in {out}; see {out / FOLDER / 'README.md'}, and the changes with: git -C {out} log -p")
    return 0


def provenance_of(source: Source) -> Provenance:
    """The provenance of a candidate. Raises `CannotContinue` if a hash differs from the record."""
    run, config = source.run, source.terms.config
    steps = [
        Step(one.id, one.idea, _maker(one), [score for attempt in one.attempts for score in attempt.scores(*Purpose)])
        for one in lineage(source.archive, source.candidate)
    ]
    argv = train_command(config, Path(FOLDER) / "size.json", Path("DATA"), Path("OUTPUT"), 1000 * config.seed)
    argv[0] = "python" if not config.baseline.interpreter else argv[0]
    environment = [f"{name}={shlex.quote(value)}" for name, value in config.baseline.environment.items()]
    return Provenance(
        run.name,
        run.facts.version,
        source.terms.metric.name,
        check_code(source),
        run.facts.data,
        source.archive.baseline.scores(*Purpose),
        steps,
        " ".join([*environment, shlex.join(argv)]),
    )


def commits(source: Source, found: Provenance) -> Iterator[Commit]:
    """The baseline, one commit for each candidate of the lineage on top of its parents, and the provenance."""
    code, metric, run = code_reader(source.run.paths), source.terms.metric, source.run
    baseline, at = code(None), int(run.facts.created_at)
    yield Commit(baseline, f"Start from the baseline {run.config.baseline.name}\n", "Groundwork", at)
    numbers: dict[str, int] = {}
    for number, (one, step) in enumerate(zip(lineage(source.archive, source.candidate), found.lineage, strict=True), 1):
        parents = tuple(numbers[parent] for parent in one.idea.parents) or (0,)
        at = max(at, int(_written_at(one)))
        yield Commit(code(one), message(metric, step), step.maker, at, parents)
        numbers[one.id] = number
    tree = code(source.candidate)
    yield Commit(
        {**tree, **_provenance_files(source, found, baseline, tree)},
        "Add where this code comes from\n",
        "Groundwork",
        at,
        (len(numbers),),
    )


def message(metric: Metric, step: Step) -> str:
    """The idea as a commit message, with its source and its scores."""
    idea = step.idea
    lines = [" ".join(idea.title.split()), "", idea.text.strip(), ""]
    lines += [f"Source: {idea.source}"] if idea.source else []
    lines += [f"Candidate: {short(step.candidate)}", *(f"Score: {_score(metric, one)}" for one in step.scores)]
    return "\n".join(lines) + "\n"


def _provenance_files(source: Source, found: Provenance, baseline: Tree, tree: Tree) -> Tree:
    if any(path == FOLDER or path.startswith(f"{FOLDER}/") for path in tree):
        raise BadInput(f"the code has its own {FOLDER}/, where the export puts its records; rename it in the baseline")
    texts = {
        "README.md": readme(source, found).encode(errors="replace"),
        "provenance.json": files.to_json(found),
        "size.json": source.run.paths.size.read_bytes(),
        "patch.diff": diff(baseline, tree).encode(errors="surrogateescape"),
    }
    return {f"{FOLDER}/{name}": Entry(data) for name, data in texts.items()}


def readme(source: Source, found: Provenance) -> str:
    """The provenance as Markdown."""
    metric, last = source.terms.metric, found.lineage[-1]
    config = source.terms.config
    rows = [
        f"| {short(step.candidate)} | {' '.join(map(short, step.idea.parents)) or 'baseline'} | {_cell(step.idea.title)} | "
        f"{_cell(step.idea.source)} | {_cell(step.maker)} | {'; '.join(_score(metric, one) for one in step.scores)} |"
        for step in found.lineage
    ]
    scores = "; ".join(_score(metric, one) for one in found.baseline)
    return "\n".join(
        [
            f"# {_cell(last.idea.title)}",
            "",
            last.idea.text.strip(),
            "",
            f"Candidate {short(last.candidate)} of the run {found.run}, made by Groundwork {found.version} on the baseline "
            f"{config.baseline.name} at scale {config.scale}. `git log -p` shows each change.",
            "",
            "## Lineage",
            "",
            f"Scores are {metric.name}, on the split and with the seed named. The score of a `search` trial chose the "
            "candidate, so it is partly luck.",
            "",
            "| candidate | builds on | idea | source | code by | scores |",
            "|---|---|---|---|---|---|",
            f"| baseline | | the unmodified code | | | {scores} |",
            *rows,
            "",
            "## Train it",
            "",
            f"`DATA` is data/{config.baseline.name}/{config.scale}, made by `python -m pipeline prepare "
            f"baseline={config.baseline.name} scale={config.scale}`; `OUTPUT` is a new folder:",
            "",
            "```bash",
            found.command,
            "```",
            "",
            "## Check it",
            "",
            f"With the run folder: `python -m pipeline rerun {source.run.name}/{short(last.candidate)}`. Hashes: "
            + ", ".join(f"{name} `{digest[:16]}`" for name, digest in {**found.checked, "data": found.data}.items())
            + ".",
            "",
        ]
    )


def _score(metric: Metric, score: Score) -> str:
    return f"{metric.text_error(score.value, score.standard_error)} ({score.purpose}, {score.split}, seed {score.seed})"


def _cell(text: str) -> str:
    """The text on one line, without characters that end a cell of a Markdown table."""
    return " ".join(text.replace("|", "/").split())


def _maker(candidate: Candidate) -> str:
    implementation = candidate.attempt.implementation if candidate.attempt is not None else None
    return implementation.maker if implementation is not None else "unknown"


def _written_at(candidate: Candidate) -> float:
    """Start of the candidate's first job, in seconds since 1970; 0 if none has started."""
    return min((one.result.started_at for one in candidate.tries() if one.result is not None), default=0.0)
