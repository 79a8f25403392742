"""Creates a run folder from a configuration, or reopens it by name."""

import configparser
import importlib.metadata
import os
import subprocess
from pathlib import Path

from pipeline.config import Config
from pipeline.errors import BadInput
from pipeline.makers.people import as_seed, propose
from pipeline.patching import Rules
from pipeline.policy.agenda import elites
from pipeline.setup.build import check_parts, data_hash, data_path, find_keys, view
from pipeline.setup.code import code_files
from pipeline.setup.compose import differences, fixed_part, live_part
from pipeline.setup.folders import REPOSITORY
from pipeline.setup.places import candidate_at, run_at
from pipeline.setup.shared import take_baseline
from pipeline.store import files
from pipeline.store.data import verified_facts
from pipeline.store.manifest import altered_code
from pipeline.store.paths import RunPaths
from pipeline.store.run import Run, Sources, create_run, half_made, open_run


def run_paths_of(config: Config) -> RunPaths:
    """Paths of the configured run, which may not exist yet. Raises `BadInput` if no run can be there, a part is
    unusable, or its data or the language model's key is missing. Writes nothing."""
    paths = RunPaths(Path(config.runs).resolve() / config.run)
    if {".", ".."} & set(config.run.split("/")) or not config.run.isprintable():
        raise BadInput(f"run={config.run!r} is not a name; give letters, digits, - and _")
    if os.pathsep in str(paths.folder):
        raise BadInput(
            f"{paths.folder}: a run folder cannot have {os.pathsep!r} in its path, which ends an entry of PYTHONPATH; "
            "choose another run= or runs="
        )
    check_parts(config)
    find_keys(config)
    data_hash(config)
    if not paths.facts.exists() and paths.folder.exists() and not half_made(paths):
        raise BadInput(f"{paths.folder} exists and is not a run folder; choose another name with run=NAME")
    return paths


def open_or_create(config: Config) -> tuple[Run, list[str]]:
    """The configured run, created if it is new, and the changes of its live settings. The caller must hold the run's
    lock.

    Raises `BadInput` if the folder belongs to another fixed configuration, code or prepared data changed, or there is no
    run that `baseline_of` names.
    """
    paths = run_paths_of(config)
    data = data_hash(config)
    if not paths.facts.exists():
        baseline, code = Path(config.baseline.folder), code_files(config.baseline)
        ideas = baseline / config.baseline.ideas
        sources = Sources(baseline, code.paths, ideas, REPOSITORY / "pipeline", config.size)
        facts = verified_facts(data_path(config))
        run, changed = create_run(paths, sources, fixed_part(config), version(), data, facts), list[str]()
        files.replace(paths.live, live_part(config))
        run.event("created", detail=f"code: {code.text()}")
    else:
        run = open_run(paths)
        changed = _update(run, config, data)
    if config.baseline_of:
        take_baseline(run, config)
    for place in config.ideate.seeds:
        _sow(run, Rules(config.baseline.evolvable, config.baseline.protected), Path(place))
    run.own()
    return run, changed


def _update(run: Run, config: Config, data: str) -> list[str]:
    """Write the live settings if they changed; returns the changes."""
    changed = differences(dict(run.facts.config), files.through_json(fixed_part(config)))
    if changed:
        raise BadInput(
            f"{run.paths.folder} belongs to another configuration ({'; '.join(changed)}); these settings are fixed for a "
            "run: give the old values, or another name with run=NAME"
        )
    if data != run.facts.data:
        raise BadInput(
            f"the data in {data_path(config)} is not what {run.name} started with; restore it, or start another run"
        )
    manifest = run.manifest
    altered = altered_code(run.paths, manifest) if manifest is not None else None
    if altered is not None:
        raise BadInput(f"{run.paths.folder}: {altered}; restore it, or start another run")
    before = files.read_if_there(run.paths.live, dict) or {}
    live = differences(before, files.through_json(live_part(config)))
    if live:
        files.replace(run.paths.live, live_part(config))
        run.event("live settings", detail="; ".join(live))
    return live


def _sow(run: Run, rules: Rules, place: Path) -> None:
    """Propose the elites of another run, or one candidate, for the next generation. Raises `BadInput`."""
    paths = run_at(place)
    of_run, terms = view(paths)
    archive = of_run.reader.read()
    whole = place.resolve() == paths.folder
    chosen = elites(terms, archive) if whole else (archive.candidate(candidate_at(place)[1]),)
    if not chosen:
        raise BadInput(f"ideate.seeds: {place} has no elites; name a run with scores, or a candidate")
    for candidate in chosen:
        if propose(run.reader.read(), rules, as_seed(archive, candidate)):
            run.event("seed", detail=f"{of_run.name} {candidate.id}: {candidate.idea.title}")


def version() -> str:
    """Version and, in a checkout, the commit."""
    checkout = configparser.ConfigParser()
    if not checkout.read(REPOSITORY / "setup.cfg"):  # installed from a wheel, not a checkout
        return importlib.metadata.version("groundwork-hpc")
    number = checkout["metadata"]["version"]
    describe = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
    done = subprocess.run(describe, capture_output=True, text=True, check=False)
    return f"{number}+{done.stdout.strip()}" if done.returncode == 0 else number
