"""The nouns of a run as frozen data. Each is one JSON file of the run folder, or a part of one.

Standard library only. Which file holds what is in `pipeline/store/paths.py`; the same names appear as keys in JSON
(a trailing underscore, needed where the name is a Python keyword, is left out there).
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

FORMAT = 1
"""Number of the run folder's format; a folder of another number is refused."""


class Stage(StrEnum):
    """The five stages of a candidate, in order."""

    IDEATE = "ideate"
    IMPLEMENT = "implement"
    TRAIN = "train"
    EVALUATE = "evaluate"
    SELECT = "select"


class Kind(StrEnum):
    """Why there is no score. The kinds below the line are faults of machines: they are retried and never held
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
    """The program ended with an error."""
    NAN = "nan"
    """A metric became NaN or infinite."""
    OUT_OF_MEMORY = "out_of_memory"
    """The processes of the variant used more than their memory."""
    OVER_BUDGET = "over_budget"
    """The checkpoint was closed later than the budget allows."""
    TIMEOUT = "timeout"
    """Still running when the guard time was over."""
    NO_CHECKPOINT = "no_checkpoint"
    """Training ended well but left no checkpoint."""
    BAD_CHECKPOINT = "bad_checkpoint"
    """The evaluator cannot use the checkpoint."""
    IMPLAUSIBLE = "implausible"
    """The value lies outside the metric's declared range."""
    LEAK = "leak"
    """The model sees what it must predict."""
    # ---- infrastructure ----
    CANCELLED = "cancelled"
    """Ended by somebody else."""
    INTERRUPTED = "interrupted"
    """Ended together with its controller; does not count as a retry."""
    VANISHED = "vanished"
    """The job is gone and left no result."""
    NODE_FAIL = "node_fail"
    """The node died, or did not start the job."""
    PREEMPTED = "preempted"
    """Another job took the place."""
    FILE_SYSTEM = "file_system"
    """No space, over quota, or a file handle gone stale."""
    DEVICE = "device"
    """The GPU, its driver or the network between GPUs failed."""
    OTHER_GPU = "other_gpu"
    """It ran on another model of GPU than the run is measured on."""
    SPOILED = "spoiled"
    """An unmodified baseline failed alike at that time; does not count as a retry."""

    @property
    def infrastructure(self) -> bool:
        """Whether the machine is at fault rather than the idea."""
        return self in _INFRASTRUCTURE


_INFRASTRUCTURE = frozenset(
    {
        Kind.CANCELLED,
        Kind.INTERRUPTED,
        Kind.VANISHED,
        Kind.NODE_FAIL,
        Kind.PREEMPTED,
        Kind.FILE_SYSTEM,
        Kind.DEVICE,
        Kind.OTHER_GPU,
        Kind.SPOILED,
    }
)


@dataclass(frozen=True)
class Failure:
    """No score, and why. A value, never a number."""

    stage: Stage
    """Where it ended."""
    kind: Kind
    """What class of trouble it is."""
    reason: str
    """For people and for the next prompt: one line, then the last lines of the log where there is one."""
    try_: str | None = None
    """The try that decided, as `try_0`; none before training."""
    attempt: str | None = None
    """The attempt that decided, as `attempt_0`; only in a candidate's failure.json."""
    twin: str | None = None
    """With `duplicate`: the attempt with the same code, as `generation_000/candidate_003/attempt_0`; its score is shared."""


@dataclass(frozen=True)
class Score:
    """What the evaluator found for one trained checkpoint."""

    metric: str
    """Name of the metric."""
    value: float
    """Its value; finite."""
    standard_error: float
    """Standard error of this one evaluation, over problems (accuracy) or rows (loss)."""
    n: int
    """Number of problems or rows."""
    split: str
    """`validation`, which selection sees, or `test`, which it never does."""
    seed: int
    """Seed of the training."""
    try_: str = "try_0"
    """The try whose checkpoint was scored."""
    secondary: Mapping[str, float] = field(default_factory=dict)
    """Other numbers the evaluator reports."""

    def __post_init__(self) -> None:
        numbers = (self.value, self.standard_error, *self.secondary.values())
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError("a score must be finite")
        if self.standard_error < 0 or self.n < 1:
            raise ValueError("a score needs n >= 1 and a standard error >= 0")


@dataclass(frozen=True)
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
    """Longest run time, minutes; waiting in a queue does not count."""


@dataclass(frozen=True)
class Change:
    """What an idea of the bank does to its parents' code. Ideas in words only have none."""

    patch: str | None = None
    """Name of a patch of the bank to apply."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings to change: name to new value."""
    join: bool = False
    """Whether the code of two parents is merged."""
    text: str | None = None
    """Code that a person gave with the idea: a diff, blocks or whole files, on the first parent's code."""


@dataclass(frozen=True)
class Idea:
    """A proposal in words (idea.json)."""

    title: str
    """A few words."""
    text: str
    """What to do and why, enough to implement it."""
    origin: str
    """Where it comes from: `explore`, `exploit`, `tune`, `human`, `seed` (an elite of another run)."""
    parents: tuple[str, ...] = ()
    """Ids of the candidates it builds on, e.g. `generation_000/candidate_003`; none builds on the baseline."""
    source: str = ""
    """Publication it was taken from, if any."""
    change: Change | None = None
    """The change as data, where the idea came with one."""


@dataclass(frozen=True)
class Message:
    """One turn of a conversation with a language model."""

    role: str
    """`system`, `user` or `assistant`."""
    text: str
    """What is said."""


@dataclass(frozen=True)
class Prompt:
    """What a language model is asked (llm/…/prompt.json)."""

    purpose: str
    """What for: `first`, `explore`, `exploit`, `implement`, `repair_patch` or `repair_crash`."""
    messages: tuple[Message, ...]
    """The conversation. Its first message is the same for all prompts of a run, so that a provider can cache it."""

    @property
    def key(self) -> str:
        """Name of its folder: equal for equal words, whichever model is asked."""
        words = json.dumps([[message.role, message.text] for message in self.messages])
        return f"{self.purpose}-{hashlib.sha256(words.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class Usage:
    """What answers of a language model took."""

    tokens_in: int = 0
    """Tokens of the prompts, cached ones too."""
    tokens_cached: int = 0
    """Those that the provider read from its cache of prompts, at a lower price."""
    tokens_out: int = 0
    """Tokens of the answers, those of hidden reasoning too."""
    usd: float | None = 0.0
    """Their price, US dollars; none where it is not known."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.tokens_in + other.tokens_in,
            self.tokens_cached + other.tokens_cached,
            self.tokens_out + other.tokens_out,
            None if self.usd is None or other.usd is None else self.usd + other.usd,
        )


@dataclass(frozen=True)
class Completion:
    """What a language model answered (llm/…/sample_K.json): paid once, read from here ever after."""

    text: str
    """The answer; empty where it refused."""
    finish: str
    """Why it ended: `stop`, `length` (cut off), `content_filter` (refused), `context` (the prompt is too long)."""
    model: str
    """The model, as the provider names it."""
    usage: Usage = field(default_factory=Usage)
    """What it took."""
    requests: int = 1
    """How often it was asked until it answered."""
    seconds: float = 0.0
    """From the first request to the answer."""
    at: float = 0.0
    """When the answer came, seconds since 1970."""


@dataclass(frozen=True)
class Implementation:
    """How an attempt came to its patch (implement.json)."""

    maker: str
    """The bank, a person, or the name of a model."""
    paths: tuple[str, ...]
    """Files that differ from the baseline."""
    syntax: str
    """Hash of the changed files' syntax trees; equal for equal code."""
    tries: int = 1
    """How many texts were asked for."""
    usage: Usage | None = None
    """What they took; none where no language model was asked."""


@dataclass(frozen=True)
class Smoke:
    """The attempt imports and takes one step (smoke.json); closes the implementation."""

    seconds: float
    """Run time."""


@dataclass(frozen=True)
class Job:
    """What one try is to do (job.json), written before it is submitted and again when its id is known."""

    name: str
    """Name in the cluster's lists; unique among all runs."""
    seed: int
    """Seed of training and of the evaluation's sampling."""
    split: str
    """Split to score on."""
    train: bool = True
    """Whether to train first; else the checkpoint of `checkpoint` is scored."""
    checkpoint: str | None = None
    """Without training: the checkpoint's folder, relative to the run folder."""
    go_on_from: str | None = None
    """An earlier try, as `try_0`, whose resume state this one starts from."""
    used_s: float = 0.0
    """Seconds of training that earlier tries of this trial have used and kept."""
    job_id: str | None = None
    """The cluster's id; none until the submission is recorded."""
    submitted_at: float | None = None
    """Seconds since 1970."""
    budget: float | None = None
    """Budget of the training in the unit of the clock, steps or minutes; none means that of the run."""


@dataclass(frozen=True)
class Claim:
    """Who runs a try (claim.json): created once, by the first process that wants it. The controller claims a try it
    gives up on, so that a job that starts late finds it taken and leaves."""

    job_id: str
    """The cluster's id as the job sees it, or `void`."""
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


@dataclass(frozen=True)
class Seconds:
    """Where the time of a try went."""

    start_up: float = 0.0
    """Claim to start of training."""
    train: float = 0.0
    """Start to exit of `train`."""
    evaluate: float = 0.0
    """Start to exit of `evaluate`."""


@dataclass(frozen=True)
class Result:
    """How a try ended (result.json), written by the job as its last act."""

    ended: Ended
    """Scored or failed."""
    score: Score | None = None
    """With `scored`."""
    failure: Failure | None = None
    """With `failed`."""
    seconds: Seconds = Seconds()
    """Where the time went."""
    host: str = ""
    """Node it ran on."""
    gpu: str = ""
    """Model of the GPU; empty without one."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Python and the packages that matter."""
    started_at: float = 0.0
    """Seconds since 1970."""
    ended_at: float = 0.0
    """Seconds since 1970."""


@dataclass(frozen=True)
class Standing:
    """One code's place in a comparison with the baseline."""

    candidate: str
    """Id of the candidate, or `baseline`."""
    value: float
    """Mean over its trials."""
    standard_error: float
    """Of the mean, both parts of the noise."""
    trials: int
    """How many trials went into it."""
    gain: float = 0.0
    """How much better than the baseline; positive is better."""
    gain_error: float = 0.0
    """Standard error of the gain."""


@dataclass(frozen=True)
class Selection:
    """What was decided after a generation (selection.json), and on what."""

    seen: tuple[str, ...]
    """Candidates whose outcomes were known."""
    baseline: Standing
    """The reference."""
    seed_sd: float
    """Standard deviation of the baseline's trials."""
    parents: tuple[str, ...]
    """Who may be built upon, best first."""
    standings: tuple[Standing, ...]
    """All scored candidates, best first."""
    banned: Mapping[str, str] = field(default_factory=dict)
    """Candidates that a person had banned by then, with the reason."""


@dataclass(frozen=True)
class Parents:
    """Who may be built upon in a generation (parents.json): it opens the generation."""

    candidates: tuple[str, ...] = ()
    """Ids, best first; empty means only the baseline."""
    exploit_share: float = 0.0
    """Share of the generation's ideas that build on them."""
    proposals: tuple[str, ...] = ()
    """Ideas of people, and elites of other runs, that the generation takes up beside its own: names in `proposals/`."""


@dataclass(frozen=True)
class Mark:
    """What a person decided about a candidate (`marks/`): every selection from then on is bound by it."""

    pinned: bool
    """Whether it is a parent and an elite whatever else scores, once it has a score; else it is banned: never either."""
    reason: str
    """Why."""
    by: str
    """Who."""
    at: float
    """Seconds since 1970."""


@dataclass(frozen=True)
class TimeToTarget:
    """How long one code takes to a value of the metric."""

    candidate: str
    """Id of the candidate, or `baseline`."""
    target: float
    """The value."""
    unit: str
    """Of budgets: `steps` or `minutes`."""
    budget: float | None
    """The smallest budget that reached it; none if the whole budget did not."""
    train_s: float | None
    """Seconds of training with that budget, from the start of the process to its exit; evaluation is not in it."""
    short: float
    """The largest smaller budget that fell short; 0 if none was tried."""
    trainings: int
    """How many trainings tell this."""


@dataclass(frozen=True)
class Report:
    """The end of a run (report.json)."""

    stopped: str
    """The stop rule that ended it."""
    candidates: int
    """How many were tried."""
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
    """With `select.method=time_to_target`: the baseline's first."""


@dataclass(frozen=True)
class Pause:
    """Why a run starts nothing new (pause.json). What runs goes on and is read."""

    by: str
    """Who asked for it."""
    reason: str
    """Why."""
    at: float
    """Seconds since 1970."""


@dataclass(frozen=True)
class Alarm:
    """Unrelated candidates, or the baseline, began to fail alike (alarms/alarm_K/alarm.json). Until it has a verdict,
    nothing is trained but one unmodified baseline."""

    signature: str
    """What the failures have in common."""
    candidates: tuple[str, ...]
    """Who raised it, the newest first; none where it was a trial of the baseline."""
    trial: str
    """The baseline's trial that decides, as `trial_3`."""
    since: float
    """When the first of them ended, seconds since 1970."""


@dataclass(frozen=True)
class Verdict:
    """What the baseline's trial showed (alarms/alarm_K/verdict.json)."""

    machine: bool
    """Whether the machine is at fault: the failures count no longer, and the run waits for a person."""
    candidates: tuple[str, ...] = ()
    """Whose failures were taken back."""
    at: float = 0.0
    """Seconds since 1970."""


@dataclass(frozen=True)
class Event:
    """One line of events.jsonl: for people and plots, never read to decide."""

    at: float
    """Seconds since 1970."""
    what: str
    """What happened, in a word or two."""
    where: str = ""
    """Folder inside the run."""
    detail: str = ""
    """More words."""
