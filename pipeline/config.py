"""The schema of the configuration. Values are in `conf/`; `docs/reference/settings.md` is generated from this file.

Plain dataclasses and enums, because Hydra refuses frozen ones. Every field is *fixed* for a run unless it is made with
`live(...)`: a run may be resumed with other live values, never with other fixed ones. The string under a field is its
documentation: meaning, then unit.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from pipeline.metric import Direction

MISSING = "???"
"""What OmegaConf reads as 'must be given'."""


def live(default: Any = dataclasses.MISSING, *, factory: Callable[[], Any] | None = None) -> Any:
    """A field that may change when a run is resumed."""
    if factory is not None:
        return field(default_factory=factory, metadata={"live": True})
    return field(default=default, metadata={"live": True})


class Clock(Enum):
    """What a trial's budget is counted in."""

    steps = "steps"
    wall = "wall"


class IdeateMaker(Enum):
    """Who proposes."""

    bank = "bank"
    tune = "tune"
    llm = "llm"


class ImplementMaker(Enum):
    """Who writes the patch."""

    bank = "bank"
    llm = "llm"
    command = "command"


class Format(Enum):
    """How a language model is asked to write code down; all are understood, whichever was asked for."""

    diff = "diff"
    blocks = "blocks"
    files = "files"


class LlmKind(Enum):
    """Where answers come from."""

    provider = "provider"
    replay = "replay"


class Search(Enum):
    """How a generation learns from those before."""

    evolution = "evolution"
    independent = "independent"
    time_to_target = "time_to_target"


class ClusterKind(Enum):
    """Where trials run."""

    auto = "auto"
    local = "local"
    slurm = "slurm"


class Keep(Enum):
    """What is kept of a folder once its trial is scored."""

    all = "all"
    elites = "elites"
    none = "none"


@dataclass
class MetricConfig:
    """The quantity that is searched for."""

    name: str = MISSING
    """What is measured."""
    direction: Direction = Direction.maximize
    """Which way is better: `maximize` or `minimize`."""
    low: float | None = None
    """Smallest value that can be true."""
    high: float | None = None
    """Largest value that can be true."""
    percent: bool = False
    """Whether people read it in percent."""


@dataclass
class CommandsConfig:
    """Command lines of a baseline, as lists of words. Words in braces are filled in: `{python}`, `{size}`, `{seed}`,
    and those named below. Paths are absolute."""

    prepare: list[str] = field(default_factory=list)
    """Fetches and converts once; gets `{data}`, writes `train/` and `evaluator/` into it."""
    build: list[str] = field(default_factory=list)
    """Compiles what all variants share, on a node of the trials; gets `{train_data}` and `{output}`. Where it is absent,
    `pipeline.build` runs `smoke`."""
    smoke: list[str] = field(default_factory=list)
    """Imports the variant and takes one step on the CPU; gets `{train_data}` and `{output}`."""
    train: list[str] = field(default_factory=list)
    """Trains the variant; gets `{train_data}`, `{output}` and `{budget}`."""
    evaluate: list[str] = field(default_factory=list)
    """Scores a checkpoint with the pristine code; gets `{evaluator_data}`, `{checkpoint}`, `{split}`, `{result}` and, with
    `serve`, `{exchange}`."""
    serve: list[str] = field(default_factory=list)
    """Answers `evaluate` with the variant's model code, in the variant's folder, for the time of `evaluate`; gets
    `{checkpoint}` and `{exchange}`. May be absent."""
    servers: int = 1
    """How many processes of `serve` are started. Each has an `{exchange}` of its own, a folder in that of `evaluate`, named
    by its number from 0."""


@dataclass
class BaselineConfig:
    """A training codebase that is evolved. How to bring your own: docs/how-to/bring-your-own-training-code.md."""

    name: str = MISSING
    """Name; prepared data lies in `data/NAME/SCALE/`."""
    folder: str = MISSING
    """The code: absolute, or relative to where the configuration that names it lies (to the repository for ours)."""
    description: str = ""
    """For the ideator: what is trained, how it is scored, what the rules are."""
    evolvable: list[str] = field(default_factory=list)
    """Globs of the files a patch may touch (as in .gitignore)."""
    protected: list[str] = field(default_factory=list)
    """Globs of the files it may not; protected wins over evolvable, and what neither names is protected."""
    shown: list[str] = field(default_factory=list)
    """Globs of the files an ideator is shown."""
    commands: CommandsConfig = field(default_factory=CommandsConfig)
    """What to run."""
    environment: dict[str, str] = field(default_factory=dict)
    """Environment variables of `smoke`, `train`, `evaluate` and `serve`."""
    interpreter: str = ""
    """Python that runs the commands; empty means the one that runs the pipeline."""
    metric: MetricConfig = field(default_factory=MetricConfig)
    """What the evaluator's value is."""
    ideas: str = "ideas"
    """Folder of the idea bank inside `folder`; may be absent."""
    settings_file: str = ""
    """The evolvable file whose dataclasses hold the settings; empty where there are none."""
    settings_class: dict[str, str] = field(default_factory=dict)
    """Scale to the dataclass of its settings."""


@dataclass
class ResourcesConfig:
    """What one trial asks of the cluster."""

    nodes: int = 1
    """Number of nodes."""
    gpus_per_node: int = 0
    """GPUs on each node."""
    cpus_per_task: int = 1
    """Processor cores on each node."""
    mem_gb: float = 4.0
    """Memory on each node, GB; a variant that takes more is ended. Slurm is asked for half a GB more, for our own
    processes."""
    time_min: int = 30
    """Longest run time of the job, minutes."""


@dataclass
class IdeateConfig:
    """Proposing ideas."""

    maker: IdeateMaker = IdeateMaker.bank
    """Who proposes: the idea `bank`, `tune` (random changes of settings), or `llm` (a language model)."""
    candidates: int = 4
    """Ideas in a generation."""
    exploit_start: float = 0.5
    """Share of exploit ideas in generation 1."""
    exploit_step: float = 0.1
    """By how much the share rises every second generation."""
    exploit_max: float = 0.8
    """Where the share stops rising."""
    patch_share: float = 0.7
    """Share of the bank's ideas that are published ones; the others change settings."""
    batch: int = 10
    """Most ideas that a language model is asked for at once."""
    history_tokens: int = 12000
    """Most tokens of earlier candidates in a prompt for ideas; less where `llm.context` is short."""
    seeds: list[str] = live(factory=list)
    """Folders of other runs, whose elites are trained again here, or of single candidates. Each is a candidate of the next
    generation, once."""


@dataclass
class ImplementConfig:
    """Turning ideas into variants."""

    maker: ImplementMaker = ImplementMaker.bank
    """Who writes the patch: the idea `bank`, `llm` (a language model), or `command` (any program)."""
    parallel: int = live(1)
    """How many candidates are implemented and smoke-tested at once."""
    smoke_limit_min: float = 2.0
    """Longest run time of the smoke test, minutes."""
    format: Format = Format.blocks
    """How a language model writes code down: `diff` (unified), `blocks` (search and replace) or whole `files`."""
    samples: int = 1
    """Answers asked for side by side; the first that can be used is taken, and all are paid for."""
    revisions: int = 2
    """How often an answer that cannot be used goes back with the reason."""
    crash_repairs: int = 0
    """How often a variant that crashes, in the smoke test or in training, goes back with the end of its log."""
    command: list[str] = live(factory=list)
    """With `command`: the program and its words. It runs in a copy of the code to change, with your environment; `{idea}` is
    a file that says what to do, `{code}` the folder. What it leaves changed is the patch."""
    command_limit_min: float = live(30.0)
    """Longest run time of the command, minutes."""


@dataclass
class TrainConfig:
    """Training one variant with one seed."""

    clock: Clock = Clock.steps
    """What the budget counts: `steps` or `wall` time."""
    budget_steps: int = 0
    """Training steps, with clock=steps."""
    budget_min: float = 0.0
    """Minutes from start to exit of `train`, with clock=wall; adds up over tries."""
    limit_min: float = 10.0
    """Guard: a `train` that still runs then is ended, minutes. With clock=wall it must exceed the budget."""
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    """What the job asks for."""
    retries: int = live(2)
    """How often a trial that a machine spoiled is tried again."""
    disk_gb: float = live(1.0)
    """Most that one try writes, GB: checkpoint and resume state. No wave is submitted that the disk has no room for."""

    @property
    def budget(self) -> float:
        """The budget in the unit of the clock, steps or minutes."""
        return self.budget_steps if self.clock is Clock.steps else self.budget_min

    def with_budget(self, budget: float | None) -> "TrainConfig":
        """The same with another budget in the unit of the clock; none changes nothing."""
        if budget is None:
            return self
        if self.clock is Clock.steps:
            return replace(self, budget_steps=int(budget))
        return replace(self, budget_min=budget)


@dataclass
class EvaluateConfig:
    """Scoring a checkpoint."""

    limit_min: float = 5.0
    """Longest run time of `evaluate`, minutes."""


@dataclass
class SelectConfig:
    """Deciding who is built upon."""

    method: Search = Search.evolution
    """`evolution`: later generations build on earlier ones; `independent`: no feedback; `time_to_target`: no ideas, but how
    long the baseline and the candidates of `ideate.seeds` take to `target`."""
    quorum: float = 1.0
    """Share of a generation that must have outcomes before the next is proposed, 0 to 1. Below 1 the next is proposed
    also when slots would stand idle. What comes late joins the archive, and the next selection sees it."""
    baseline_seeds: int = 3
    """Trials of the unmodified baseline."""
    canary: bool = True
    """Whether, on Slurm, one more trial of the unmodified baseline rides in the first wave of each later generation: it
    tells a machine that has changed from bad ideas, and sharpens the estimate of the noise."""
    parents: int = 4
    """Most candidates that may be built upon."""
    margin: float = 1.0
    """A parent must beat the baseline by this many standard errors of the difference."""
    elites: int = 2
    """Best candidates that are trained again at the end, and scored on the test split."""
    elite_seeds: int = 3
    """Trials of each elite in the end."""
    target: float | None = None
    """With `time_to_target`: the value of the metric to reach."""
    looks: int = 5
    """With `time_to_target`: most trainings of each code after the first, each halving what is not known of the time."""


class GpuFlag(Enum):
    """How a site wants GPUs to be asked for."""

    gres = "gres"
    gpus_per_node = "gpus-per-node"


@dataclass
class SlurmConfig:
    """What a site wants to see in a submission. Empty means that the option is not given."""

    partition: str = live("")
    """`--partition`."""
    account: str = live("")
    """`--account`."""
    qos: str = live("")
    """`--qos`."""
    gpu_flag: GpuFlag = live(GpuFlag.gres)
    """Option that asks for GPUs: `gres`, understood everywhere, or `gpus_per_node`, which some sites insist on."""
    gpu_type: str = live("")
    """GPU model as the site names it, e.g. `h100`."""
    constraint: str = live("")
    """`--constraint`: features of the nodes."""
    exclude: str = live("")
    """`--exclude`: nodes not to use, e.g. `n[1-2]`."""
    nodelist: str = live("")
    """`--nodelist`: nodes to use."""
    reservation: str = live("")
    """`--reservation`."""
    exclusive: bool = live(False)
    """Whether a job has its nodes for itself."""
    setup: list[str] = live(factory=list)
    """Shell lines before the trial, e.g. `module load cuda/12.4`; what they export reaches the training."""
    extra: dict[str, str] = live(factory=dict)
    """Other options of sbatch, name without dashes to value, e.g. `{licenses: scratch}`; an empty value for those that
    have none."""
    srun_args: list[str] = live(factory=list)
    """Other arguments of srun."""
    query_s: float = live(10.0)
    """Shortest pause between two queries, seconds. Results on disk are seen without any."""


@dataclass
class LlmConfig:
    """The language model. It is asked through litellm, which knows the providers."""

    kind: LlmKind = live(LlmKind.provider)
    """`provider`, or `replay`: answers from the recorded run `llm.source`, without key and network."""
    model: str = live("")
    """The model as litellm names it: PROVIDER/MODEL."""
    api_base: str = live("")
    """Address of the server; empty means the provider's own."""
    key_variable: str = live("")
    """Environment variable with the key."""
    key_file: str = live("")
    """File with the key, for your eyes only (mode 0600), where the variable is not set; empty means none."""
    key_optional: bool = live(False)
    """Whether the server may need no key."""
    max_tokens: int = live(16000)
    """Longest answer, tokens, hidden reasoning included."""
    context: int = live(128000)
    """Tokens that the model can take in, its answer included."""
    temperature: float | None = live(None)
    """Spread of the answers; none means the provider's own (many models allow no other)."""
    parallel: int = live(8)
    """Most requests in flight."""
    retries: int = live(8)
    """How often a request is sent again after a rate limit, a server's error or a time-out, before a longer pause."""
    timeout_s: float = live(600.0)
    """Longest wait for an answer, seconds."""
    cache_marks: bool = live(False)
    """Whether the provider wants the part of a prompt that it should cache to be marked."""
    usd_in: float | None = live(None)
    """Price of a million tokens of prompt, US dollars; none means as litellm knows it."""
    usd_cached: float | None = live(None)
    """Price of a million cached tokens of prompt, US dollars; none means `usd_in`."""
    usd_out: float | None = live(None)
    """Price of a million tokens of answer, US dollars; none means as litellm knows it."""
    source: str = live("")
    """With `replay`: a run folder."""


@dataclass
class BudgetConfig:
    """What a run may cost. Nothing new is started when a budget would be passed; what is paid for is finished."""

    gpu_hours: float = live(0.0)
    """GPU hours of all trials, those in flight counted up to their time limit; 0 means no limit."""
    reserve: float = live(0.2)
    """Share of `gpu_hours` kept for the elites at the end, 0 to 1."""
    usd: float = live(0.0)
    """Most US dollars for the language model, what is in flight included; 0 means no limit."""


@dataclass
class ClusterConfig:
    """Where jobs run."""

    kind: ClusterKind = live(ClusterKind.auto)
    """`slurm`, `local` (child processes), or `auto`: slurm where `sbatch` exists."""
    max_parallel: int = live(0)
    """Most jobs waiting or running at once; 0 means what the machine has (local) or 64 (slurm)."""
    poll_s: float = live(0.5)
    """Pause between two looks at the jobs, seconds."""
    scratch: str = live("")
    """Folder on the nodes for temporary files (each try has its own, which is removed) and for caches of compilers,
    variables of the job allowed, e.g. `/scratch/$USER` or `$SLURM_TMPDIR`; empty means TMPDIR, and caches as they are."""
    slurm: SlurmConfig = live(factory=SlurmConfig)
    """With kind=slurm: options of sbatch."""


@dataclass
class KeepConfig:
    """What stays on disk. Scores, logs, patches and metrics always stay."""

    checkpoints: Keep = live(Keep.elites)
    """Final checkpoints: `all`, those of the baseline and would-be `elites`, or `none`."""
    variants: Keep = live(Keep.all)
    """Code of scored candidates, which its patch gives again: `all`, that of would-be `elites`, or `none`."""


@dataclass
class StopConfig:
    """When a run ends: at the first rule that holds. Candidates under way are finished."""

    generations: int = live(3)
    """Number of generations."""
    candidates: int = live(0)
    """Number of candidates; 0 means no limit."""
    date: str = live("")
    """Date and time, ISO 8601, local unless it says otherwise; empty means none."""
    target: float | None = live(None)
    """A value of the metric that is good enough."""
    patience: int = live(0)
    """Generations without a better candidate; 0 means no limit."""


@dataclass
class Config:
    """One run. Compose one with Hydra: `python -m pipeline.run +experiment=… KEY=VALUE …`."""

    baseline: BaselineConfig = field(default_factory=BaselineConfig)
    """What is evolved."""
    size: dict[str, Any] = field(default_factory=dict)
    """Model, data and lengths at this scale; handed to the baseline as a JSON file that no patch can touch."""
    seed: int = 0
    """Seed of the search."""
    ideate: IdeateConfig = field(default_factory=IdeateConfig)
    """Stage 1."""
    implement: ImplementConfig = field(default_factory=ImplementConfig)
    """Stage 2."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """Stage 3."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    """Stage 4."""
    select: SelectConfig = field(default_factory=SelectConfig)
    """Stage 5."""
    llm: LlmConfig = live(factory=LlmConfig)
    """The language model, where `ideate` or `implement` is one."""
    budget: BudgetConfig = live(factory=BudgetConfig)
    """What may be spent."""
    cluster: ClusterConfig = live(factory=ClusterConfig)
    """Where jobs run."""
    keep: KeepConfig = live(factory=KeepConfig)
    """What stays on disk."""
    stop: StopConfig = live(factory=StopConfig)
    """When to end."""
    dry_run: bool = live(False)
    """Whether only to tell what a run would submit and cost, the language model by the real prompts; nothing is asked,
    trained or written."""
    run: str = live("")
    """Name of the run; empty makes a fresh one. The same name goes on with the run."""
    runs: str = live("runs")
    """Folder of the runs."""
    data: str = live("data")
    """Folder of prepared data."""
    scale: str = MISSING
    """Which of the sizes; set by `conf/size/`."""
