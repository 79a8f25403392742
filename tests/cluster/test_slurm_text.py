"""Slurm's text as it really looks, 21.08 to 25.05, and as it looks when something failed. Tables named after the dev
cluster were printed by it (22.05); other lines follow public sites and submitit's own tests."""

import pytest

from pipeline.cluster.base import Phase, last_line
from pipeline.cluster.slurm_states import MEANING, BadSlurmText, SlurmState, explain_reason, read_state
from pipeline.cluster.slurm_text import (
    ASSOC_FIELDS,
    QOS_FIELDS,
    SACCT_FIELDS,
    SQUEUE_FORMAT,
    ClusterLimits,
    Ours,
    SubmitError,
    by_cluster,
    expand_job_id,
    expand_nodes,
    full_id,
    parse_exit_code,
    parse_limits,
    parse_sacct,
    parse_squeue,
    read_log,
    read_refusal,
)
from pipeline.errors import ClusterRefused
from pipeline.records import FailureKind


class Everything(Ours):
    """Every line of a table is about one of our jobs."""

    def match(self, job: str, name: str) -> bool:
        return True


ALL = Everything()

# ---- sacct

SACCT_HEADER = SACCT_FIELDS.replace(",", "|")

DEV_SACCT = f"""\
{SACCT_HEADER}
23|CANCELLED by 0|0:0|None assigned|0|held
27|PENDING|0:0|None assigned|0|depnever
4|FAILED|9:0|n1|2|oomsrun
4.batch|FAILED|9:0|n1|2|batch
4.0|CANCELLED by 0|0:9|n1|2|python3
22_2|RUNNING|0:0|n1|21|run1.g0
22_[4,6-9%2]|PENDING|0:0|None assigned|0|run1.g0
"""


def test_sacct_of_the_dev_cluster() -> None:
    held, never, failed, batch, step, running, waiting = parse_sacct(DEV_SACCT, ALL).rows
    assert (held.state, held.cancelled_by, held.nodes, held.elapsed_s) == (SlurmState.CANCELLED, 0, (), 0)
    assert (never.state, never.name, never.cancelled_by) == (SlurmState.PENDING, "depnever", None)
    assert (failed.exit_code, failed.signal, failed.step) == (9, 0, "")
    assert (batch.job_ids, batch.step) == (("4",), "batch")
    assert (step.step, step.state, step.signal) == ("0", SlurmState.CANCELLED, 9)
    assert (running.job_ids, running.nodes, running.elapsed_s) == (("22_2",), ("n1",), 21)
    assert waiting.job_ids == ("22_4", "22_6", "22_7", "22_8", "22_9")


def test_several_incarnations_keep_their_order_and_their_own_time() -> None:
    """From lines of the dev cluster: the node died, and the job was requeued, was preempted, and runs again."""
    text = f"""\
{SACCT_HEADER}
31|NODE_FAIL|0:0|n1|29|wrap
31|PREEMPTED|0:0|n2|65|wrap
31|RUNNING|0:0|n[2-3]|12|wrap
"""
    rows = parse_sacct(text, ALL).rows
    assert [row.state for row in rows] == [SlurmState.NODE_FAIL, SlurmState.PREEMPTED, SlurmState.RUNNING]
    assert sum(row.elapsed_s for row in rows) == 29 + 65 + 12
    assert rows[-1].nodes == ("n2", "n3")


# One line each, as sites print them, with the expected result.
@pytest.mark.parametrize(
    ("line", "state", "exit_code", "signal"),
    [
        ("7|OUT_OF_MEMORY|0:125|n1|900|flagship", "OUT_OF_MEMORY", 0, 125),
        ("7|TIMEOUT|0:1|node003|3600|scan_T", "TIMEOUT", 0, 1),
        ("7|CANCELLED by 150016|0:15|n1|5|x", "CANCELLED", 0, 15),
        ("7|CANCELLED|0:0|None assigned|0|x", "CANCELLED", 0, 0),
        ("7|OUT_OF_ME+|0:125|n1|1|x", "OUT_OF_MEMORY", 0, 125),
        ("7.extern|COMPLETED|0:0|nid00[408,411-412]|1|extern", "COMPLETED", 0, 0),
        ("7|FAILED|1:0|n1|1|a|name|with bars", "FAILED", 1, 0),
    ],
)
def test_lines_of_sacct(line: str, state: str, exit_code: int, signal: int) -> None:
    (row,) = parse_sacct(f"{SACCT_HEADER}\n{line}\n", ALL).rows
    assert (row.state, row.exit_code, row.signal) == (SlurmState(state), exit_code, signal)
    assert row.name == line.split("|", 5)[-1]


def test_a_banner_of_the_site_before_the_header_is_ignored() -> None:
    assert len(parse_sacct("ECMWF banner\n\n" + DEV_SACCT, ALL).rows) == 7


def test_only_used_columns_can_break_an_answer() -> None:
    """The resources of a job are not used: an invalid AllocTRES must not stop a run."""
    assert set(SACCT_FIELDS.split(",")) == {"JobID", "State", "ExitCode", "NodeList", "ElapsedRaw", "JobName"}
    lines = SACCT_HEADER.replace("JobName", "AllocTRES|JobName") + "\n7|FAILED|1:0|n1|5|cpu=many,?|a|b\n"
    (row,) = parse_sacct(lines, ALL).rows
    assert (row.state, row.elapsed_s, row.name) == (SlurmState.FAILED, 5, "a|b")


def test_a_header_alone_means_no_jobs() -> None:
    for answer in (parse_sacct(SACCT_HEADER + "\n", ALL), parse_squeue("JOBID|STATE|REASON|NODELIST|NAME\n", ALL)):
        assert (answer.rows, dict(answer.unreadable), answer.others) == ((), {}, 0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection",
        "Slurm accounting storage is disabled\n",
    ],
)
def test_broken_sacct_is_an_error_and_never_an_empty_answer(text: str) -> None:
    with pytest.raises(BadSlurmText) as raised:
        parse_sacct(text, ALL)
    assert isinstance(raised.value, ClusterRefused)  # nothing can be concluded, and the query is repeated


@pytest.mark.parametrize(
    "line",
    [
        "22|RUNNING|0:0",  # truncated by a full pipe
        "22",
        "22|RUNNING|0|n1|21|x",
        "22|RUNNING|0:0|n1||x",
        "22|RUNING|0:0|n1|1|x",
        "22|RUNNING|0:0|n[1-|1|x",
    ],
)
def test_a_line_of_ours_that_cannot_be_parsed_leaves_its_job_unclear(line: str) -> None:
    answer = parse_sacct(f"{SACCT_HEADER}\n{line}\n23|FAILED|1:0|n1|1|x\n", Ours.jobs(["22", "23"]))
    assert [row.job_ids for row in answer.rows] == [("23",)]
    assert (answer.unclear("22"), answer.unclear("23"), answer.unclear("24")) == (line, "", "")


def test_a_line_of_ours_whose_id_cannot_be_parsed_leaves_all_jobs_without_a_line_unclear() -> None:
    line = "sl-22/0|RUNNING|0:0|n1|1|run1.g0"
    answer = parse_sacct(f"{SACCT_HEADER}\n{line}\n23|FAILED|1:0|n1|1|x\n", Ours.jobs(["22", "23"], ["run1.g0"]))
    assert (answer.unclear("22"), answer.unclear("23")) == (line, "")


@pytest.mark.parametrize(
    "line",
    [
        "77+0|RUNNING|0:0|n3|1|mpi",
        "77|FUTURE|?|n[|x|mpi",
        "77",
        "second line of a name",
        "x|y|z",
        "s7.1|RUNNING|0:0|n1|1|m",
    ],
)
def test_lines_of_other_jobs_are_not_parsed(line: str) -> None:
    answer = parse_sacct(f"{SACCT_HEADER}\n{line}\n22_0|FAILED|1:0|n1|1|x\n", Ours.jobs(["22_0"]))
    assert [row.job_ids for row in answer.rows] == [("22_0",)] and not answer.unreadable


# ---- squeue

DEV_SQUEUE = """\
JOBID|STATE|REASON|NODELIST|NAME
24|PENDING|BeginTime||begin
28_2|PENDING|QOSMaxGRESPerUser||qos
33|PENDING|PartitionTimeLimit||long
23|PENDING|JobHeldUser||held
22_2|RUNNING|None|n1|run1.g0
18_1|FAILED|NonZeroExitCode|n1|wrap
29|TIMEOUT|TimeLimit|n1|timeout
17520966|PENDING|ReqNodeNotAvail, UnavailableNodes:gnode[20-21]||train
"""


def test_squeue_of_the_dev_cluster() -> None:
    rows = {row.job_ids[0]: row for row in parse_squeue(DEV_SQUEUE, ALL).rows}
    assert rows["28_2"].reason == "QOSMaxGRESPerUser"
    assert rows["22_2"].nodes == ("n1",) and rows["22_2"].name == "run1.g0"
    assert rows["29"].state is SlurmState.TIMEOUT
    assert rows["17520966"].reason.endswith("gnode[20-21]")
    assert len(SQUEUE_FORMAT.split("|")) == len(DEV_SQUEUE.split("\n")[0].split("|"))


def test_broken_squeue_is_an_error() -> None:
    with pytest.raises(BadSlurmText, match="no table"):
        parse_squeue("slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n", ALL)


HET_SQUEUE = """\
JOBID|STATE|REASON|NODELIST|NAME
77+0|RUNNING|None|n3|mpi-coupled
77+1|RUNNING|None|n4|mpi-coupled
1000|RUNNING|None|n1|run.0123456789ab
"""
"""A heterogeneous job of the same user beside ours."""


def test_a_heterogeneous_job_in_the_queue_is_not_ours() -> None:
    for ours in (Ours.jobs(["1000"]), Ours(names=["run.0123456789ab"])):
        answer = parse_squeue(HET_SQUEUE, ours)
        assert [row.job_ids for row in answer.rows] == [("1000",)]
        assert not answer.unreadable and answer.others == 2


def test_jobs_of_others_count_until_they_are_known_to_have_ended() -> None:
    lines = (
        "1|RUNNING|None|n1|a\n2|FAILED|None|n1|b\n3|OF_2031|None|n1|c\n4+0|PENDING|None||d\n5|TIMEOUT|None|n1|e\n6\n"
    )
    assert parse_squeue(f"JOBID|STATE|REASON|NODELIST|NAME\n{lines}", Ours()).others == 3


def test_the_line_that_names_the_cluster_is_skipped() -> None:
    """As squeue of several versions prints it with --clusters, before each table."""
    answer = parse_squeue(f"CLUSTER: c2\n{HET_SQUEUE}", Ours.jobs(["1000"]))
    assert [row.job_ids for row in answer.rows] == [("1000",)] and answer.others == 2
    empty = parse_squeue("CLUSTER: c2\nJOBID|STATE|REASON|NODELIST|NAME\n", Ours.jobs(["1000"]))
    assert empty.rows == ()


def test_an_array_that_was_cancelled_as_a_whole_has_one_line_for_all_tasks() -> None:
    """From the dev cluster: squeue and sacct both print `860` if no task has started."""
    for state in ("860|CANCELLED|None||run1.g0", "860|EVAPORATED|None||run1.g0"):
        answer = parse_squeue(f"JOBID|STATE|REASON|NODELIST|NAME\n{state}\n", Ours.jobs(["860_0", "861"]))
        row = answer.row("860_0")
        assert (row is not None and row.state is SlurmState.CANCELLED) != bool(answer.unclear("860_0"))
        assert answer.row("861") is None and not answer.unclear("861")
    mixed = "860|CANCELLED|None||x\n860_1|TIMEOUT|None|n1|x\n860_1|RUNNING|None|n1|x\n"
    answer = parse_squeue(f"JOBID|STATE|REASON|NODELIST|NAME\n{mixed}", Ours.jobs(["860_1"]))
    assert [one.state for one in (answer.row("860_0"), answer.row("860_1")) if one] == ["CANCELLED", "RUNNING"]


def test_ids_contain_the_cluster_of_a_job() -> None:
    assert (full_id("7_3", ""), full_id("7_3", "c2")) == ("7_3", "7_3@c2")
    assert by_cluster(["7", "8@c2", "9_1@c2", "10"]) == {"": ["7", "10"], "c2": ["8", "9_1"]}


# ---- job ids and nodes


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("12", "12"),
        ("12_0", "12_0"),
        ("20_[2-4%56]", "20_2 20_3 20_4"),
        ("20_[2-3,12-13,22%56]", "20_2 20_3 20_12 20_13 20_22"),
        ("20_[0%1]", "20_0"),
        ("12_[2,4-6]", "12_2 12_4 12_5 12_6"),
        ("7_[0-8:4]", "7_0 7_4 7_8"),
        ("7_[1,3,5,...]", "7_1 7_3 7_5"),
        ("7_[1,3,1...%4]", "7_1 7_3"),  # truncated in the middle of the last number
    ],
)
def test_job_ids(text: str, wanted: str) -> None:
    assert expand_job_id(text) == tuple(wanted.split())


@pytest.mark.parametrize("text", ["", "x", "12_", "12_x", "12_[a-b]", "12_[1-2", "12+1", "12.batch"])
def test_invalid_job_ids(text: str) -> None:
    with pytest.raises(BadSlurmText, match="job id"):
        expand_job_id(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", ""),
        ("None assigned", ""),
        ("compute-b24", "compute-b24"),
        ("n[1-3,7]", "n1 n2 n3 n7"),
        ("compute-b2[011,022]", "compute-b2011 compute-b2022"),
        ("b2[1-2,8],a1", "b21 b22 b28 a1"),
        ("r[1-2]n[09-10]", "r1n09 r1n10 r2n09 r2n10"),
    ],
)
def test_node_lists(text: str, wanted: str) -> None:
    assert expand_nodes(text) == tuple(wanted.split())


@pytest.mark.parametrize("text", ["n[1-2", "n[a-b]"])
def test_invalid_node_lists(text: str) -> None:
    with pytest.raises(BadSlurmText, match="node list"):
        expand_nodes(text)


@pytest.mark.parametrize(("text", "wanted"), [("3:0", (3, 0)), ("0:9", (0, 9)), ("", (0, 0))])
def test_exit_codes(text: str, wanted: tuple[int, int]) -> None:
    assert parse_exit_code(text) == wanted


@pytest.mark.parametrize("text", ["0", "x:0", "1:0:0"])
def test_invalid_exit_codes(text: str) -> None:
    with pytest.raises(BadSlurmText, match="exit code"):
        parse_exit_code(text)


# ---- states


def test_every_state_has_a_meaning_and_only_an_ended_one_a_kind() -> None:
    assert set(MEANING) == set(SlurmState)
    for meaning in MEANING.values():
        assert meaning.kind is None or meaning.over


@pytest.mark.parametrize(
    ("state", "kind", "infrastructure"),
    [
        ("NODE_FAIL", FailureKind.NODE_FAIL, True),
        ("BOOT_FAIL", FailureKind.NODE_FAIL, True),
        ("LAUNCH_FAILED", FailureKind.NODE_FAIL, True),
        ("PREEMPTED", FailureKind.PREEMPTED, True),
        ("CANCELLED by 1000", FailureKind.CANCELLED, True),
        ("REVOKED", FailureKind.CANCELLED, True),
        ("DEADLINE", FailureKind.CANCELLED, True),
        ("OUT_OF_MEMORY", FailureKind.OUT_OF_MEMORY, False),
        ("TIMEOUT", FailureKind.TIMEOUT, False),
    ],
)
def test_the_failure_kind_of_an_ended_state(state: str, kind: FailureKind, infrastructure: bool) -> None:
    meaning = MEANING[read_state(state)]
    assert meaning.over and meaning.kind is kind and kind.infrastructure is infrastructure


def test_states_that_submitit_takes_for_done_are_not_over() -> None:
    for state in ("SUSPENDED", "REQUEUE_HOLD", "STOPPED", "SPECIAL_EXIT", "RESV_DEL_HOLD", "SIGNALING", "STAGE_OUT"):
        assert not MEANING[SlurmState(state)].over
    assert MEANING[SlurmState.REQUEUED].phase is Phase.PENDING and MEANING[SlurmState.COMPLETING].phase is Phase.RUNNING


@pytest.mark.parametrize("text", ["", "DONE", "RUNING", "R+", "C+"])
def test_an_unknown_state_is_an_error_that_names_it(text: str) -> None:
    with pytest.raises(BadSlurmText, match=repr(text).replace("+", r"\+")):
        read_state(text)


# ---- reasons


@pytest.mark.parametrize(
    ("reason", "word", "never"),
    [
        ("Priority", "priority", False),
        ("Resources", "resources", False),
        ("(Resources)", "resources", False),
        ("None", "not considered", False),
        ("BeginTime", "earliest start", False),
        ("Dependency", "another job", False),
        ("DependencyNeverSatisfied", "depends on", True),
        ("QOSMaxGRESPerUser", "one user", False),
        ("QOSMaxJobsPerUserLimit", "one user", False),
        ("QOSMaxCpuPerUserLimit", "one user", False),
        ("QOSMaxWallDurationPerJobLimit", "one job", True),
        ("QOSMaxGRESPerNode", "one job", True),
        ("QOSMinGRES", "less than its QOS", True),
        ("QOSGrpGRES", "group uses", False),
        ("AssocGrpGRES", "group uses", False),
        ("AssocGrpGRESMinutes", "used up", False),
        ("AssocGrpCPUMinutesLimit", "used up", False),
        ("AssocGrpCPURunMinutesLimit", "running jobs", False),
        ("AssocMaxJobsLimit", "one user", False),
        ("AssocMaxWallDurationPerJobLimit", "one job", True),
        ("MaxJobsPerAccount", "account runs", False),
        ("MaxGRESPerAccount", "one account", False),
        ("ReqNodeNotAvail", "down, drained or reserved", False),
        ("ReqNodeNotAvail, UnavailableNodes:nid00[408,411-415]", "(nid00[408,411-415])", False),
        ("ReqNodeNotAvail, Reserved for maintenance", "maintenance", False),
        ("Nodes_required_for_job_are_DOWN,_DRAINED_or_reserved_for_jobs_in_higher_priority_partitions", "down", False),
        ("PartitionTimeLimit", "more time", True),
        ("PartitionNodeLimit", "more nodes", False),  # also reported for a partition whose nodes are down
        ("PartitionDown", "partition", False),
        ("BadConstraints", "no node", True),
        ("Constraints", "at this time", False),
        ("MaxMemPerLimit", "memory", True),
        ("InvalidAccount", "account", True),
        ("InvalidQOS", "QOS", True),
        ("JobHeldUser", "held", False),
        ("JobHeldAdmin", "administrator", False),
        ("launch failed requeued held", "held", False),
        ("launch_failed_requeued_held", "held", False),
        ("Licenses", "license", False),
        ("Reservation", "reservation", False),
        ("ReservationDeleted", "gone", True),
        ("NodeDown", "down", False),
        ("SomethingOf2031", "'SomethingOf2031'", False),
    ],
)
def test_reasons_are_explained(reason: str, word: str, never: bool) -> None:
    advice = explain_reason(reason)
    assert word in advice.meaning and advice.never_starts is never
    assert advice.remedy or not never  # "never" comes with a remedy


# ---- limits

DEV_CONFIG = """\
Configuration data as of 2026-11-23T09:12:45
MaxArraySize            = 65
MaxDBDMsgs              = 20016
MaxJobCount             = 10000
MaxJobId                = 67043328
SLURM_VERSION           = 22.05.8

Slurmctld(primary) at vm is UP
"""
ASSOC = f"""\
{ASSOC_FIELDS.replace(",", "|").replace("DefaultQOS", "Def QOS")}
root|root|narrow,normal|||
lab|root|normal|normal|40|30
"""
QOS = f"{QOS_FIELDS.replace(',', '|')}\nnormal||100|\nnarrow|4||\n"


@pytest.mark.parametrize(
    ("assoc", "qos", "account", "job_qos", "submit"),
    [
        ("", "", "", "", None),  # no slurmdbd
        (ASSOC, QOS, "root", "", 100),
        (ASSOC, QOS, "root", "narrow", 4),
        (ASSOC, QOS, "lab", "", 30),
        (ASSOC, QOS, "", "", 30),
        (ASSOC, "", "root", "", None),
    ],
)
def test_limits(assoc: str, qos: str, account: str, job_qos: str, submit: int | None) -> None:
    limits = parse_limits(DEV_CONFIG, assoc, qos, account=account, job_qos=job_qos)
    assert limits == ClusterLimits(65, submit, (22, 5, 8))


ARRAYS_DISABLED = """\
MaxArraySize            = 0
MaxJobCount             = 10000
SLURM_VERSION           = 23.02.7
"""


def test_a_limit_of_zero_means_single_jobs() -> None:
    assert parse_limits(ARRAYS_DISABLED) == ClusterLimits(1, None, (23, 2, 7))


@pytest.mark.parametrize(
    ("assoc", "qos", "submit"),
    [
        ("sacctmgr: this cluster does not exist\n", QOS, None),
        ("Account|User\nroot|root\n", QOS, 100),  # columns that a future version may not print
        (ASSOC, "Name\nnormal\n", 30),
        (ASSOC.replace("|||", ""), "odd", 30),
    ],
)
def test_a_table_of_limits_in_another_form_is_not_overinterpreted(assoc: str, qos: str, submit: int | None) -> None:
    assert parse_limits(DEV_CONFIG, assoc, qos).max_submit_jobs == submit


@pytest.mark.parametrize("text", ["", "MaxJobCount = 1\n", "MaxArraySize = many\nMaxJobCount = 1\n"])
def test_a_configuration_without_limits_is_an_error(text: str) -> None:
    with pytest.raises(BadSlurmText, match="MaxArraySize"):
        parse_limits(text)


# ---- refusals


@pytest.mark.parametrize(
    ("errors", "wanted"),
    [
        (
            "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates "
            "accounting/QOS policy (job submit limit, user's size and/or time limits)",
            SubmitError.LIMIT,
        ),
        ("sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: …", SubmitError.LIMIT),
        (
            "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying.\n"
            "sbatch: error: Batch job submission failed: Resource temporarily unavailable",
            SubmitError.LIMIT,
        ),
        (
            "sbatch: error: QOSMaxWallDurationPerJobLimit\nsbatch: error: Batch job submission failed: Job violates "
            "accounting/QOS policy (job submit limit, user's size and/or time limits)",
            SubmitError.WRONG,
        ),
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", SubmitError.NO_ANSWER),
        ("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", SubmitError.NO_ANSWER),
        ("sacct: error: slurm_persist_conn_open: Something happened", SubmitError.NO_ANSWER),
        ("sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received", SubmitError.NO_ANSWER),
        ("sbatch: error: Batch job submission failed: Invalid job array specification", SubmitError.NO_ARRAYS),
        ("sbatch: error: invalid partition specified: nope", SubmitError.WRONG),
        ("sbatch: error: Batch job submission failed: Invalid qos specification", SubmitError.WRONG),
        (
            "sbatch: error: Batch job submission failed: Requested node configuration is not available",
            SubmitError.WRONG,
        ),
    ],
)
def test_refusals(errors: str, wanted: SubmitError) -> None:
    assert read_refusal(errors) is wanted


@pytest.mark.parametrize(
    ("log", "wanted"),
    [
        ("slurmstepd-n1: error: StepId=279.0 exceeded memory limit (374874112 > 321912832), being killed",
         FailureKind.OUT_OF_MEMORY),
        ("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.0. Some of your processes may have been killed "
         "by the cgroup out-of-memory handler.", FailureKind.OUT_OF_MEMORY),
        ("slurmstepd: error: Detected 2 oom_kill events in StepId=7.batch. Some of the step tasks have been OOM Killed.",
         FailureKind.OUT_OF_MEMORY),
        ("slurmstepd: error: *** STEP 7.0 ON n1 CANCELLED AT 2026-11-24T13:50:07 DUE TO TIME LIMIT ***",
         FailureKind.TIMEOUT),
        ("slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-24T13:50:07 DUE TO PREEMPTION ***", FailureKind.PREEMPTED),
        ("srun: error: Node failure on n4", FailureKind.NODE_FAIL),
        ("slurmstepd: error: *** STEP 7.0 ON n1 CANCELLED AT 2026-11-24T13:50:07 ***\nsrun: error: n1: task 0: Killed",
         None),
        ("print: exceeded memory limit", None),  # the program's own words are not evidence
        ("", None),
    ],
)  # fmt: skip
def test_lines_of_slurm_in_a_jobs_log(log: str, wanted: FailureKind | None) -> None:
    assert read_log(log) is wanted


@pytest.mark.parametrize(
    ("log", "wanted"),
    [
        ("", ""),
        ("submitit INFO (2026-11-24 13:50:07,1) - Starting with JobEnvironment(job_id=7)\n"
         "Traceback (most recent call last):\nModuleNotFoundError: No module named 'pipeline'\n\n"
         "srun: error: n1: task 0: Exited with exit code 1\n", "ModuleNotFoundError: No module named 'pipeline'"),
        ("/usr/bin/env: python3.12: No such file or directory\n", "/usr/bin/env: python3.12: No such file or directory"),
        ("slurmstepd: error: couldn't chdir to `/nope': No such file or directory\n",
         "slurmstepd: error: couldn't chdir to `/nope': No such file or directory"),
    ],
)  # fmt: skip
def test_the_line_of_a_log_that_gives_the_reason(log: str, wanted: str) -> None:
    assert last_line(log) == wanted
