"""Proposals of people: their own ideas, and candidates of other runs. Each is a file that the next generation includes
besides its own ideas. Files are named by a hash of their content, so that duplicates count once."""

import hashlib
from pathlib import Path

from pipeline.errors import BadInput
from pipeline.makers.variants import pristine_tree, variant_tree
from pipeline.patching import Refusal, Rules, patched_tree
from pipeline.patching.trees import Tree, apply
from pipeline.records import Change, Idea
from pipeline.store import files
from pipeline.store.archive import Archive
from pipeline.store.paths import short
from pipeline.store.views import Candidate
from pipeline.text import plain, plain_line

HUMAN, SEED = "human", "seed"


def read_idea(path: Path) -> tuple[str, str]:
    """Title (the first line) and text (the whole file) of an idea. Raises `BadInput`."""
    text = read_text(path)
    if not text.strip():
        raise BadInput(f"{path} is empty; write the title on its first line, and below what to change and why")
    title = text.strip().splitlines()[0].lstrip("# ").strip()
    return plain_line(title[:120]), plain(text.strip())


def read_text(path: Path) -> str:
    """The text of a file. Raises `BadInput` if it cannot be read."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}") from None


def as_seed(archive: Archive, candidate: Candidate) -> Idea:
    """A candidate of another run as an idea for this one, with its code as a change of the baseline."""
    if candidate.attempt is None or candidate.attempt.smoke is None:
        raise BadInput(f"ideate.seeds: {candidate.paths.folder} has no code that runs; name one that was scored")
    patch = candidate.attempt.paths.patch.read_text(errors="replace")
    origin = f"{archive.paths.folder.name} {short(candidate.id)}"
    return Idea(candidate.idea.title, candidate.idea.text, SEED, source=origin, change=Change(text=patch, exact=True))


def given_tree(base: Tree, change: Change, rules: Rules) -> Tree | Refusal:
    """The code that came with an idea, applied to the code that it changes."""
    text = change.text or ""
    return apply(base, text) if change.exact else patched_tree(base, text, rules)


def propose(archive: Archive, rules: Rules, idea: Idea) -> bool:
    """Propose an idea for the next generation; returns whether it is new. Raises `BadInput` if its code does not apply."""
    paths = archive.paths
    if idea.change is not None and idea.change.text is not None:
        parents = [variant_tree(paths, archive.candidate(parent)) for parent in idea.parents]
        made = given_tree(parents[0] if parents else pristine_tree(paths), idea.change, rules)
        if isinstance(made, Refusal):
            raise BadInput(f"the code of {idea.title!r} cannot be used: {made.reason}")
    paths.proposals.mkdir(exist_ok=True)
    name = f"{idea.origin}-{hashlib.sha256(files.to_json(idea)).hexdigest()[:12]}"
    return files.create(paths.proposal(name), idea)
