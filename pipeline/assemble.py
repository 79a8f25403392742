"""Put a run together: from a configuration to the folder, the cluster and the makers that the stages use."""

import importlib.metadata
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.cli import candidate_at, run_paths
from pipeline.cluster.base import Cluster, Work
from pipeline.cluster.local import LocalCluster, gpu_count
from pipeline.cluster.slurm import SlurmCluster
from pipeline.compose import REPOSITORY, differences, fixed_part, live_part
from pipeline.config import ClusterKind, Config, IdeateMaker, ImplementMaker, LlmKind, ResourcesConfig
from pipeline.errors import BadInput
from pipeline.llm.base import Model
from pipeline.llm.door import Door, Limits, find_prices, import_litellm
from pipeline.llm.keys import find_key
from pipeline.llm.replay import Replay
from pipeline.patching import Refusal, Rules
from pipeline.patching.trees import Tree, read_tree
from pipeline.records import Resources
from pipeline.sandbox.command import allowed_environment
from pipeline.stages.bank import BankIdeator, BankImplementer, TuneIdeator, load_bank
from pipeline.stages.base import Background, Ideator, Implementer, Plan, Search
from pipeline.stages.command_implement import CommandImplementer
from pipeline.stages.commands import SCRATCH_VARIABLE
from pipeline.stages.decide import elites
from pipeline.stages.estimate import Estimate, estimate
from pipeline.stages.forecast import forecast
from pipeline.stages.implement import pristine_tree, variant_tree
from pipeline.stages.llm_ideate import LlmIdeator
from pipeline.stages.llm_implement import LlmImplementer
from pipeline.stages.packages import installed_packages
from pipeline.stages.people import propose, seed_of
from pipeline.stages.prompting import shared_text
from pipeline.stages.score import declared_metric, metric_of
from pipeline.stages.trial import DATA_VARIABLE, run_try
from pipeline.store import files
from pipeline.store.archive import Candidate, Reader
from pipeline.store.data import check_data
from pipeline.store.ledger import Ledger
from pipeline.store.paths import RunPaths
from pipeline.store.run import Run, Sources, create_run, half_made, open_run


def open_or_create(config: Config) -> tuple[Run, list[str]]:
    """The run that the configuration names, made if it is new, and what changed among its live settings.

    Raises `BadInput` when the folder belongs to another fixed configuration, the prepared data is missing or changed, or
    the language model's key is missing.
    """
    paths = RunPaths(Path(config.runs).resolve() / config.run)
    if _asks_provider(config):
        find_key(config.llm, os.environ)
    data = check_data(data_path(config), config.baseline.name, config.scale)
    if not paths.facts.exists():
        if paths.folder.exists() and not half_made(paths):
            raise BadInput(f"{paths.folder} is there and is no run folder; choose another name with run=NAME")
        paths.folder.mkdir(parents=True, exist_ok=True)
        baseline = Path(config.baseline.folder)
        sources = Sources(baseline, baseline / config.baseline.ideas, REPOSITORY / "pipeline", config.size)
        run = create_run(paths, sources, fixed_part(config), _version(), data)
        files.replace(paths.live, live_part(config))
        run.event("created")
        return run, []
    run = open_run(paths)
    changed = differences(dict(run.facts.config), files.through_json(fixed_part(config)))
    if changed:
        raise BadInput(
            f"{paths.folder} belongs to another configuration ({'; '.join(changed)}); these settings are fixed for a run: "
            "give the old values, or another name with run=NAME"
        )
    if data != run.facts.data:
        raise BadInput(
            f"the data in {data_path(config)} is not what {run.name} began with; put it back, or start another run"
        )
    before = files.read_if_there(paths.live, dict) or {}
    live = differences(before, files.through_json(live_part(config)))
    if live:
        files.replace(paths.live, live_part(config))
        run.event("live settings", detail="; ".join(live))
    return run, live


def assemble(run: Run, config: Config) -> Search:
    """Everything the stages need. Raises `BadInput` for a cluster, a bank or a language model that cannot be used."""
    bank = load_bank(run.paths.ideas, config.baseline, config.scale)
    metric, rules = metric_of(run), Rules(config.baseline.evolvable, config.baseline.protected)
    background = Background(config.implement.parallel)
    for place in config.ideate.seeds:
        _sow(run, rules, Path(place))

    def code(candidate: Candidate | None) -> Tree:
        return pristine_tree(run.paths) if candidate is None else variant_tree(run.paths, candidate)

    ideator: Ideator = BankIdeator(bank, code, config.seed, config.ideate.patch_share)
    implementer: Implementer = BankImplementer(bank)
    model: Model | None = None
    if config.ideate.maker is IdeateMaker.tune:
        ideator = TuneIdeator(bank, code, config.seed)
    if _asks_model(config):
        model = make_model(run, config, background.stopping)
        packages = installed_packages(config.baseline.interpreter)
        shared = shared_text(config, pristine_tree(run.paths), packages)
        if config.ideate.maker is IdeateMaker.llm:
            ideator = LlmIdeator(model, shared, config, metric)
        if config.implement.maker is ImplementMaker.llm:
            implementer = LlmImplementer(model, shared, config, rules, packages)
    if config.implement.maker is ImplementMaker.command:
        if not config.implement.command:
            raise BadInput("implement=command needs a program: implement.command=[PROGRAM,'{idea}']")
        packages = installed_packages(config.baseline.interpreter)
        implementer = CommandImplementer(config, rules, packages, background.stopping)
    return Search(
        config=config,
        metric=metric,
        clock=time.time,
        run=run,
        cluster=make_cluster(run.paths, config),
        ideator=ideator,
        implementer=implementer,
        rules=rules,
        background=background,
        data=data_path(config),
        model=model,
    )


def _asks_model(config: Config) -> bool:
    return config.ideate.maker is IdeateMaker.llm or config.implement.maker is ImplementMaker.llm


def _asks_provider(config: Config) -> bool:
    return _asks_model(config) and config.llm.kind is LlmKind.provider


def _sow(run: Run, rules: Rules, place: Path) -> None:
    """Leave the elites of another run, or one candidate, for the next generation. Raises `BadInput`."""
    paths = run_paths(place)
    of_run, plan = view(paths)
    archive = of_run.reader.read()
    whole = place.resolve() == paths.folder
    chosen = elites(plan, archive) if whole else (archive.candidate(candidate_at(place)[1]),)
    if not chosen:
        raise BadInput(f"ideate.seeds: {place} has no elites; name a run with scores, or a candidate")
    for candidate in chosen:
        if propose(run.reader.read(), rules, seed_of(archive, candidate)):
            run.event("seed", detail=f"{of_run.name} {candidate.id}: {candidate.idea.title}")


def dry_run(config: Config) -> Estimate:
    """What a generation of the run that the configuration names costs; of its first, where it is not made yet. Needs no
    key, and writes nothing. Raises `BadInput`."""
    paths = RunPaths(Path(config.runs).resolve() / config.run)
    if config.run and paths.facts.exists():
        archive, baseline = open_run(paths).reader.read(), pristine_tree(paths)
    else:
        folder = Path(config.baseline.folder)
        archive, tree = Reader(RunPaths(paths.folder / "not-made")).read(), read_tree(folder)
        if isinstance(tree, Refusal):
            raise BadInput(f"baseline.folder={folder}: {tree.reason}")
        baseline = {path: entry for path, entry in tree.items() if not path.startswith(f"{config.baseline.ideas}/")}
    prices = find_prices(config.llm, import_litellm()) if _asks_provider(config) else None
    packages = installed_packages(config.baseline.interpreter)
    return estimate(config, archive, baseline, packages, declared_metric(config), prices)


def make_model(run: Run, config: Config, stopping: threading.Event) -> Model:
    """The language model that the configuration asks for. Raises `BadInput` when it is not to be had."""
    if config.llm.kind is LlmKind.replay:
        source = RunPaths(Path(config.llm.source).resolve())
        if not config.llm.source or not source.llm.is_dir():
            raise BadInput(f"llm.source={config.llm.source} holds no recorded answers; name a run folder that has llm/")
        return Replay(Ledger(source), config.llm.source)

    def notify(reason: str) -> None:
        run.event("language model paused", detail=reason)
        print(f"the language model is paused: {reason}", file=sys.stderr)

    key, ledger = find_key(config.llm, os.environ), Ledger(run.paths)
    return Door(
        config.llm, key, ledger, Limits(config.budget.usd, ledger.spending().usage.usd or 0.0, stopping, notify)
    )


def view(paths: RunPaths) -> tuple[Run, Plan]:
    """A run to look at, with the settings in force. Raises `BadInput`."""
    run = open_run(paths)
    return run, Plan(run.config_in_force(), metric_of(run), time.time)


def data_path(config: Config) -> Path:
    """Where the prepared data of the baseline at its scale lies."""
    return Path(config.data).resolve() / config.baseline.name / config.scale


def would_submit(config: Config) -> Iterator[str]:
    """For `dry_run`: what a run would submit and could cost, line by line. Nothing is made. Raises `BadInput`."""
    if config.cluster.kind is not ClusterKind.slurm:  # it may be told on a laptop what a cluster is needed for
        yield from forecast(config, config.cluster.max_parallel or os.cpu_count() or 1).lines(config)
        return
    cluster = make_cluster(RunPaths(Path(config.runs).resolve() / (config.run or "NAME")), config)
    yield from forecast(config, cluster.slots()).lines(config)
    if isinstance(cluster, SlurmCluster):
        count = min(cluster.slots(), config.ideate.candidates + config.select.baseline_seeds)
        yield f"a first wave of up to {count} jobs, as an array with this script:"
        yield from cluster.script(count).splitlines()


def make_cluster(paths: RunPaths, config: Config) -> Cluster:
    """The cluster that the configuration asks for. Raises `BadInput` when it is not to be had."""
    return cluster_for(config, run_try, paths.code, paths.jobs, config.train.resources)


def cluster_for(
    config: Config, function: Callable[[str], object], code: Path, jobs: Path, needs: ResourcesConfig
) -> Cluster:
    """A cluster whose jobs call a function of `code`. Raises `BadInput` when it is not to be had."""
    work = Work(
        function,
        code,
        jobs,
        Resources(needs.nodes, needs.gpus_per_node, needs.cpus_per_task, needs.mem_gb, needs.time_min),
        allowed_environment({DATA_VARIABLE: str(data_path(config)), SCRATCH_VARIABLE: config.cluster.scratch}),
    )
    if config.cluster.kind is ClusterKind.slurm:
        return SlurmCluster(work, config.cluster.max_parallel or 64, config.cluster.slurm)
    gpus = gpu_count()
    if needs.gpus_per_node > gpus:
        raise BadInput(
            f"a trial needs {needs.gpus_per_node} GPU(s) and this machine has {gpus}; "
            "use cluster=slurm on a cluster, or scale=tiny, which needs none"
        )
    fits = gpus // needs.gpus_per_node if needs.gpus_per_node else (os.cpu_count() or 1) // needs.cpus_per_task
    return LocalCluster(work, config.cluster.max_parallel or max(1, fits))


def _version() -> str:
    """Version and, in a checkout, the commit."""
    done = subprocess.run(
        ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    try:
        version = importlib.metadata.version("groundwork")
    except importlib.metadata.PackageNotFoundError:
        version = "0"
    return f"{version}+{done.stdout.strip()}" if done.returncode == 0 else version
