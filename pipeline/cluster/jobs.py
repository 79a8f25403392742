"""Id and node of the current job, read from its environment."""

import os
import socket
from dataclasses import dataclass

import psutil

from pipeline.cluster.local import job_id_of
from pipeline.cluster.slurm_text import expand_nodes, full_id

CLUSTER_VARIABLE = "GROUNDWORK_SLURM_CLUSTER"
"""Environment variable with the cluster that a job was sent to, if the settings name one: it is part of the job's id."""


def current_job_id() -> str:
    """The id of the current job, as `Cluster.submit` returned it; outside a cluster, the id of this process."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    cluster = os.environ.get(CLUSTER_VARIABLE, "")
    if array and task:
        return full_id(f"{array}_{task}", cluster)
    if job := os.environ.get("SLURM_JOB_ID"):
        return full_id(job, cluster)
    return job_id_of(psutil.Process(int(os.environ.get("SUBMITIT_LOCAL_JOB_ID", os.getpid()))))


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
