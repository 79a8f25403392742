"""The records of a run as frozen data. Each is one JSON file of the run folder, or a part of one.

Standard library only. `pipeline/store/paths.py` lists the files. The field names are the keys in JSON, without the
trailing underscore of names that are Python keywords.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pipeline.text import plain, split_reasoning

FORMAT = 2
"""Number of the run folder's format; a folder of another format is refused."""


class Stage(StrEnum):
    """The five stages of a candidate, in order."""

    IDEATE = "ideate"
    IMPLEMENT = "implement"
    TRAIN = "train"
    EVALUATE = "evaluate"
    SELECT = "select"


class Purpose(StrEnum):
    """Purpose of a trial. It is recorded in the job and in the score; the number of the trial has no meaning."""

    SEARCH = "search"
    """A candidate's trial, which selection uses."""
    BASELINE = "baseline"
    """The unmodified code: the reference and its noise."""
    CANARY = "canary"
    """The unmodified code, later in the run: distinguishes a changed machine from bad ideas."""
    CONFIRM = "confirm"
    """A candidate in the race for the elites, or an elite, trained again with another seed after the search."""
    TEST = "test"
    """A checkpoint of another trial scored on the test split; trains nothing."""
    LOOK = "look"
    """A training with its own budget, for the time to a target (`measure.*`)."""
    RUNG = "rung"
    """A training with part of the budget, which decides whether the candidate gets more."""


class FailureKind(StrEnum):
    """Why there is no score. The kinds below the line are infrastructure faults: they are retried and never count
    against an idea."""

    CONFLICT = "conflict"
    """The parents' patches do not merge."""
    REFUSED = "refused"
    """The patch does not apply, touches a protected file, or changes nothing."""
    DUPLICATE = "duplicate"
    """The same code was tried before."""
    SMOKE = "smoke"
    """The variant does not import or does not take one training step."""
    EXCEPTION = "exception"
    """The program exited with an error."""
    NAN = "nan"
    """A metric became NaN or infinite."""
    OUT_OF_MEMORY = "out_of_memory"
    """The processes of the variant used more than their memory."""
    OVER_BUDGET = "over_budget"
    """The checkpoint was closed later than the budget allows."""
    TIMEOUT = "timeout"
    """Still running at the time limit."""
    NO_CHECKPOINT = "no_checkpoint"
    """Training succeeded but left no checkpoint."""
    BAD_CHECKPOINT = "bad_checkpoint"
    """The evaluator cannot use the checkpoint."""
    IMPLAUSIBLE = "implausible"
    """The value lies outside the metric's declared range."""
    OVER_LIMIT = "over_limit"
    """It wrote more, or started more processes, than it may."""
    COPIED = "copied"
    """The checkpoint equals one of other code: it was copied, or the change has no effect."""
    LEAK = "leak"
    """The model has access to what it must predict."""
    STOPPED_EARLY = "stopped_early"
    """Not among the best after part of the budget (`search.rungs`), or worse than the baseline was (`train.early_stop`)."""
    # ---- infrastructure ----
    CANCELLED = "cancelled"
    """Cancelled by someone else."""
    INTERRUPTED = "interrupted"
    """Stopped together with its controller; does not count as a retry."""
    VANISHED = "vanished"
    """The job disappeared without a result."""
    NODE_FAIL = "node_fail"
    """The node failed, or did not start the job."""
    PREEMPTED = "preempted"
    """Preempted by another job."""
    FILE_SYSTEM = "file_system"
    """No space left, over quota, or a stale file handle."""
    DEVICE = "device"
    """The GPU, its driver or the network between GPUs failed."""
    OTHER_GPU = "other_gpu"
    """The trial ran on another GPU model than the baseline."""
    SPOILED = "spoiled"
    """The unmodified baseline failed in the same way at that time; does not count as a retry."""
    ALTERED = "altered"
    """A file of the run's code or data changed since the run started. Pauses the run."""

    @property
    def infrastructure(self) -> bool:
        """Whether it is an infrastructure fault, not a fault of the idea."""
        return self in _INFRASTRUCTURE


_INFRASTRUCTURE = frozenset(
    {
        FailureKind.CANCELLED,
        FailureKind.INTERRUPTED,
        FailureKind.VANISHED,
        FailureKind.NODE_FAIL,
        FailureKind.PREEMPTED,
        FailureKind.FILE_SYSTEM,
        FailureKind.DEVICE,
        FailureKind.OTHER_GPU,
        FailureKind.SPOILED,
        FailureKind.ALTERED,
    }
)


@dataclass(frozen=True, slots=True)
class Failure:
    """The absence of a score, with the reason. Never a number."""

    stage: Stage
    """Stage that failed."""
    kind: FailureKind
    """Kind of failure."""
    reason: str
    """For people and for the next prompt: one line, then the last lines of the log, if any."""
    try_: str | None = None
    """The try that decided, e.g. `try_0`; null before training."""
    attempt: str | None = None
    """The attempt that decided, e.g. `attempt_0`; only in a candidate's failure.json."""
    twin: str | None = None
    """With `duplicate`: the attempt with the same code, e.g. `generation_000/candidate_003/attempt_0`; its score is
    shared."""
    order: int = 0
    """In a candidate's failure.json: position of this outcome among those of all candidates of the run, from 1."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", plain(self.reason))  # contains output of programs and models


@dataclass(frozen=True, slots=True)
class Score:
    """The evaluator's result for one checkpoint."""

    metric: str
    """Name of the metric."""
    value: float
    """Its value; finite."""
    standard_error: float
    """Standard error of this one evaluation, over problems (accuracy) or rows (loss)."""
    n: int
    """Number of problems or rows."""
    split: str
    """`validation`, which selection uses, or `test`, which it never uses."""
    seed: int
    """Seed of the training."""
    try_: str = "try_0"
    """The try whose checkpoint was scored."""
    secondary: Mapping[str, float] = field(default_factory=dict)
    """Other numbers that the evaluator reports, by name."""
    purpose: Purpose = Purpose.SEARCH
    """What the trial was for."""
    order: int = 0
    """With `search`: position of this outcome among those of all candidates of the run, from 1."""
    sandbox: str = ""
    """Kind of sandbox in which the variant was trained; empty in scores of earlier versions."""
    network: str = ""
    """Network that the variant could reach: `none`, `loopback` or `host`."""
    checkpoint: str = ""
    """SHA-256 of the names and contents of the checkpoint's files."""

    def __post_init__(self) -> None:
        numbers = (self.value, self.standard_error, *self.secondary.values())
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError("a score must be finite")
        if self.standard_error < 0 or self.n < 1:
            raise ValueError("a score needs n >= 1 and a standard error >= 0")


@dataclass(frozen=True, slots=True)
class Resources:
    """What one job needs."""

    nodes: int = 1
    """Number of nodes."""
    gpus_per_node: int = 0
    """GPUs on each node."""
    cpus_per_task: int = 1
    """Processor cores on each node."""
    mem_gb: float = 4.0
    """Memory on each node, GB."""
    time_min: int = 30
    """Time limit, minutes; waiting in the queue does not count."""


@dataclass(frozen=True, slots=True)
class Change:
    """The change of an idea as data. An idea that is only text has none."""

    patch: str | None = None
    """Name of an idea of the bank. The bank's implementer applies its patch; other implementers use the text."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings to change: name to new value."""
    join: bool = False
    """Whether the code of two parents is merged."""
    text: str | None = None
    """Code that a user supplied with the idea: a diff, blocks or whole files, on the first parent's code."""
    exact: bool = False
    """Whether `text` is a diff that this program wrote and that must apply exactly; else it is parsed as tolerantly as
    a language model's answer."""
    more: tuple[str, ...] = ()
    """Names of other ideas of the bank that are merged with it."""


@dataclass(frozen=True, slots=True)
class Idea:
    """A proposal as text (idea.json)."""

    title: str
    """A few words."""
    text: str
    """What to do and why, in enough detail to implement it."""
    origin: str
    """Origin: `explore`, `exploit`, `tune`, `policy`, `human`, `seed` (an elite of another run)."""
    parents: tuple[str, ...] = ()
    """Ids of the candidates it builds on, e.g. `generation_000/candidate_003`; empty if it builds on the baseline."""
    source: str = ""
    """Publication it was taken from, if any."""
    change: Change | None = None
    """The change as data, if the idea has one."""
    maker: str = ""
    """Who proposed it: the name of a language model, or the class of another ideator; empty where a person brought it
    in."""
    usd: float | None = None
    """Its share of the price of the answers that it was read from, US dollars; null if unknown or none was requested."""
    implementer: str = ""
    """Name of the model of `llm.implementers` that is asked for its code; empty where there is no choice."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation with a language model."""

    role: str
    """`system`, `user` or `assistant`."""
    text: str
    """Its text."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request to a language model (llm/…/prompt.json)."""

    purpose: str
    """One of `first`, `explore`, `exploit`, `lessons`, `implement`, `repair_patch`, `repair_crash` and `embed`."""
    messages: tuple[Message, ...]
    """The conversation; with `embed` the name of the model and the texts. Within a run, all prompts for ideas share the
    first message, and so do all prompts for code, so that a provider can cache it."""
    schema: Mapping[str, Any] | None = None
    """JSON schema of the answer, for `llm.structured`; null for free text. Not part of the key."""

    @property
    def key(self) -> str:
        """Name of the prompt's folder: equal for equal text, whatever the model."""
        words = json.dumps([[message.role, message.text] for message in self.messages])
        return f"{self.purpose}-{hashlib.sha256(words.encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and price of answers of a language model."""

    tokens_in: int = 0
    """Tokens of the prompts, including cached ones."""
    tokens_cached: int = 0
    """Prompt tokens that the provider read from its cache, at a lower price."""
    tokens_out: int = 0
    """Tokens of the answers, including hidden reasoning."""
    usd: float | None = 0.0
    """Price, US dollars; null if unknown."""
    uncertain: bool = False
    """Whether the provider's numbers were missing or impossible, and were estimated or corrected."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.tokens_in + other.tokens_in,
            self.tokens_cached + other.tokens_cached,
            self.tokens_out + other.tokens_out,
            None if self.usd is None or other.usd is None else self.usd + other.usd,
            self.uncertain or other.uncertain,
        )


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer of a language model (llm/…/sample_K.json): paid for once, then read from here."""

    text: str
    """The model's text, including any reasoning that the server left in it; empty if the model refused."""
    finish: str
    """Finish reason: `stop`, `length` (cut off at `llm.max_tokens`), `reasoning` (only reasoning, no answer),
    `content_filter` (refused), `context` (the prompt is too long), `tool_calls`, `unknown` (not reported by the
    server)."""
    model: str
    """Name of the model, as reported by the provider."""
    usage: Usage = field(default_factory=Usage)
    """Tokens and price."""
    requests: int = 1
    """Number of requests until it answered."""
    seconds: float = 0.0
    """Seconds from the first request to the answer."""
    at: float = 0.0
    """Time of the answer, seconds since 1970."""
    message: str = ""
    """The server's message if it gave no answer."""

    @property
    def answer(self) -> str:
        """The text without reasoning; empty if it contains only reasoning."""
        return split_reasoning(self.text).answer

    @property
    def usable(self) -> bool:
        """Whether it contains a complete answer. If not, the prompt is sent again when the settings change."""
        return bool(self.answer.strip()) and self.finish != "length"


@dataclass(frozen=True, slots=True)
class Implementation:
    """The origin of an attempt's patch (implement.json)."""

    maker: str
    """Author: the bank, a user, or the name of a model."""
    paths: tuple[str, ...]
    """Files that differ from the baseline."""
    syntax: str
    """Hash of the changed files' syntax trees; equal for equal code."""
    tries: int = 1
    """Number of answers requested."""
    usage: Usage | None = None
    """Tokens and price; null without a language model."""


@dataclass(frozen=True, slots=True)
class Smoke:
    """The variant imports and takes one training step (smoke.json); closes the implementation."""

    seconds: float
    """Run time."""


@dataclass(frozen=True, slots=True)
class Job:
    """The task of one try (job.json), written before submission and again when the id is known."""

    name: str
    """Job name in the cluster; unique among all runs."""
    seed: int
    """Seed of training and of the evaluation's sampling."""
    split: str
    """Split to score on."""
    of: str | None = None
    """With `test`: the trial of the same code whose checkpoint is scored, e.g. `trial_1`; null for a training."""
    resume_from: str | None = None
    """An earlier try, e.g. `try_0`, whose resume state this try starts from; `trial_0/try_0` for that of a rung."""
    used_s: float = 0.0
    """Training time that earlier tries of this trial have used and kept, seconds."""
    job_id: str | None = None
    """The cluster's id; null until the submission is recorded."""
    submitted_at: float | None = None
    """Seconds since 1970."""
    budget: float | None = None
    """Budget of the training in the unit of the clock, steps or minutes; null means the budget of the run."""
    purpose: Purpose = Purpose.SEARCH
    """Purpose of the trial."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The process that runs a try (claim.json): created once, by the first process that starts it. The controller claims a
    try that it gives up, so that a job that starts late exits at once."""

    job_id: str
    """The cluster's id as the job sees it, or `void` for a try that was given up."""
    host: str
    """Node."""
    pid: int
    """Process."""
    at: float
    """Seconds since 1970."""


class Ended(StrEnum):
    """How a try ended."""

    SCORED = "scored"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Seconds:
    """Durations of the parts of a try."""

    start_up: float = 0.0
    """Claim to start of training."""
    train: float = 0.0
    """Start to exit of `train`."""
    evaluate: float = 0.0
    """Start to exit of `evaluate`."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of the node that a try trained on, and its peak use. With several nodes, values of the first."""

    host_gb: float | None = None
    """Memory (RAM) of the node, GB; null if unknown."""
    host_peak_gb: float | None = None
    """Peak host memory of the processes of `train`, GB; null if unknown."""
    gpu_gb: float | None = None
    """Memory of each GPU, GB; null if unknown or without a GPU."""
    gpu_peak_gb: float | None = None
    """Peak memory of one of the job's GPUs, sampled every 5 seconds, GB; null if unknown or without a GPU."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a try ended (result.json); the last file that the job writes. For a job that disappeared, the controller
    writes it (ended.json); a score or a failure of the idea that the job writes later counts instead."""

    ended: Ended
    """Scored or failed."""
    score: Score | None = None
    """With `scored`."""
    failure: Failure | None = None
    """With `failed`."""
    seconds: Seconds = Seconds()
    """Durations of its parts."""
    host: str = ""
    """Node it ran on."""
    gpu: str = ""
    """Model of the GPU; empty without a GPU."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions of Python and of the main packages."""
    started_at: float = 0.0
    """Seconds since 1970."""
    ended_at: float = 0.0
    """Seconds since 1970."""
    memory: Memory = Memory()
    """Memory during training."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One code compared with the baseline."""

    candidate: str
    """Id of the candidate, or `baseline`."""
    value: float
    """Mean over its trials."""
    standard_error: float
    """Standard error of the mean, with both parts of the noise."""
    trials: int
    """Number of trials in the mean."""
    gain: float = 0.0
    """Gain over the baseline; positive means better."""
    gain_error: float = 0.0
    """Standard error of the gain."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What a decision was based on: every outcome up to a watermark, and the baseline as it was known then."""

    outcomes: int = 0
    """Watermark: outcomes with an `order` up to this number had been read."""
    generations: int = 0
    """Generations with a lower number were complete: all their ideas were known."""
    baseline: Standing | None = None
    """The reference; null while the baseline has no score."""
    seed_sd: float = 0.0
    """Standard deviation of the baseline's trials."""
    banned: Mapping[str, str] = field(default_factory=dict)
    """Candidates that users had banned by then, with the reason."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The decision after a generation (selection.json) and its basis. It closes the generation."""

    parents: tuple[str, ...]
    """Ids of the parents, best first."""
    seen: Knowledge
    """The basis of the decision."""
    draws: tuple[str, ...] = ()
    """One parent for each idea of the next generation that builds on a parent, if the method drew them."""


@dataclass(frozen=True, slots=True)
class Parents:
    """The parents of a generation (parents.json). It opens the generation."""

    candidates: tuple[str, ...] = ()
    """Ids, best first; empty means only the baseline."""
    exploit_share: float = 0.0
    """Share of the generation's ideas that build on them, 0 to 1."""
    ideas: int = 0
    """Number of ideas requested from the ideator; lowered if it has no more."""
    proposals: tuple[str, ...] = ()
    """Ideas of users and elites of other runs that the generation also includes: names in `proposals/`."""
    seen: Knowledge = Knowledge()
    """The basis of the choice; prompts of the generation mention nothing later."""
    draws: tuple[str, ...] = ()
    """One of `candidates` for each idea that builds on a parent, in order of the ideas' numbers. If empty, the ideator
    chooses among them and prefers better ones."""

    @property
    def size(self) -> int:
        """Number of candidates of the generation when it is complete."""
        return self.ideas + len(self.proposals)


@dataclass(frozen=True, slots=True)
class Mark:
    """A user's decision about a candidate (`marks/`), which every later selection respects."""

    pinned: bool
    """True: always a parent and an elite once it has a score. False: banned, never a parent or an elite."""
    reason: str
    """Reason; shown to the ideator."""
    by: str
    """User who decided."""
    at: float
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class TimeToTarget:
    """Time that one code takes to reach a value of the metric."""

    candidate: str
    """Id of the candidate, or `baseline`."""
    target: float
    """The value."""
    unit: str
    """Unit of budgets: `steps` or `minutes`."""
    budget: float | None
    """The smallest budget that reached it; null if the whole budget did not."""
    train_s: float | None
    """Duration of the training with that budget, from start to exit of the process, without evaluation, seconds."""
    short: float
    """The largest budget below it that did not reach the value; 0 if none was tried."""
    trainings: int
    """Number of trainings that this is based on."""


@dataclass(frozen=True, slots=True)
class EliteTest:
    """Comparison of one code that was an elite with the baseline on the test split. Only final trials count: their
    seeds chose nothing."""

    candidate: str
    """Id of the candidate."""
    value: float
    """Mean over its trials on the test split."""
    seeds: int
    """Number of trials in the mean."""
    failed: int
    """Number of final trials that failed because of the code; if there are any, no gain is claimed."""
    gain: float
    """Gain over the baseline on the test split; positive means better."""
    gain_error: float
    """Standard error of the gain: seed noise and the choice of test items."""
    low: float | None
    """Lower limit of the gain; null if the seed noise is unknown. The lower limits of all tests of the run hold
    together with probability 95 %."""
    high: float | None
    """Upper limit of the gain; the lower and upper limits of all tests hold together with probability 90 %."""
    p_value: float
    """Probability of at least this gain if there is no true gain; one-sided."""
    corrected: float
    """The p-value corrected for all tests of the run (Holm)."""
    significant: bool
    """Whether a gain is claimed: `corrected` is below 5 %."""
    paired: bool
    """Whether the error is based on the scores of single test items; else on standard errors, which claims less."""
    search: float | None
    """Score of the search trial, on the validation split."""
    excess: float | None
    """Gain of the search score over `value`: the winner's curse, plus the difference between the splits."""
    touches: int
    """Number of scorings of this code on the test split, retries included."""
    sandbox: str = ""
    """Kinds of sandbox that its trials ran in; empty if the scores do not record it."""


@dataclass(frozen=True, slots=True)
class Report:
    """The end of a run (report.json)."""

    stopped: str
    """The stop rule that ended it."""
    candidates: int
    """Number of candidates."""
    failures: Mapping[str, int]
    """Number of failed candidates by `stage/kind`."""
    baseline: Standing
    """On the validation split."""
    elites: tuple[Standing, ...]
    """On the validation split, best first, trained again with other seeds."""
    baseline_test: Standing | None
    """On the test split."""
    elites_test: tuple[Standing, ...]
    """On the test split, in the order of `elites`."""
    seed_sd: float
    """Standard deviation of the baseline's trials on the validation split."""
    times: tuple[TimeToTarget, ...] = ()
    """With `measure.codes`: the time to the target of each code, the baseline first."""
    tests: tuple[EliteTest, ...] = ()
    """The elites on the test split, in the order of `elites`, then codes that an earlier report of this run tested."""
    touches: int = 0
    """Number of scorings on the test split in this run, the baseline's and retries included."""


class PolicyWork(StrEnum):
    """The two tasks of a step of reinforcement learning."""

    SAMPLE = "sample"
    """The policy samples the ideas of a generation."""
    UPDATE = "update"
    """The weights are updated from the rewards of ideas."""


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """An idea that an update learns from."""

    step: int
    """The step that sampled it."""
    number: int
    """Number of the sample in that step; equals the number of its candidate."""
    reward: float
    """The value of its score (its reciprocal if lower is better), or 0 if the idea failed."""
    advantage: float
    """Advantage by `rl.objective`; positive makes the idea more probable."""


@dataclass(frozen=True, slots=True)
class PolicyTask:
    """One task of the policy (policy/step_NNN/sample/task.json, update/task.json)."""

    work: PolicyWork
    """Kind of task."""
    step: int
    """The step of the policy that samples, or that the update starts from."""
    seed: int
    """Seed of sampling, or of the order of minibatches."""
    made_for: int
    """Step that the checkpoint was made for, as it says itself."""
    checkpoint: str
    """Folder of the policy inside the run; empty: `rl.model` itself."""
    prompts: tuple[str, ...] = ()
    """With `sample`: one for each idea, in order of the candidates' numbers."""
    rows: tuple[PolicyRow, ...] = ()
    """With `update`: the ideas to learn from."""
    samples: Mapping[str, str] = field(default_factory=dict)
    """With `update`: step to its file of samples inside the run."""
    optimizer: str = ""
    """With `update`: folder with the optimizer's state inside the run; empty before the first."""


@dataclass(frozen=True, slots=True)
class PolicyStep:
    """The policy of a step (policy/step_NNN/step.json); closes the update that made it."""

    step: int
    """Number of the step."""
    made_for: int
    """Step that the checkpoint was made for, as it says itself; an earlier one where updates were left out."""
    checkpoint: str
    """Its folder inside the run; empty: `rl.model` itself."""
    optimizer: str = ""
    """Folder with the optimizer's state inside the run; empty before the first update."""


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """Describes a checkpoint of the ideator's policy (policy.json); closes it."""

    step: int
    """Step that it was made for."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer of the policy."""

    prompt: tuple[int, ...]
    """Token ids of the prompt."""
    tokens: tuple[int, ...]
    """Token ids of the answer: thinking, idea and end token."""
    logprobs: tuple[float, ...]
    """Log-probability of each of these tokens when it was sampled, nats."""
    entropy: float
    """Mean entropy of the distributions they were sampled from, nats per token."""
    thinking: int
    """Number of thinking tokens."""
    text: str
    """The answer as text."""


@dataclass(frozen=True, slots=True)
class UpdateMeasures:
    """Measurements of one policy update."""

    rows: int
    """Number of ideas that it learned from."""
    loss: float
    """Mean loss over the optimizer's steps."""
    gradient_norm: float
    """Mean norm of the gradient before clipping."""
    ratio: float
    """Mean probability ratio of a token to the policy at the start of the update."""
    ratio_max: float
    """Largest of these ratios."""
    clipped: float
    """Share of tokens whose ratio was clipped."""
    weight: float
    """Mean importance weight of an idea, truncated."""
    truncated: float
    """Share of ideas whose weight was truncated."""
    kl_start: float | None = None
    """Mean over the ideas of log pi - log pi_0, where pi_0 is the policy at the start of the run, nats per token; null if
    all weights are trained and sharded (`rl.zero_stage=3`)."""


@dataclass(frozen=True, slots=True)
class Derived:
    """Origin of a run that was derived from a candidate of another run (derived.json)."""

    what: str
    """`rerun` or `ablation`."""
    run: str
    """Name of the candidate's run."""
    candidate: str
    """Id of the candidate there."""
    changed: tuple[str, ...] = ()
    """Settings that can affect a score and differ from that run, each as `key: old -> new`."""


@dataclass(frozen=True, slots=True)
class TaskResult:
    """How a job of the policy ended (result.json); the last file that it writes."""

    failure: Failure | None = None
    """Why it failed; null if it succeeded."""
    measures: UpdateMeasures | None = None
    """Measurements of an update."""
    host: str = ""
    """Node it ran on."""
    started_at: float = 0.0
    """Seconds since 1970."""
    ended_at: float = 0.0
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class StepMeasures:
    """Measurements of a step of reinforcement learning (policy/step_NNN/measures.json), as of its update."""

    step: int
    """The step that sampled the ideas."""
    ideas: int
    """Number of ideas sampled."""
    known: int
    """Number of ideas with a reward."""
    reward_mean: float | None
    """Mean reward; null if none is known."""
    reward_quantiles: tuple[float, ...]
    """Reward at the quantiles 0.1, 0.5, 0.9 and 1."""
    best_so_far: float | None
    """Largest reward of this step and those before."""
    distinct: int
    """Number of distinct ideas, by the hash of the code, or by the text if there is no code."""
    common_share: float
    """Share of the most common idea, 0 to 1."""
    unreadable: int
    """Number of answers without an idea."""
    entropy: float
    """Mean entropy of the policy at sampling, nats per token."""
    thinking: float
    """Mean length of the thinking, tokens."""
    idea_length: float
    """Mean length of the text after the thinking, tokens."""
    failures: Mapping[str, int]
    """Number of ideas that failed, by kind."""
    staleness: Mapping[str, int]
    """Number of ideas that the update learned from, by their age in steps."""
    sample_h: float
    """GPU hours of sampling; core hours without a GPU."""
    execute_h: float
    """GPU or core hours of those of the step's trials that have ended."""
    update_h: float
    """GPU or core hours of the update; 0 if there was nothing to learn from."""
    update: UpdateMeasures | None = None
    """Measurements of the update; null if there was nothing to learn from."""
    alarms: tuple[str, ...] = ()
    """Signs of a collapse of the policy."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Why a run starts nothing new (pause.json). Jobs in flight finish and are read."""

    by: str
    """User who paused it."""
    reason: str
    """Why it was paused."""
    at: float
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Holdup:
    """A cause that holds up part of the run. The operation is retried automatically, if that can help."""

    what: str
    """The operation that is held up, e.g. `submitting jobs`."""
    reason: str
    """Observed cause."""
    since: float
    """When it began, seconds since 1970."""
    next_at: float | None = None
    """Time of the next try, seconds since 1970; null if a user has to act."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the run waits for (waiting.json)."""

    holdups: tuple[Holdup, ...]
    """At least one; oldest first."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Unrelated candidates, or the baseline, fail in the same way (alarms/alarm_K/alarm.json). Until the alarm has a
    verdict, only one trial of the unmodified baseline is trained."""

    signature: str
    """What the failures have in common."""
    candidates: tuple[str, ...]
    """Candidates that raised it, newest first; empty if a trial of the baseline raised it."""
    seed: int
    """Seed of the baseline's trial that decides."""
    since: float
    """End of the first of these failures, seconds since 1970."""


@dataclass(frozen=True, slots=True)
class AlarmVerdict:
    """The result of the baseline's trial (alarms/alarm_K/verdict.json)."""

    machine: bool
    """Whether the machine is at fault. If so, the failures are withdrawn, and the run waits for a user."""
    candidates: tuple[str, ...] = ()
    """Candidates whose failures were withdrawn."""
    at: float = 0.0
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of events.jsonl: for users and plots, never read to decide."""

    at: float
    """Seconds since 1970."""
    what: str
    """Name of the event."""
    where: str = ""
    """Folder inside the run."""
    detail: str = ""
    """Details."""
