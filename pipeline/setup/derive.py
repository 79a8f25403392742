"""Configures runs derived from a candidate of another run: the same baseline and settings, with given codes instead of
a search."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from pipeline.config import (
    BudgetConfig,
    Config,
    IdeateConfig,
    ImplementConfig,
    LlmConfig,
    MeasureConfig,
    SearchConfig,
    SelectConfig,
    StopConfig,
)
from pipeline.errors import BadInput, CannotContinue
from pipeline.makers.variants import pristine_tree, variant_tree
from pipeline.methods.base import Terms
from pipeline.patching import Refusal, read_settings
from pipeline.patching.syntax import hash_of_changes
from pipeline.patching.trees import read_tree
from pipeline.setup.build import data_hash, data_path, view
from pipeline.setup.compose import compose_config, differences, fixed_part, own_config_dir
from pipeline.setup.places import candidate_at
from pipeline.store import files
from pipeline.store.archive import Archive
from pipeline.store.manifest import altered_code, altered_data
from pipeline.store.paths import short
from pipeline.store.run import Run
from pipeline.store.views import Candidate

_INDEPENDENT = {"_target_": "pipeline.methods.independent.Independent"}


@dataclass(frozen=True)
class Source:
    """A candidate with code that runs, and its run."""

    run: Run
    terms: Terms
    archive: Archive
    candidate: Candidate

    @property
    def name(self) -> str:
        """Name for display, e.g. `first g1/c3`."""
        return f"{self.run.name} {short(self.candidate.id)}"


def source_at(folder: Path) -> Source:
    """The candidate at a folder or short name. Raises `BadInput` if there is none, or its code does not run."""
    paths, candidate_id = candidate_at(folder)
    run, terms = view(paths)
    archive = run.reader.read()
    candidate = archive.candidate(candidate_id)
    if candidate.attempt is None or candidate.attempt.smoke is None:
        raise BadInput(
            f"{folder} has no code that runs; name a scored candidate, see: python -m pipeline status {run.name}"
        )
    return Source(run, terms, archive, candidate)


def check_code(source: Source) -> dict[str, str]:
    """Hashes of the run's code and the candidate's patch. Raises `CannotContinue` if one differs from the run's
    record."""
    run, attempt = source.run, source.candidate.attempt
    assert attempt is not None and attempt.implementation is not None
    manifest = run.manifest
    altered = altered_code(run.paths, manifest) if manifest is not None else None
    if manifest is None and files.tree_hash(run.paths.code) != run.facts.code:
        altered = "a file of code/ was changed since the run started"
    if altered is not None:
        raise CannotContinue(f"{run.paths.folder}: {altered}; restore it")
    baseline, tree = pristine_tree(run.paths), variant_tree(run.paths, source.candidate)
    syntax = hash_of_changes(baseline, tree)
    kept = read_tree(attempt.paths.variant) if attempt.paths.variant.is_dir() else tree
    if syntax != attempt.implementation.syntax or kept != tree:
        raise CannotContinue(f"{attempt.paths.patch} does not give the code that was trained; restore it from a copy")
    return {"code": run.facts.code, "patch": syntax}


def check_source(source: Source, config: Config) -> dict[str, str]:
    """Hash of each part that was checked: the code, the patch and, if `config` uses the same, the prepared data,
    wherever it is now. Raises `CannotContinue` for a part that differs from the run's record."""
    checked, run, manifest = check_code(source), source.run, source.run.manifest
    data = data_path(config)
    digest = data_hash(config)
    if digest == run.facts.data:
        changed = altered_data(data, manifest) if manifest is not None else None
        if changed is not None:
            raise CannotContinue(f"{changed}; restore it")
        checked["data"] = digest
    elif data == data_path(source.terms.config):
        raise CannotContinue(f"{data} is not the data of {run.name}; restore it")
    return checked


def derived_config(
    source: Source,
    what: str,
    overrides: Sequence[str] = (),
    config_dir: Path | None = None,
    *,
    seed: int | None = None,
    seeds: int,
    codes: int,
) -> Config:
    """Settings of a run that trains `codes` given codes with `seeds` seeds each, with the settings of the source's run
    and overrides. `what` becomes part of the run's name; `seed` replaces the setting `seed`, from which the seeds of
    trials are derived. Raises `BadInput`."""
    if seeds < 1:
        raise BadInput(f"--seeds {seeds} trains nothing; give 1 or more")
    config, run = source.terms.config, source.run
    given = [one for one in overrides if not one.startswith("run=")]
    if given:
        config = _overridden(config, given, config_dir)
    name = next((one.partition("=")[2] for one in overrides if one.startswith("run=")), "")
    key = json.dumps([given, seed, seeds, codes])
    made = f"{run.name}-{what}-{short(source.candidate.id).replace('/', '')}-{hashlib.sha256(key.encode()).hexdigest()[:6]}"
    return replace(
        config,
        run=name or made,
        runs=config.runs if any(one.startswith("runs=") for one in given) else str(run.paths.folder.parent),
        seed=config.seed if seed is None else seed,
        baseline=replace(config.baseline, folder=str(run.paths.pristine)),
        ideate=IdeateConfig(candidates=0),
        implement=ImplementConfig(parallel=config.implement.parallel, smoke_limit_min=config.implement.smoke_limit_min),
        select=SelectConfig(
            method=dict(_INDEPENDENT),
            baseline_seeds=max(seeds, 1 if seeds == 1 else 2),
            canary=False,
            elites=codes,
            elite_seeds=seeds - 1,
        ),
        search=SearchConfig(),
        measure=MeasureConfig(),
        llm=LlmConfig(),
        budget=BudgetConfig(),
        stop=StopConfig(generations=1),
        prompts={},
    )


def _overridden(config: Config, overrides: Sequence[str], config_dir: Path | None) -> Config:
    """The settings with the overrides' changes to the baseline's settings at its scale, and with the value of each
    setting that an override names, even if that is the default. So an override means the same as for `run`, and
    everything else is unchanged."""
    name = config.baseline.name
    config_dir = config_dir or own_config_dir(config)
    same = [f"baseline={name}", f"scale={config.scale}"]
    before, after = (msgspec.to_builtins(compose_config(given, config_dir)) for given in (same, [*same, *overrides]))
    if after["baseline"]["name"] != name:
        raise BadInput(
            f"baseline={after['baseline']['name']} is another baseline than {name}, to which the patch applies"
        )
    found = carried(msgspec.to_builtins(config), before, after)
    for override in overrides:
        key = override.lstrip("+").partition("=")[0].replace("/", ".")
        if key != "baseline":  # the run's own description of it is kept
            found = replaced(found, after, key.split("."))
    return msgspec.convert(found, Config)


def replaced(onto: Any, after: Any, keys: Sequence[str]) -> Any:
    """The value `onto` with what `after` has under nested keys; unchanged if there is nothing."""
    if not keys:
        return after
    first, *rest = keys
    if not (isinstance(onto, dict) and isinstance(after, dict) and first in after):
        return onto
    return {**onto, first: replaced(onto.get(first), after[first], rest)}


def carried(onto: Any, before: Any, after: Any) -> Any:
    """The value `onto` with the changes from `before` to `after`."""
    if not all(isinstance(one, dict) for one in (onto, before, after)):
        return after if before != after else onto
    kept = [key for key in onto if key in after or key not in before]
    return {
        key: carried(onto.get(key), before.get(key), after[key]) if key in after else onto[key]
        for key in dict.fromkeys([*kept, *(key for key in after if key in onto or after[key] != before.get(key))])
    }


def left_behind(source: Source, config: Config) -> list[str]:
    """Settings that the candidate changed for the scale of its run only, so that `config` at another scale does not use
    them."""
    file, classes = config.baseline.settings_file, config.baseline.settings_class
    texts = [
        tree[file].data.decode(errors="replace") if file in tree else ""
        for tree in (pristine_tree(source.run.paths), variant_tree(source.run.paths, source.candidate))
    ]
    old, new = (classes.get(scale, "") for scale in (source.terms.config.scale, config.scale))
    return unused_changes(texts[0], texts[1], old, new, file)


def unused_changes(before: str, after: str, old_class: str, new_class: str, file: str) -> list[str]:
    """Settings whose values differ between two texts of a file in the old class, but not in the new class."""
    if old_class == new_class:
        return []
    of_old, of_new = ([_values(text, name, file) for text in (before, after)] for name in (old_class, new_class))
    changed = [name for name, value in of_old[1].items() if of_old[0].get(name) != value]
    return [name for name in changed if of_new[0].get(name) == of_new[1].get(name)]


def _values(text: str, class_name: str, file: str) -> Mapping[str, object]:
    found = read_settings(text, class_name, file)
    return {} if isinstance(found, Refusal) else found


def changed_settings(source: Source, config: Config) -> list[str]:
    """Changes from the settings and the data of the source's run that can affect a trial's score, each as `key: old ->
    new`; data is named by its hash."""
    parts = ("size", "train", "evaluate", "scale")
    old, new = (fixed_part(one) for one in (source.terms.config, config))
    data = data_hash(config)
    return differences(
        {**{part: old[part] for part in parts}, "data": source.run.facts.data[:12]},
        {**{part: new[part] for part in parts}, "data": data[:12]},
    )
