"""The meaning of Slurm's states and reasons: two tables, and texts for users.

Source: "Job State Codes" and "Job Reason Codes" of slurm.schedmd.com, 21.08 to 25.05. Where the pages do not say whether a
job can ever start, the table assumes that it can: a waiting job costs nothing, a cancelled job loses its place in the queue.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from pipeline.cluster.base import Phase
from pipeline.errors import ClusterRefused
from pipeline.records import FailureKind


class BadSlurmText(ClusterRefused):
    """Slurm printed something that cannot be parsed. Nothing can be concluded from it: treating it as "done" would lose
    jobs."""


class SlurmState(StrEnum):
    """Slurm's states, and flags that `squeue` and `sacct` print in their place, in Slurm's spelling."""

    PENDING = "PENDING"
    CONFIGURING = "CONFIGURING"
    POWER_UP_NODE = "POWER_UP_NODE"
    REQUEUED = "REQUEUED"
    REQUEUE_FED = "REQUEUE_FED"
    REQUEUE_HOLD = "REQUEUE_HOLD"
    RESV_DEL_HOLD = "RESV_DEL_HOLD"
    SPECIAL_EXIT = "SPECIAL_EXIT"

    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    STOPPED = "STOPPED"
    SIGNALING = "SIGNALING"
    RESIZING = "RESIZING"
    STAGE_OUT = "STAGE_OUT"
    UPDATE_DB = "UPDATE_DB"
    COMPLETING = "COMPLETING"

    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    TIMEOUT = "TIMEOUT"
    DEADLINE = "DEADLINE"
    CANCELLED = "CANCELLED"
    PREEMPTED = "PREEMPTED"
    REVOKED = "REVOKED"
    NODE_FAIL = "NODE_FAIL"
    BOOT_FAIL = "BOOT_FAIL"
    LAUNCH_FAILED = "LAUNCH_FAILED"
    RECONFIG_FAIL = "RECONFIG_FAIL"


@dataclass(frozen=True)
class Meaning:
    """The meaning of a state for a job that left no result file."""

    phase: Phase
    """Whether the job waits, runs or has ended."""
    kind: FailureKind | None = None
    """What ended it, if the state alone says so. `kind.infrastructure` says whether it was a machine fault."""

    @property
    def over(self) -> bool:
        """Whether the job will never run again."""
        return self.phase is Phase.ENDED


_WAITS, _RUNS = Meaning(Phase.PENDING), Meaning(Phase.RUNNING)

MEANING: dict[SlurmState, Meaning] = {
    SlurmState.PENDING: _WAITS,
    SlurmState.CONFIGURING: _WAITS,  # its nodes are booting, so the job does not run yet
    SlurmState.POWER_UP_NODE: _WAITS,
    SlurmState.REQUEUED: _WAITS,
    SlurmState.REQUEUE_FED: _WAITS,
    SlurmState.REQUEUE_HOLD: _WAITS,  # a person has to release it
    SlurmState.RESV_DEL_HOLD: _WAITS,
    SlurmState.SPECIAL_EXIT: _WAITS,
    SlurmState.RUNNING: _RUNS,
    SlurmState.SUSPENDED: _RUNS,
    SlurmState.STOPPED: _RUNS,
    SlurmState.SIGNALING: _RUNS,
    SlurmState.RESIZING: _RUNS,
    SlurmState.STAGE_OUT: _RUNS,
    SlurmState.UPDATE_DB: _RUNS,
    SlurmState.COMPLETING: _RUNS,  # an epilog may still run; the final state is not known yet
    SlurmState.COMPLETED: Meaning(Phase.ENDED),
    SlurmState.FAILED: Meaning(Phase.ENDED),  # the result file or the log says why
    SlurmState.OUT_OF_MEMORY: Meaning(Phase.ENDED, FailureKind.OUT_OF_MEMORY),
    SlurmState.TIMEOUT: Meaning(Phase.ENDED, FailureKind.TIMEOUT),
    SlurmState.DEADLINE: Meaning(Phase.ENDED, FailureKind.CANCELLED),
    SlurmState.CANCELLED: Meaning(Phase.ENDED, FailureKind.CANCELLED),
    SlurmState.PREEMPTED: Meaning(Phase.ENDED, FailureKind.PREEMPTED),
    SlurmState.REVOKED: Meaning(Phase.ENDED, FailureKind.CANCELLED),
    SlurmState.NODE_FAIL: Meaning(Phase.ENDED, FailureKind.NODE_FAIL),
    SlurmState.BOOT_FAIL: Meaning(Phase.ENDED, FailureKind.NODE_FAIL),
    SlurmState.LAUNCH_FAILED: Meaning(Phase.ENDED, FailureKind.NODE_FAIL),
    SlurmState.RECONFIG_FAIL: Meaning(Phase.ENDED, FailureKind.NODE_FAIL),
}


def read_state(text: str) -> SlurmState:
    """The state in Slurm's text: `CANCELLED by 1000` is CANCELLED, `OUT_OF_ME+` (a narrow column) is OUT_OF_MEMORY."""
    word = text.split(" ", 1)[0]
    if word.endswith("+"):
        cut = [state for state in SlurmState if state.startswith(word[:-1])]
        if len(cut) == 1:
            return cut[0]
    try:
        return SlurmState(word)
    except ValueError:
        raise BadSlurmText(f"Slurm reports the job state {text!r}; known states: {', '.join(SlurmState)}") from None


@dataclass(frozen=True)
class Advice:
    """Why a job waits, for users."""

    meaning: str
    """Explanation of Slurm's reason, one sentence without a full stop."""
    remedy: str
    """What to do; empty if one can only wait."""
    never_starts: bool = False
    """Whether the job can never start with the requested resources, however long it waits."""


_LIMIT_WAIT = "Wait for running jobs to end, or use another account or QOS"
_BUDGET_USED = "Ask the account's owner for more, or use another account"
_ASK_LESS = "Request less (train.resources), or use another partition, account or QOS"

_REASONS: dict[str, Advice] = {
    "None": Advice("Slurm has not considered it yet", ""),
    "Priority": Advice("jobs of higher priority come first", ""),
    "Resources": Advice("it is next, and waits for free resources", ""),
    "Prolog": Advice("the site's prolog runs on its nodes", ""),
    "Cleaning": Advice("its previous run is still being cleaned up", ""),
    "BeginTime": Advice("its earliest start time has not come (a requeued job also waits a while)", ""),
    "JobArrayTaskLimit": Advice("as many tasks of its array run as the array allows", ""),
    "Licenses": Advice("it waits for a license", ""),
    "Reservation": Advice("its reservation has not begun", "See `scontrol show reservation`"),
    "Dependency": Advice("it waits for another job to end", ""),
    "DependencyNeverSatisfied": Advice(
        "the job it depends on did not end as required",
        "Cancel it and submit again",
        never_starts=True,
    ),
    "ReqNodeNotAvail": Advice(
        "nodes it needs are down, drained or reserved, often for maintenance",
        "See `scontrol show reservation` and `sinfo -R`; a shorter train.resources.time_min may fit before it",
    ),
    "NodeDown": Advice("a requested node is down", "Change cluster.slurm.nodelist, or wait for the administrators"),
    "PartitionDown": Advice("its partition starts no jobs now", "Use another partition, or wait"),
    "PartitionInactive": Advice("its partition is inactive", "Use another partition, or wait"),
    "PartitionNodeLimit": Advice(
        "it requests more nodes than its partition allows, or too many of these are down",
        "Request fewer nodes (train.resources.nodes), or use another partition",
    ),
    "PartitionTimeLimit": Advice(
        "it requests more time than its partition allows",
        "Lower train.resources.time_min, or use another partition",
        never_starts=True,
    ),
    "PartitionConfig": Advice("it exceeds a limit of its partition", "See `scontrol show partition`"),
    "BadConstraints": Advice(
        "no node can ever provide what it requests",
        "Compare train.resources with `sinfo -o '%N %c %m %G %f'`",
        True,
    ),
    "Constraints": Advice("no node can provide what it requests at this time", "See `sinfo -o '%N %T %G %f'`"),
    "MaxMemPerLimit": Advice(
        "it requests more memory than allowed per node or CPU",
        "Lower train.resources.mem_gb, or set cluster.slurm.memory",
        never_starts=True,
    ),
    "InvalidAccount": Advice("its account is not valid", "Set cluster.slurm.account", never_starts=True),
    "InvalidQOS": Advice("its QOS is not valid", "Set cluster.slurm.qos", never_starts=True),
    "AccountNotAllowed": Advice(
        "its account may not use this partition", "Set cluster.slurm.account or partition", never_starts=True
    ),
    "QOSNotAllowed": Advice(
        "its account or partition may not use this QOS", "Set cluster.slurm.qos", never_starts=True
    ),
    "ReservationDeleted": Advice("its reservation is gone", "Set another cluster.slurm.reservation", never_starts=True),
    "ReservationInvalid": Advice(
        "its reservation is not valid", "Set another cluster.slurm.reservation", never_starts=True
    ),
    "JobHeldUser": Advice("it is held by you or a coordinator", "Release it with `scontrol release JOBID`"),
    "JobHeldAdmin": Advice("it is held by an administrator", "Ask the administrators"),
    "JobHoldMaxRequeue": Advice(
        "it failed to launch too often and is held", "See the nodes' state, then `scontrol release JOBID`"
    ),
    "JobLaunchFailure": Advice("it could not be launched", "See the nodes' state; Slurm tries again"),
    "MaxJobsPerAccount": Advice("its account runs as many jobs as the QOS allows", _LIMIT_WAIT),
    "AssociationJobLimit": Advice("its account runs as many jobs as it may", _LIMIT_WAIT),
    "AssociationResourceLimit": Advice("its account uses as much as it may", _LIMIT_WAIT),
    "AssociationTimeLimit": Advice("its account has used up its time", _BUDGET_USED),
    "QOSJobLimit": Advice("its QOS runs as many jobs as it may", _LIMIT_WAIT),
    "QOSResourceLimit": Advice("its QOS uses as much as it may", _LIMIT_WAIT),
    "QOSTimeLimit": Advice("its QOS has used up its time", _BUDGET_USED),
    "QOSUsageThreshold": Advice("its account's usage is over the QOS's threshold", _BUDGET_USED),
    "SystemFailure": Advice("Slurm, a file system or the network failed", "Tell the administrators"),
}

# Families of names, tried in order after the table: `QOSMaxGRESPerUser` and two hundred more.
_FAMILIES: tuple[tuple[str, Advice], ...] = (
    (r"(Assoc|QOS)Max\w*Per(Job|Node)(Limit)?", Advice("it requests more than one job may have", _ASK_LESS, True)),
    (r"QOSMin\w+", Advice("it requests less than its QOS requires", "Request more, or set cluster.slurm.qos", True)),
    (r"(Assoc|QOS)Grp\w*RunMinutes(Limit)?", Advice("running jobs of its group have all its minutes", _LIMIT_WAIT)),
    (r"(Assoc|QOS)Grp\w*Minutes(Limit)?", Advice("its group has used up its minutes", _BUDGET_USED)),
    (r"(Assoc|QOS)Grp\w+", Advice("its group uses as much as it may", _LIMIT_WAIT)),
    (r"QOSMax\w*PerUser(Limit)?", Advice("you use as much as the QOS gives one user", _LIMIT_WAIT)),
    (r"AssocMax\w+", Advice("you use as much as your account gives one user", _LIMIT_WAIT)),
    (r"Max\w+PerAccount", Advice("its account uses as much as the QOS gives one account", _LIMIT_WAIT)),
    (r"BurstBuffer\w+", Advice("it waits for its burst buffer", "")),
    (r"Nodes required for job are DOWN", _REASONS["ReqNodeNotAvail"]),
    (r"launch failed requeued held", _REASONS["JobHoldMaxRequeue"]),
)  # fmt: skip


def explain_reason(reason: str) -> Advice:
    """An explanation of Slurm's reason for waiting, with the details that Slurm adds (`ReqNodeNotAvail,
    UnavailableNodes:n1`)."""
    text = reason.strip().removeprefix("(").removesuffix(")")
    head, colon, nodes = text.partition(":")
    head = head.replace("_", " ")  # some versions print sentences with underscores
    code = head.partition(",")[0]
    matching = (advice for pattern, advice in _FAMILIES if re.fullmatch(pattern, code))
    advice = _REASONS.get(code) or next(matching, None)
    if advice is None:
        return Advice(f"Slurm says {text!r}", "See slurm.schedmd.com/job_reason_codes.html")
    if colon and nodes:
        return Advice(f"{advice.meaning} ({nodes.strip()})", advice.remedy, advice.never_starts)
    return advice
