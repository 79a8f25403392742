"""Id and node of the current job, read from its environment."""

import os
import socket
from dataclasses import dataclass

import psutil

from pipeline.cluster.local import job_id_of
from pipeline.cluster.slurm_text import expand_nodes, full_id

CLUSTER_VARIABLE = "GROUNDWORK_SLURM_CLUSTER"
"""Environment variable with the cluster that a job was sent to, if the settings name one: it is part of the job's id."""


MEMBER_VARIABLE = "GROUNDWORK_MEMBER"
"""Environment variable with the number of a trial in its pack, from 0 (see `packs.py`)."""


def current_job_id() -> str:
    """The id of the current job, as `Cluster.submit` returned it; outside a cluster, the id of this process."""
    if job := slurm_job():
        member = os.environ.get(MEMBER_VARIABLE)
        return full_id(f"{job}.{member}" if member else job, os.environ.get(CLUSTER_VARIABLE, ""))
    return job_id_of(psutil.Process(int(os.environ.get("SUBMITIT_LOCAL_JOB_ID", os.getpid()))))


def slurm_job() -> str:
    """Slurm's own id of the current job, `1000` or `1000_3`; empty if Slurm did not start this process."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")


@dataclass(frozen=True)
class Node:
    """The node on which this process runs, among the nodes of its job."""

    name: str
    """The cluster's name of the node."""
    number: int
    """Its number in the job, from 0."""
    first: str
    """Name of the job's first node."""


def current_node() -> Node:
    """The node of this process; outside a cluster, this machine."""
    name = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    nodes = expand_nodes(os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_JOB_NODELIST", ""))
    return Node(name, int(os.environ.get("SLURM_NODEID", "0")), nodes[0] if nodes else "127.0.0.1")
