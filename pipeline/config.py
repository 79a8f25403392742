"""The schema of the configuration. Values are in `conf/`; `docs/reference/settings.md` is generated from this file.

Plain dataclasses and enums, because Hydra does not accept frozen ones. Every field is *fixed* for a run unless it is
made with `live(...)`: on resume, live values may change and fixed ones may not. The string under a field is its
documentation: meaning, then unit.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from pipeline.metric import Direction, Metric

Part = dict[str, Any]
"""A replaceable part: `_target_` names its class, the other keys are the class's arguments. An open map."""

MISSING = "???"
"""OmegaConf's marker of a required value."""


def live(default: Any = dataclasses.MISSING, *, factory: Callable[[], Any] | None = None) -> Any:
    """A field that may change when a run is resumed."""
    if factory is not None:
        return field(default_factory=factory, metadata={"live": True})
    return field(default=default, metadata={"live": True})


class Clock(Enum):
    """Unit of a trial's budget."""

    steps = "steps"
    wall = "wall"


class Network(Enum):
    """Network that a variant can reach."""

    none = "none"
    loopback = "loopback"
    host = "host"


class Format(Enum):
    """Format of code requested from a language model. Replies in any of the formats are accepted."""

    diff = "diff"
    blocks = "blocks"
    files = "files"


class IdeaKind(Enum):
    """Kind of ideas requested from a language model."""

    any = "any"
    algorithmic = "algorithmic"
    settings = "settings"


class LlmKind(Enum):
    """Source of the answers."""

    provider = "provider"
    replay = "replay"


class Mode(Enum):
    """When a generation opens."""

    generational = "generational"
    steady = "steady"


class Codes(Enum):
    """Codes whose time to a target is measured at the end."""

    none = "none"
    elites = "elites"
    scored = "scored"


class Objective(Enum):
    """Objective of the reinforcement learning of the ideator."""

    mean = "mean"
    max_at_k = "max_at_k"
    entropic = "entropic"


class Keep(Enum):
    """Folders that are kept after their trial is scored."""

    all = "all"
    elites = "elites"
    none = "none"


@dataclass
class MetricConfig:
    """The quantity to optimize."""

    name: str = MISSING
    """Name of the quantity."""
    direction: Direction = Direction.maximize
    """Which way is better: `maximize` or `minimize`."""
    low: float | None = None
    """Smallest plausible value; a lower score is a failure."""
    high: float | None = None
    """Largest plausible value; a higher score is a failure."""
    percent: bool = False
    """Whether it is displayed in percent."""

    @property
    def metric(self) -> Metric:
        """The metric as a `Metric`."""
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        return Metric(self.name, self.direction, low, high, self.percent)


@dataclass
class CurveConfig:
    """A quantity that `train` writes into metrics.jsonl, for `train.early_stop`."""

    name: str = ""
    """Its key in the lines of metrics.jsonl, which also contain `step` and `seconds`; empty: no curve."""
    direction: Direction = Direction.minimize
    """Which way is better: `maximize` or `minimize`."""


@dataclass
class CommandsConfig:
    """Command lines of a baseline, as lists of arguments. Placeholders in braces are replaced: `{python}`, `{size}`,
    `{seed}`, and those named below. Paths are absolute."""

    prepare: list[str] = field(default_factory=list)
    """Fetches and converts the data, once; gets `{data}`, writes `train/` and `evaluator/` into it."""
    build: list[str] = field(default_factory=list)
    """Compiles code that all variants share, on a node like those of the trials; gets `{train_data}` and `{output}`. If
    missing, `python -m pipeline build` runs `smoke`."""
    smoke: list[str] = field(default_factory=list)
    """Imports the variant and runs one training step on the CPU; gets `{train_data}` and `{output}`."""
    train: list[str] = field(default_factory=list)
    """Trains the variant; gets `{train_data}`, `{output}` and `{budget}`."""
    evaluate: list[str] = field(default_factory=list)
    """Scores a checkpoint with the pristine code; gets `{evaluator_data}`, `{checkpoint}`, `{split}`, `{result}` and, with
    `serve`, `{exchange}`."""
    serve: list[str] = field(default_factory=list)
    """Runs the variant's model code for `evaluate`, in the variant's folder, while `evaluate` runs; gets `{checkpoint}`
    and `{exchange}`. Optional."""
    servers: int = 1
    """Number of `serve` processes. Each has its own `{exchange}`: a folder inside the `{exchange}` of `evaluate`, named
    by its number from 0."""


@dataclass
class BaselineConfig:
    """The training codebase to evolve. To use your own, see docs/how-to/bring-your-own-training-code.md."""

    name: str = MISSING
    """Name; prepared data is in `data/NAME/SCALE/`."""
    folder: str = MISSING
    """Folder of the code: absolute, or relative to the parent of the folder of `--config-dir` or to this repository."""
    ignore: list[str] = field(
        default_factory=lambda: [
            *(".venv/", "venv/", "node_modules/", "wandb/", "outputs/", "multirun/", "runs/", "checkpoints/"),
            *("*.ckpt", "*.pt", "*.pth", "*.safetensors", ".DS_Store", "*.egg-info/", "build/", "dist/"),
        ]
    )
    """Globs of files in `folder` that are not code (as in .gitignore), in addition to the folder's own .gitignore
    files."""
    description: str = ""
    """Text for the ideator: what is trained, how it is scored, which rules apply."""
    evolvable: list[str] = field(default_factory=list)
    """Globs of the files a patch may touch (as in .gitignore)."""
    protected: list[str] = field(default_factory=list)
    """Globs of the files a patch may not touch. They override `evolvable`; a file that matches neither is protected."""
    shown: list[str] = field(default_factory=list)
    """Globs of the files an ideator is shown."""
    commands: CommandsConfig = field(default_factory=CommandsConfig)
    """Its command lines."""
    environment: dict[str, str] = field(default_factory=dict)
    """Environment variables of `smoke`, `train`, `evaluate` and `serve`."""
    checkpoint: list[str] = field(
        default_factory=lambda: ["*.safetensors", "*.json", "*.txt", "*.model", "*.csv", "*.npy"]
    )
    """Globs of the file names allowed in a checkpoint. Formats that execute code when they are read, such as pickle,
    must not be allowed."""
    interpreter: str = ""
    """Python interpreter for the commands; empty means the interpreter of the pipeline."""
    metric: MetricConfig = field(default_factory=MetricConfig)
    """The quantity that the evaluator measures."""
    curve: CurveConfig = field(default_factory=CurveConfig)
    """What shows during training how well it does; not a score."""
    continues: bool = False
    """Whether `train` can stop part-way and be continued. Then `{budget}` of a rung is e.g. `steps=20/80`: stop after 20
    steps of a training of 80, write a checkpoint and all that is needed to continue (`resume/`). Schedules follow the 80.
    Without it each rung is a training of its own."""
    ideas: str = "ideas"
    """Folder of the idea bank inside `folder`; optional."""
    descriptors: dict[str, Any] = field(default_factory=dict)
    """Secondary metrics of the evaluator that distinguish kinds of candidates with `select=map_elites`, with the edges
    between kinds, e.g. `{tokens_per_step: [1000, 4000]}`."""
    settings_file: str = ""
    """The evolvable file with the settings: Python, YAML or JSON; empty if there is none. In a YAML or JSON file a
    setting is named by its keys, e.g. `optimizer.lr`."""
    settings_class: dict[str, str] = field(default_factory=dict)
    """Scale to the dataclass of its settings in a Python file. Without a dataclass, the settings are the constants at
    the top level of the file."""
    packages: list[str] = field(default_factory=list)
    """Globs of additional packages that prompts list as importable. Prompts always list the installed packages that the
    code imports, and common ones of the field, e.g. torch."""


@dataclass
class ResourcesConfig:
    """Resources that one job requests from the cluster."""

    nodes: int = 1
    """Number of nodes."""
    gpus_per_node: int = 0
    """GPUs on each node."""
    cpus_per_task: int = 1
    """Processor cores on each node."""
    mem_gb: float = 4.0
    """Memory on each node, GB; a variant that uses more is killed. The request to Slurm is half a GB larger, for the
    pipeline's own processes."""
    time_min: int = 30
    """Time limit of the job, minutes."""

    @property
    def device(self) -> str:
        """Device in which usage is counted: `GPU` or `core`."""
        return "GPU" if self.gpus_per_node else "core"

    @property
    def devices(self) -> int:
        """Number of devices that one job holds."""
        return self.nodes * (self.gpus_per_node or self.cpus_per_task)


@dataclass
class IdeateConfig:
    """Proposing ideas."""

    maker: Part = field(default_factory=lambda: {"_target_": "pipeline.makers.bank_ideator.BankIdeator"})
    """The ideator: a class with the methods of `Ideator` in `pipeline/makers/base.py`. The files of
    `conf/ideate/` name the built-in ones."""
    candidates: int = 4
    """Ideas in a generation; the maximum with `search.mode=steady`. 0: only users' proposals are tried."""
    exploit_start: float = 0.5
    """Share of exploit ideas in generation 1."""
    exploit_step: float = 0.1
    """Increase of the share in every second generation."""
    exploit_max: float = 0.8
    """Maximum of the share."""
    patch_share: float = 0.7
    """Share of the bank's ideas that are published ones; the others change settings."""
    batch: int = 10
    """Maximum number of ideas requested from a language model at once."""
    history_tokens: int = 12000
    """Maximum tokens about earlier candidates in a prompt for ideas; fewer if `llm.context` is small."""
    kind: IdeaKind = IdeaKind.any
    """Kind of ideas requested from a language model: `any`, `algorithmic` (changes of the code, not of settings alone)
    or `settings` (other values only)."""
    similarity: float = 1.0
    """Share of equal character trigrams, 0 to 1, at which two ideas count as the same; with `llm.roles.embedder` the cosine
    of their embeddings. Such an idea is returned to the language model with the title of its twin. Ideas with other parents
    or other numbers are never twins. 1: only ideas with nearly the same words are."""
    widen: float = 0.0
    """How much more a search explores when its ideas become more alike, 0 to 1: the share of exploit ideas is multiplied
    by 1 - `widen` · rise, where rise, 0 to 1, compares the last two generations with the first two. 0: not at all."""
    lessons_every: int = 0
    """Number of generations after which a language model writes a note on what worked, what failed and what to try.
    Later prompts include the note. 0: no notes."""
    seeds: list[str] = live(factory=list)
    """Folders of other runs, for their elites, or of single candidates. Each becomes a candidate of the next
    generation, once."""


@dataclass
class ImplementConfig:
    """Turning ideas into variants."""

    maker: Part = field(default_factory=lambda: {"_target_": "pipeline.makers.bank_implementer.BankImplementer"})
    """The implementer: a class with the methods of `Implementer` in `pipeline/makers/base.py`. The files of
    `conf/implement/` name the built-in ones."""
    parallel: int = live(1)
    """Number of candidates that are implemented and smoke-tested at once."""
    smoke_limit_min: float = 2.0
    """Time limit of the smoke test, minutes."""
    format: Format = Format.blocks
    """Format of code requested from a language model: `diff` (unified), `blocks` (search and replace) or `files`
    (whole files)."""
    samples: int = 1
    """Number of answers requested in parallel; the first usable one is used, and all are paid for."""
    revisions: int = 2
    """Number of times that an unusable answer is returned to the model with the reason."""
    similarity: float = 1.0
    """Share of equal parts in the changed syntax, 0 to 1, at which a change is refused before training because a scored
    candidate with the same parents has nearly the same one. Later prompts show the reason and name the twin. 1: only equal
    code is refused."""
    crash_repairs: int = 0
    """Number of times that code that crashes, in the smoke test or in training, is returned to the model with the end
    of the log."""
    command: list[str] = live(factory=list)
    """With `implement=command`: the program and its arguments. It runs in a copy of the code, in the sandbox of
    `train.sandbox` and with this machine's network; `{idea}` is a file with the task, `{code}` the folder. Its changes
    there are the patch."""
    command_environment: list[str] = live(factory=list)
    """Names of environment variables that the command gets in addition to those of every trial, e.g.
    `ANTHROPIC_API_KEY`."""
    command_read: list[str] = live(factory=list)
    """Files and folders that the command may read, e.g. `~/.config/agent`."""
    command_limit_min: float = live(30.0)
    """Time limit of the command, minutes."""


@dataclass
class TrainConfig:
    """Training one variant with one seed."""

    clock: Clock = Clock.steps
    """Unit of the budget: training `steps` or `wall` time."""
    budget_steps: int = 0
    """Training steps, with clock=steps."""
    budget_min: float = 0.0
    """Minutes from start to exit of `train`, summed over tries, with clock=wall."""
    limit_min: float = 10.0
    """Hard time limit of `train`, minutes. With clock=wall it must exceed the budget."""
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    """Resources of the job."""
    sandbox: Part = field(default_factory=lambda: {"_target_": "pipeline.sandbox.auto.Auto"})
    """Sandbox of the variant's processes: a class with the methods of `Sandbox` in `pipeline/sandbox/base.py`. The
    files of `conf/train/sandbox/` name the built-in ones: `auto`, `bubblewrap`, `apptainer`, `landlock` and `none`."""
    network: Network = Network.loopback
    """Network that a variant can reach while it trains: `none`, `loopback` (its own processes on this node) or `host`
    (everything that the node can reach). Training on several nodes requires `host`."""
    early_stop: float = 0.0
    """Share of the budget after which a candidate's training is stopped if its `baseline.curve` is worse than the baseline's
    was at the same place; below 1; 0: never. It then fails with `stopped_early` and has no score."""
    retries: int = live(2)
    """Number of retries of a trial after infrastructure faults."""
    disk_gb: float = live(1.0)
    """Maximum size of the output of one try, checkpoint and resume state, GB. A wave is submitted only if it fits on
    the disk."""

    @property
    def budget(self) -> float:
        """The budget, in steps or minutes, the unit of the clock."""
        return self.budget_steps if self.clock is Clock.steps else self.budget_min

    def with_budget(self, budget: float | None) -> "TrainConfig":
        """A copy with another budget, in the unit of the clock; unchanged for none."""
        if budget is None:
            return self
        if self.clock is Clock.steps:
            return replace(self, budget_steps=int(budget))
        return replace(self, budget_min=budget)


@dataclass
class EvaluateConfig:
    """Scoring a checkpoint."""

    limit_min: float = 5.0
    """Time limit of `evaluate`, minutes."""


@dataclass
class SearchConfig:
    """Scheduling of the search."""

    mode: Mode = Mode.generational
    """`generational`: a generation opens when the previous one has its selection. `steady`: a small generation opens
    whenever slots would be idle, with parents chosen from all outcomes read so far; `stop.generations` then counts
    multiples of `ideate.candidates`."""
    ahead: float = live(0.25)
    """With `steady`: share of the slots for which candidates are prepared in advance, so that no slot waits for an
    idea, its code or its smoke test. A larger share hides a slower ideator but bases each idea on fewer outcomes."""
    rungs: list[float] = field(default_factory=list)
    """Shares of a trial's budget, rising and below 1, e.g. `[0.25]`: a candidate is first trained with this part of the
    budget, and gets more only if it is among the best. Empty: every candidate gets the whole budget. A final 1 is
    dropped."""
    keep: float = 0.5
    """Share of the candidates that pass a rung, above 0 and at most 1."""


@dataclass
class SelectConfig:
    """Choosing the parents."""

    method: Part = field(default_factory=lambda: {"_target_": "pipeline.methods.thompson.Thompson"})
    """The search method: a class with the methods of `SearchMethod` in `pipeline/methods/base.py`. The files of
    `conf/select/` name the built-in ones."""
    quorum: float = 1.0
    """Share of a generation that must have outcomes before the next one is proposed, 0 to 1. If it is below 1, the next
    one is also proposed when slots would be idle. Late outcomes count in the next selection."""
    baseline_seeds: int = 3
    """Trials of the unmodified baseline."""
    canary: bool = True
    """Whether the unmodified baseline is trained again in each later generation if `cluster.unattended` is true. It
    distinguishes a changed machine from bad ideas and improves the estimate of the noise."""
    parents: int = 4
    """With `select=truncation`: maximum number of parents."""
    margin: float = 1.0
    """With `select=truncation`: standard errors of the difference by which a parent must beat the baseline."""
    confirm: list[list[int]] = field(default_factory=list)
    """The race that chooses the elites at the end of the search: rounds, each `[candidates, seeds]`, e.g. `[[6, 2], [3,
    2]]`. The best candidates by search score are trained with other seeds; the better ones enter the next round, and
    the best of the last round are the elites. A candidate without a chance gets no further seed. Empty: no race, the
    best by search score are the elites."""
    elites: int = 2
    """Number of best candidates that are trained again at the end and tested on the test split."""
    elite_seeds: int = 3
    """Final trials of each elite, with seeds that chose nothing."""


@dataclass
class MeasureConfig:
    """Measurement at the end of a run: the time that each code takes to reach a target."""

    codes: Codes = Codes.none
    """Codes to measure: `none`, the baseline and the `elites`, or the baseline and all `scored` candidates."""
    target: float | None = None
    """Value of the metric to reach."""
    trainings: int = 5
    """Maximum number of trainings of each code after the first; each halves the interval that contains the time."""


class GpuFlag(Enum):
    """The option that requests GPUs."""

    gres = "gres"
    gpus_per_node = "gpus-per-node"


class Memory(Enum):
    """The option that requests memory."""

    per_node = "per_node"
    per_cpu = "per_cpu"
    per_gpu = "per_gpu"
    none = "none"


@dataclass
class SlurmConfig:
    """Options of a submission to Slurm. Empty: the option is not passed."""

    partition: str = live("")
    """`--partition`."""
    account: str = live("")
    """`--account`."""
    qos: str = live("")
    """`--qos`."""
    clusters: str = live("")
    """`--clusters`: the cluster to use if one Slurm manages several; passed to every Slurm command."""
    memory: Memory = live(Memory.per_node)
    """How `train.resources.mem_gb` is requested: `per_node` (`--mem`), `per_cpu` (`--mem-per-cpu`, divided by the cores),
    `per_gpu` (`--mem-per-gpu`, divided by the GPUs), or `none`: the site's default."""
    gpu_flag: GpuFlag = live(GpuFlag.gres)
    """Option that requests GPUs: `gres`, supported everywhere, or `gpus_per_node`, which some sites require."""
    gpu_type: str = live("")
    """GPU model as the site names it, e.g. `h100`."""
    constraint: str = live("")
    """`--constraint`: features of the nodes."""
    exclude: str = live("")
    """`--exclude`: nodes to avoid, e.g. `n[1-2]`."""
    nodelist: str = live("")
    """`--nodelist`: nodes to use."""
    reservation: str = live("")
    """`--reservation`."""
    exclusive: bool = live(False)
    """Whether a job has exclusive use of its nodes."""
    setup: list[str] = live(factory=list)
    """Shell lines to run before the trial, e.g. `module load cuda/12.4`; the training gets the variables that they
    export."""
    extra: dict[str, str] = live(factory=dict)
    """Other options of sbatch: name without dashes to value, e.g. `{licenses: scratch}`; an empty value for a flag."""
    srun_args: list[str] = live(factory=list)
    """Other arguments of srun."""
    query_s: float = live(10.0)
    """Minimum time between two queries, seconds. Results on disk are read without a query."""


@dataclass
class LlmConfig:
    """The language model, called through litellm."""

    kind: LlmKind = live(LlmKind.provider)
    """`provider`, or `replay`: answers of the recorded run `llm.source`, without key or network."""
    model: str = live("")
    """Model in litellm's notation: PROVIDER/MODEL."""
    api_base: str = live("")
    """Address of the server; empty means the provider's own."""
    key_variable: str = live("")
    """Environment variable with the key."""
    key_file: str = live("")
    """File with the key, of mode 0600, read if the variable is not set; empty means none."""
    key_optional: bool = live(False)
    """Whether the key is optional."""
    max_tokens: int = live(16000)
    """Maximum length of an answer, including hidden reasoning, tokens."""
    context: int = live(128000)
    """Context length of the model, including its answer, tokens."""
    temperature: float | None = live(None)
    """Sampling temperature; null means the provider's default (many models accept no other)."""
    parallel: int = live(8)
    """Maximum number of requests in flight."""
    retries: int = live(8)
    """Number of retries of a request after a rate limit, a server error or a time-out, before a longer pause."""
    timeout_s: float = live(600.0)
    """Time limit of a request, seconds."""
    cache_marks: bool = live(False)
    """Whether the provider requires a mark on the part of a prompt to cache."""
    system_role: bool = live(True)
    """Whether the model accepts a system message; false adds its text to the first user message."""
    structured: bool = live(False)
    """Whether ideas are requested with a JSON schema (`response_format`), if the provider supports it according to
    litellm."""
    parameters: dict[str, Any] = live(factory=dict)
    """Additional parameters of a request, passed to litellm, e.g. `{reasoning_effort: high, top_p: 0.9}`. They override
    settings of the same name; null removes a parameter; `max_completion_tokens` replaces `max_tokens`."""
    roles: dict[str, Any] = live(factory=dict)
    """Other settings of `llm` for one role: `{ideator: {…}, implementer: {…}, judge: {…}, embedder: {…}}`. A role with
    another `model` does not inherit the prices; with another provider, it inherits no setting that depends on the provider.
    `embedder` is an embedding model for `ideate.similarity`; it requires a `model` and inherits no `parameters`."""
    ideators: list[Any] = live(factory=list)
    """Several models for ideas: each a name, or settings of `llm` that override those of the ideator, e.g. `[openai/a,
    {model: anthropic/b}]`. A model is requested more often the more of its ideas become parents per US dollar and GPU hour.
    Empty: one model."""
    implementers: list[Any] = live(factory=list)
    """The same for code."""
    usd_in: float | None = live(None)
    """Price of a million prompt tokens, US dollars; null means litellm's price."""
    usd_cached: float | None = live(None)
    """Price of a million cached prompt tokens, US dollars; null means `usd_in`."""
    usd_out: float | None = live(None)
    """Price of a million answer tokens, US dollars; null means litellm's price."""
    source: str = live("")
    """With `replay`: the recorded run's folder."""


@dataclass
class BudgetConfig:
    """Limits on the cost of a run. Nothing that could exceed a budget is started; jobs and requests in flight are
    finished."""

    gpu_hours: float = live(0.0)
    """Maximum GPU hours of all trials; trials in flight count up to their time limit; 0 means no limit."""
    reserve: float = live(0.2)
    """Share of `gpu_hours` reserved for the elites at the end, 0 to 1."""
    usd: float = live(0.0)
    """Maximum US dollars for the language model, including requests in flight; 0 means no limit."""
    device_hour_usd: float = live(2.0)
    """Price of a GPU hour, or of a core hour without GPUs, US dollars. Used only to compare the cost of models
    (`llm.ideators`)."""


@dataclass
class ClusterConfig:
    """The machines that run jobs."""

    backend: Part = live(factory=dict)
    """Backend that runs jobs: a class with the methods of `Cluster` in `pipeline/cluster/base.py`. The files of
    `conf/cluster/` name the built-in ones; empty (`cluster=auto`) means Slurm if `sbatch` exists, else child
    processes."""
    unattended: bool = live(False)
    """Whether jobs run unattended, as on a cluster."""
    max_parallel: int = live(0)
    """Maximum number of trials queued or running at once; 0 means as many as the machine has GPUs or cores for (local) or
    64 (slurm)."""
    pack: int = live(1)
    """With `cluster=slurm`: number of trials in one job, for sites that allocate whole nodes. `train.resources` are
    those of one trial; the job requests `pack` times as much. 1: one job per trial."""
    pack_wait_s: float = live(300.0)
    """How long trials that are ready wait for others to fill a pack while candidates are being prepared, seconds."""
    poll_s: float = live(0.5)
    """Time between two ticks, seconds."""
    scratch: str = live("")
    """Folder on the nodes for temporary files (one folder per try, removed afterwards) and for compiler caches. It may
    contain variables of the job, e.g. `/scratch/$USER` or `$SLURM_TMPDIR`; empty means TMPDIR, and the default
    caches."""
    slurm: SlurmConfig = live(factory=SlurmConfig)
    """With `cluster=slurm`: options of sbatch."""


@dataclass
class NotifyConfig:
    """Notifications about an unattended run."""

    command: list[str] = live(factory=list)
    """Program that notifies you, with arguments, e.g. `[mail, -s, "{text}", me@example.org]`; empty: no notifications.
    `{text}` is the message, which the program also gets on stdin. It is called when the run pauses or waits for a user,
    if the policy may collapse, at 80 and 100 % of `budget.gpu_hours` and `budget.usd`, when a new best is confirmed and at
    the end; for the same cause at most once an hour. The run does not wait for it."""


@dataclass
class KeepConfig:
    """What is kept on disk. Scores, logs, patches and metrics are always kept."""

    checkpoints: Keep = live(Keep.elites)
    """Final checkpoints to keep: `all`, those of the baseline and would-be `elites`, or `none`."""
    variants: Keep = live(Keep.all)
    """Code of scored candidates to keep: `all`, only of would-be `elites`, or `none`. Deleted code can be restored from
    the patch."""


@dataclass
class RlConfig:
    """Reinforcement learning of the ideator from executed ideas. Used with `ideate=policy`."""

    objective: Objective = Objective.max_at_k
    """Objective of an update: the `mean` reward of the ideas (GRPO as in the paper), the expected maximum of `rl.k` of
    them (`max_at_k`), or the `entropic` utility of "Learning to Discover at Test Time"."""
    k: int = 8
    """With `max_at_k`: number of ideas of which the best counts."""
    kl: float = 0.6931471805599453
    """With `entropic`: divergence of the weights of a group from uniform ones, nats; the default is ln 2."""
    normalize: bool = True
    """Whether the advantages of a group are divided by their root mean square, as GRPO does."""
    penalty: float = 3.0
    """Penalty on the share of equal ideas in a group, in units of the normalised advantage; 0: none."""
    novelty: float = 0.0
    """Bonus for ideas that are rare in the archive, 1/sqrt(1 + occurrences), in the same unit; 0: none."""
    length: float = 0.0
    """Reward for thinking, in the same unit, times its length as a share of `rl.new_tokens`; 0: none. The paper tried one
    against thinking that shrinks."""
    shown: int = 0
    """With `rl.model`: number of executed ideas, drawn anew for each step, whose title and score stand in the prompt where
    it says `{shown}`, else at its end. The paper calls it a dynamic prompt."""
    staleness: int = 1
    """Maximum number of updates between the policy that sampled an idea and the update that learns from it; rewards
    that arrive later are not used."""
    cap: float = 2.0
    """Maximum of the importance weight of a late idea."""
    temperature: float = 1.0
    """Sampling temperature; also used for the probabilities in training."""
    new_tokens: int = 64
    """Maximum length of an answer, including thinking, tokens."""
    dtype: str = "float32"
    """Data type of the weights: `float32`, `bfloat16` or `float16`."""
    lora_rank: int = 0
    """Rank of the trained adapter (LoRA); 0: all weights are trained."""
    lora_layers: str = "all-linear"
    """Layers with an adapter: `all-linear`, or a regular expression for their names (`target_modules` of peft)."""
    learning_rate: float = 1e-5
    """Constant learning rate of AdamW."""
    weight_decay: float = 0.0
    """Weight decay of AdamW."""
    max_grad_norm: float = 1.0
    """Maximum norm of the gradient; larger gradients are clipped."""
    epochs: int = 1
    """Number of passes over the ideas in an update."""
    minibatch: int = 64
    """Ideas in a step of the optimizer."""
    microbatch: int = 64
    """Ideas in a forward pass."""
    clip: float = 0.2
    """Distance below 1 at which the probability ratio of a token is clipped."""
    clip_high: float = 0.2
    """Distance above 1 at which it is clipped."""
    zero_stage: int | None = None
    """Stage of DeepSpeed's ZeRO, 0 to 3, on all GPUs that `rl.update` requests, one process each; null: torch in one
    process."""
    gradient_checkpointing: bool = False
    """Whether activations are recomputed in the backward pass, to save memory."""
    model: str = ""
    """The policy at the start: a folder or a name on the Hugging Face hub. Empty: the tiny policy, which `prepare`
    creates in `data/policy/BASELINE_SCALE` and which samples ideas of the bank."""
    prompt: str = ""
    """Prompt of the policy `rl.model`; `{parent}` is replaced by title and text of a parent's idea, if the search
    method chose a parent. Empty: the prompt of `ideate=llm` for a first idea."""
    collapse_share: float = 0.2
    """Share of the most common idea above which an alarm is raised."""
    sample: ResourcesConfig = field(default_factory=ResourcesConfig)
    """Resources of a sampling job."""
    update: ResourcesConfig = field(default_factory=ResourcesConfig)
    """Resources of an update job."""


@dataclass
class StopConfig:
    """Stop rules. The search ends at the first rule that applies; candidates in progress are finished."""

    generations: int = live(3)
    """Maximum number of generations."""
    candidates: int = live(0)
    """Maximum number of candidates; 0 means no limit."""
    date: str = live("")
    """Date and time, ISO 8601, local unless it has an offset; empty means no limit."""
    target: float | None = live(None)
    """Value of the metric at which to stop. The single score of a candidate counts, so a lucky one can end the search."""
    patience: int = live(0)
    """Generations without a better single score after which to stop; 0 means no limit."""


@dataclass
class Config:
    """One run, composed by Hydra: `python -m pipeline.run +experiment=… KEY=VALUE …`."""

    baseline: BaselineConfig = field(default_factory=BaselineConfig)
    """The training codebase to evolve."""
    size: dict[str, Any] = field(default_factory=dict)
    """Model, data and lengths at this scale; passed to the baseline as a JSON file that patches cannot change."""
    seed: int = 0
    """Seed of the search."""
    ideate: IdeateConfig = field(default_factory=IdeateConfig)
    """Stage 1: ideas."""
    implement: ImplementConfig = field(default_factory=ImplementConfig)
    """Stage 2: code."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """Stage 3: training."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    """Stage 4: scoring."""
    select: SelectConfig = field(default_factory=SelectConfig)
    """Stage 5: choosing the parents."""
    search: SearchConfig = field(default_factory=SearchConfig)
    """Scheduling of the search."""
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    """Measurement at the end."""
    rl: RlConfig = field(default_factory=RlConfig)
    """Reinforcement learning of the ideator, with `ideate=policy`."""
    llm: LlmConfig = live(factory=LlmConfig)
    """The language model, for an ideator or implementer that uses it."""
    budget: BudgetConfig = live(factory=BudgetConfig)
    """Limits on the cost."""
    cluster: ClusterConfig = live(factory=ClusterConfig)
    """The machines that run jobs."""
    notify: NotifyConfig = live(factory=NotifyConfig)
    """Notifications."""
    keep: KeepConfig = live(factory=KeepConfig)
    """What is kept on disk."""
    stop: StopConfig = live(factory=StopConfig)
    """Stop rules."""
    dry_run: bool = live(False)
    """Print what would be submitted and its cost, then exit. The cost of the language model is estimated from the real
    prompts. Nothing is requested, trained or written."""
    run: str = live("")
    """Name of the run; empty means a new name. The same name resumes the run."""
    group: str = live("")
    """Name of the run's group, whose runs are compared; set by `run -m` and `arms`."""
    arms: list[str] = live(factory=list)
    """Methods to compare, the one in question first: names of experiments, each with its own settings behind it, as
    `evolve_posttrain select=puct`. Starts `seeds` runs of each arm, with shared baselines and equal budgets, and
    compares them."""
    seeds: int = live(1)
    """With `arms`: number of runs of each arm, with the seeds `seed`, `seed + 1`, …"""
    arm: str = live("")
    """The arm that the run belongs to; set by `arms`."""
    baseline_of: str = live("")
    """Name of a run in `runs` with the same code, data, settings of trials and seed, whose baseline a new run takes over
    instead of training it again; set by `arms`."""
    runs: str = live("runs")
    """Folder of the runs."""
    data: str = live("data")
    """Folder of prepared data."""
    own_code: str = live("")
    """Folder with your own classes for `_target_`; empty means the parent of `--config-dir`."""
    scale: str = MISSING
    """Name of the scale; set by `conf/scale/`."""
    prompts: dict[str, str] = field(default_factory=dict)
    """Your own prompt templates by name: the files `prompts/NAME.md` in the parent of `--config-dir`. Each replaces
    `pipeline/makers/prompts/NAME.md` and gets the same variables."""
