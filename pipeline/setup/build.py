"""Creates the parts of a run: cluster, language models, makers, search method. Writes nothing."""

import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.cluster.base import Cluster, Work
from pipeline.config import Config, LlmConfig, LlmKind, ResourcesConfig
from pipeline.errors import BadInput
from pipeline.job.trial import DATA_VARIABLE, run_try
from pipeline.llm.base import Embedder
from pipeline.llm.embedding import EmbeddingModel, EmbeddingReplay
from pipeline.llm.keys import find_key
from pipeline.llm.provider import ProviderModel, SpendingLimits
from pipeline.llm.purse import Purse
from pipeline.llm.replay import Replay
from pipeline.llm.roles import Member, Models, Role, check_roles, members_of
from pipeline.makers.base import Tools
from pipeline.makers.policy_ideator import PolicyIdeator, check_settings
from pipeline.makers.tpe import TpeIdeator
from pipeline.makers.variants import pristine_tree, variant_tree
from pipeline.methods.base import Terms
from pipeline.methods.independent import Independent
from pipeline.patching.trees import Tree
from pipeline.records import PolicyWork, Resources
from pipeline.rl.jobs import run_task
from pipeline.sandbox.base import allowed_environment, make_sandbox
from pipeline.sandbox.command_lines import SCRATCH_VARIABLE, check_commands
from pipeline.setup.compose import as_value, own_config_dir, use_code_of
from pipeline.setup.parts import check_part, class_of, make_part
from pipeline.stages.context import Background, Context
from pipeline.store.data import check_data
from pipeline.store.ledger import Ledger
from pipeline.store.paths import RunPaths
from pipeline.store.run import Run, open_run
from pipeline.store.views import Candidate

_KEPT_TREES = 64


def context_of(run: Run, config: Config) -> Context:
    """Everything the stages need. Raises `BadInput` for an unusable part."""
    terms = terms_of(config)
    background = Background(config.implement.parallel)
    model = make_models(run, config, background.stopping)
    models, embedder = (model.by_role, model.embedder) if model is not None else ({}, None)
    code = code_reader(run.paths)
    tools = Tools(config, terms.metric, run.paths.ideas, code, model, background.stopping, models, embedder)
    return Context(
        config=config,
        metric=terms.metric,
        method=terms.method,
        clock=terms.clock,
        run=run,
        cluster=make_cluster(run.paths, config),
        ideator=make_part(config.ideate.maker, "ideate.maker", tools),
        implementer=make_part(config.implement.maker, "implement.maker", tools),
        sandbox=make_sandbox(config.train.sandbox),
        rules=tools.rules,
        background=background,
        data=data_path(config),
        model=model,
        purse=model.purse if model is not None else Purse(0.0, 0.0),
        policy_clusters=_policy_clusters(run.paths, config),
    )


def learns(config: Config) -> bool:
    """Whether ideas come from a policy that learns."""
    return issubclass(class_of(config.ideate.maker, "ideate.maker"), PolicyIdeator)


def check_parts(config: Config) -> None:
    """Raise `BadInput` for a part with a wrong class or wrong arguments, or a command of the baseline that cannot be
    run, before anything is created."""
    for part, key, given in (
        (config.select.method, "select.method", 2),
        (config.ideate.maker, "ideate.maker", 1),
        (config.implement.maker, "implement.maker", 1),
        (config.cluster.backend, "cluster.backend", 2),
        (config.train.sandbox, "train.sandbox", 0),
    ):
        check_part(part, key, given)
    _check_feedback(config)
    check_commands(config.baseline)
    if learns(config):
        check_settings(config)


def _check_feedback(config: Config) -> None:
    """Raise `BadInput` for an ideator that samples from outcomes with a method that shows it none."""
    method = config.select.method
    shows = class_of(method, "select.method") is not Independent or method.get("tells", False)
    if not shows and class_of(config.ideate.maker, "ideate.maker") is TpeIdeator:
        raise BadInput("ideate=tpe learns from outcomes, and this search method shows it none; set select=tpe")


def terms_of(config: Config) -> Terms:
    """Everything that decisions depend on. Raises `BadInput` for an unusable search method."""
    metric = config.baseline.metric.metric
    return Terms(config, metric, make_part(config.select.method, "select.method", config, metric), time.time)


def view(paths: RunPaths) -> tuple[Run, Terms]:
    """A run for reading, with its current settings. Raises `BadInput`."""
    run = open_run(paths)
    config = run.config_in_force()
    use_code_of(config.own_code)
    return run, terms_of(config)


def code_reader(paths: RunPaths) -> Callable[[Candidate | None], Tree]:
    """A function that returns the code of a candidate, or of the baseline for none. It caches trees, since parents are
    read often."""

    kept: dict[str, Tree] = {}

    def code(candidate: Candidate | None) -> Tree:
        if candidate is None:
            return pristine_tree(paths)
        if candidate.id not in kept:
            while len(kept) >= _KEPT_TREES:
                kept.pop(next(iter(kept)), None)
            kept[candidate.id] = variant_tree(paths, candidate)
        return dict(kept[candidate.id])

    return code


def data_path(config: Config) -> Path:
    """Folder of the prepared data for the baseline at its scale."""
    return Path(config.data).resolve() / config.baseline.name / config.scale


def data_hash(config: Config) -> str:
    """The hash of the prepared data. Raises `BadInput` with the command that prepares it if there is none."""
    words = [f"baseline={config.baseline.name}", f"scale={config.scale}"]
    if config.data != Config.data:
        words.append(f"data={as_value(config.data)}")
    own = own_config_dir(config)
    where = ["--config-dir", str(own)] if own is not None else []
    return check_data(data_path(config), shlex.join(["python", "-m", "pipeline", "prepare", *where, *words]))


# ---- language model


def asked_roles(config: Config) -> list[Role]:
    """The roles in use: the roles of makers that need a model and, if there is one, other roles listed in `llm.roles`.
    Raises `BadInput`."""
    check_roles(config.llm)
    if Role.EMBEDDER in config.llm.roles and config.ideate.similarity == 1:
        raise BadInput("llm.roles.embedder compares nothing with ideate.similarity=1: set e.g. ideate.similarity=0.9")
    makers = {
        Role.IDEATOR: (config.ideate.maker, "ideate.maker"),
        Role.IMPLEMENTER: (config.implement.maker, "implement.maker"),
    }
    asking = [role for role, (part, key) in makers.items() if class_of(part, key).needs_model]
    if asking:
        asking += [role for role in Role if role not in makers and role in config.llm.roles]
    return asking


def roles_of(config: Config) -> dict[str, LlmConfig]:
    """The settings of every model in use, by its role, or by its entry in `llm.ideators` or `llm.implementers`. Raises
    `BadInput`."""
    return {place: settings for role in asked_roles(config) for place, settings in members_of(config.llm, role).items()}


def needs_model(config: Config) -> bool:
    """Whether a maker needs a language model. Raises `BadInput`."""
    return bool(roles_of(config))


def asks_provider(config: Config) -> bool:
    """Whether requests go to a provider, which needs a key and costs money."""
    return any(settings.kind is LlmKind.provider for settings in roles_of(config).values())


def find_keys(config: Config) -> dict[str, str | None]:
    """The key of each model that uses a provider, by the names of `roles_of`. Raises `BadInput` naming the setting to
    set."""

    def place(name: str) -> str:
        if name not in list(Role):
            return f"llm.{name}"
        return f"llm.roles.{name}" if config.llm.roles.get(name) else "llm"

    return {
        name: find_key(settings, os.environ, place(name))
        for name, settings in roles_of(config).items()
        if settings.kind is LlmKind.provider
    }


def make_models(run: Run, config: Config, stopping: threading.Event) -> Models | None:
    """The language models of the makers, by role. Equal settings share a model, and all models share the budget. None if
    no maker needs one. Raises `BadInput` for an unusable model."""

    def warn(text: str) -> None:
        run.event("language model", detail=text)
        print(text, file=sys.stderr)

    keys, ledger = find_keys(config), Ledger(run.paths)
    limits = SpendingLimits(config.budget.usd, ledger.spending().usage.usd or 0.0, stopping, warn=warn)
    made: list[Member] = []

    def member(name: str, settings: LlmConfig) -> Member:
        same = next((one for one in made if one.settings == settings), None)
        if same is None:
            replayed = settings.kind is LlmKind.replay
            model = Replay(*_recorded(settings)) if replayed else ProviderModel(settings, keys[name], ledger, limits)
            same = Member(settings, model)
            made.append(same)
        return same

    models: dict[Role, Sequence[Member]] = {
        role: tuple(member(name, settings) for name, settings in members_of(config.llm, role).items())
        for role in asked_roles(config)
        if role is not Role.EMBEDDER
    }
    embedder: Embedder | None = None
    settings = roles_of(config).get(Role.EMBEDDER)
    if settings is not None and settings.kind is LlmKind.replay:
        embedder = EmbeddingReplay(*_recorded(settings), settings.model)
    elif settings is not None:
        embedder = EmbeddingModel(settings, keys[Role.EMBEDDER], ledger, limits)
    return Models(models, limits.purse, embedder) if models else None


def _recorded(settings: LlmConfig) -> tuple[Ledger, str]:
    """The answers of the run to replay, and its name."""
    source = RunPaths(Path(settings.source).resolve())
    if not settings.source or not source.llm.is_dir():
        raise BadInput(f"llm.source={settings.source} holds no recorded answers; name a run folder that has llm/")
    return Ledger(source), settings.source


# ---- cluster


def make_cluster(paths: RunPaths, config: Config) -> Cluster:
    """The configured cluster. Raises `BadInput` if it is unusable."""
    return cluster_for(config, run_try, paths.code, paths.jobs, config.train.resources, config.cluster.pack)


def _policy_clusters(paths: RunPaths, config: Config) -> dict[PolicyWork, Cluster]:
    if not learns(config):
        return {}
    needs = {PolicyWork.SAMPLE: config.rl.sample, PolicyWork.UPDATE: config.rl.update}
    return {work: cluster_for(config, run_task, paths.code, paths.jobs, need) for work, need in needs.items()}


def cluster_for(
    config: Config, function: Callable[[str], object], code: Path, jobs: Path, needs: ResourcesConfig, pack: int = 1
) -> Cluster:
    """A cluster whose jobs call a function of `code`, `pack` times each. Raises `BadInput` if it is unusable."""
    work = Work(
        function,
        code,
        jobs,
        Resources(needs.nodes, needs.gpus_per_node, needs.cpus_per_task, needs.mem_gb, needs.time_min),
        allowed_environment({DATA_VARIABLE: str(data_path(config)), SCRATCH_VARIABLE: config.cluster.scratch}),
    )
    settings = replace(config.cluster, pack=pack)
    cluster: Cluster = make_part(config.cluster.backend, "cluster.backend", work, settings)
    return cluster
