"""Show one candidate: idea, lineage, patch and the outcome of every try; or the prompts behind it."""

import argparse
import itertools
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.commands.terminal import call, make_console, parser, say
from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.makers.proposals import read_proposals
from pipeline.makers.variants import pristine_tree, variant_tree
from pipeline.metric import Metric
from pipeline.patching.trees import diff
from pipeline.records import Completion, Idea, Prompt
from pipeline.sandbox.command_lines import train_command
from pipeline.setup.build import data_path, view
from pipeline.setup.places import candidate_at, place_of, run_at
from pipeline.store import files
from pipeline.store.archive import Archive
from pipeline.store.ledger import Ledger
from pipeline.store.paths import PromptPaths, short
from pipeline.store.reader import Reader
from pipeline.store.views import Attempt, Candidate, Trial, Try

_LOG_LINES = 15


def main() -> None:
    """Entry point."""
    made = parser(
        "show",
        "Show a candidate: idea, lineage, patch, each try with its reason and the end of its log, and how to run it again.",
        "examples:\n  python -m pipeline show runs/NAME/generation_000/candidate_003\n"
        "  python -m pipeline show --prompt runs/NAME/generation_000/candidate_003\n"
        "  python -m pipeline show --prompt runs/NAME/llm/KEY",
    )
    made.add_argument("candidate", type=Path, help="a candidate's folder; with --prompt also a folder of llm/")
    made.add_argument(
        "--prompt",
        action="store_true",
        help="print the prompts for its idea and code and the language model's answers",
    )
    made.add_argument(
        "--on-parent", action="store_true", help="show the change relative to the first parent instead of the baseline"
    )
    call(entry, made.parse_args())


def entry(arguments: argparse.Namespace) -> int:
    """Read the folder and print it. Nothing is written."""
    if arguments.prompt:
        return _show_prompts(place_of(arguments.candidate))
    paths, candidate_id = candidate_at(arguments.candidate)
    run, terms = view(paths)
    archive = run.reader.read()
    candidate = archive.candidate(candidate_id)
    console = make_console()
    for text in describe(archive, candidate, terms.metric):
        say(console, text)
    for attempt in candidate.attempts:
        console.print(f"\n{attempt.paths.folder.relative_to(paths.folder)}", style="bold")
        if attempt.implementation is not None:
            say(console, _patch(archive, candidate, attempt, arguments.on_parent))
        for line in attempt_lines(attempt, terms.metric):
            say(console, line)
        if attempt.implementation is not None:
            say(console, f"\nrun it again:\n  {again(terms.config, archive, attempt)}")
    return 0


def _show_prompts(place: Path) -> int:
    paths, console = run_at(place), make_console()
    ledger = Ledger(paths)
    if place.resolve().parent == paths.llm:
        prompt = files.read_if_there(PromptPaths(place.resolve()).prompt, Prompt)
        if prompt is None:
            raise BadInput(f"{place} holds no prompt.json; list the prompts with: ls {paths.llm}")
        prompts = [prompt]
    else:
        candidate = Reader(paths).read().candidate(candidate_at(place)[1])
        prompts = list(prompts_of(ledger, candidate.idea))
        if not prompts:
            why = "no language model wrote its idea or code, or the run is a replay"
            say(console, f"no prompt led to {short(candidate.id)}: {why}")
            return 0
    for text in prompt_texts(ledger, prompts):
        say(console, text)
    return 0


def prompts_of(ledger: Ledger, idea: Idea) -> Iterator[Prompt]:
    """The prompts for an idea and its code. Reads every prompt of the run."""
    for purpose in ("first", "explore", "exploit"):
        for prompt in ledger.prompts(purpose):
            texts = [answer.text for answer in _answers(ledger, prompt)]
            if any(proposal.text == idea.text for text in texts for proposal in read_proposals(text)):
                yield prompt
    for purpose in ("implement", "repair_patch", "repair_crash"):
        for prompt in ledger.prompts(purpose):
            if idea.title in prompt.messages[1].text and idea.text in prompt.messages[1].text:
                yield prompt


def prompt_texts(ledger: Ledger, prompts: Sequence[Prompt]) -> Iterator[str]:
    """Prompts and their answers as text. A repeated message is replaced by a reference to its first occurrence."""
    printed: dict[str, str] = {}
    for prompt in prompts:
        yield f"==== llm/{prompt.key}"
        for message in prompt.messages:
            yield f"---- {message.role}"
            yield f"(as in llm/{printed[message.text]})" if message.text in printed else message.text
            printed.setdefault(message.text, prompt.key)
        for number, answer in enumerate(_answers(ledger, prompt)):
            yield f"---- answer {number}: {answer.finish}, {answer.usage.tokens_out} tokens by {answer.model}"
            yield answer.text


def _answers(ledger: Ledger, prompt: Prompt) -> Iterator[Completion]:
    for number in itertools.count():
        answer = ledger.find(prompt, number)
        if answer is None:
            return
        yield answer


def describe(archive: Archive, candidate: Candidate, metric: Metric) -> Iterator[str]:
    """Lines about a candidate's idea and lineage."""
    idea = candidate.idea
    yield f"{candidate.id}: {idea.title}"
    yield f"state    {candidate.state}"
    yield f"origin   {idea.origin}" + (f", from {idea.source}" if idea.source else "")
    yield f"idea     {idea.text}"
    for depth, ancestor in _lineage(archive, candidate):
        score = ancestor.score
        value = metric.text_error(score.value, score.standard_error) if score else str(ancestor.state)
        yield f"{'parent' if depth == 1 else '':8} {'  ' * (depth - 1)}{short(ancestor.id)} {value}: {ancestor.idea.title}"
    if candidate.failure is not None:
        yield f"failed   {candidate.failure.stage}/{candidate.failure.kind}: {candidate.failure.reason}"


def attempt_lines(attempt: Attempt, metric: Metric) -> Iterator[str]:
    """Lines about the outcome of an attempt: its smoke test and each try."""
    if attempt.failure is not None and not attempt.trials:
        yield f"failed in {attempt.failure.stage} ({attempt.failure.kind}): {attempt.failure.reason}"
    for trial in attempt.trials:
        name = f"{trial.paths.folder.name} ({trial.purpose})"
        if trial.score is not None:
            value = metric.text_error(trial.score.value, trial.score.standard_error)
            yield f"\n{name}, seed {trial.score.seed}: {metric.name} {value} ({trial.score.split}, n = {trial.score.n})"
        else:
            yield f"\n{name}: {trial.state}"
        for one in trial.tries:
            yield from _try(trial, one)


def again(config: Config, archive: Archive, attempt: Attempt) -> str:
    """A command line that trains the variant again, outside the run folder."""
    argv = train_command(config, archive.paths.size, data_path(config), Path("/tmp/again"), 1000 * config.seed)
    folder = shlex.quote(str(attempt.paths.variant))
    environment = [f"{name}={shlex.quote(value)}" for name, value in config.baseline.environment.items()]
    return f"cd {folder} && mkdir -p /tmp/again && {' '.join([*environment, shlex.join(argv)])}"


def _try(trial: Trial, one: Try) -> Iterator[str]:
    if one.result is None:
        yield f"  {one.paths.folder.name}: {trial.state}"
        return
    seconds = one.result.seconds
    spent = f"train {seconds.train:.1f} s, evaluate {seconds.evaluate:.1f} s on {one.result.host or 'no node'}"
    failure = one.result.failure
    if failure is None:
        yield f"  {one.paths.folder.name}: scored, {spent}"
        return
    yield f"  {one.paths.folder.name}: {failure.stage}/{failure.kind}, {spent}: {failure.reason.splitlines()[0]}"
    for line in files.tail(one.paths.train_log, _LOG_LINES).splitlines():
        yield f"    | {line}"


def _patch(archive: Archive, candidate: Candidate, attempt: Attempt, on_parent: bool) -> str:
    if on_parent and candidate.idea.parents:
        parent = variant_tree(archive.paths, archive.candidate(candidate.idea.parents[0]))
        return diff(parent, variant_tree(archive.paths, candidate))
    if on_parent:
        return diff(pristine_tree(archive.paths), variant_tree(archive.paths, candidate))
    return attempt.paths.patch.read_text(errors="replace")


def _lineage(archive: Archive, candidate: Candidate) -> Iterator[tuple[int, Candidate]]:
    """Each ancestor once with its distance from the candidate, parents first."""
    seen: set[str] = set()
    depth, names = 1, candidate.idea.parents
    while names:
        ancestors = [archive.candidate(name) for name in dict.fromkeys(names) if name not in seen]
        yield from ((depth, ancestor) for ancestor in ancestors)
        seen.update(ancestor.id for ancestor in ancestors)
        depth, names = depth + 1, tuple(name for ancestor in ancestors for name in ancestor.idea.parents)
