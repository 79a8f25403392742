"""What a job can find out about itself."""

import os

import psutil

from pipeline.cluster.local import job_id_of


def current_job_id() -> str:
    """The cluster's id of the job this process runs in, as `Cluster.submit` returned it; the process itself where no
    cluster started it."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    if array and task:
        return f"{array}_{task}"
    if job := os.environ.get("SLURM_JOB_ID"):
        return job
    return job_id_of(psutil.Process(int(os.environ.get("SUBMITIT_LOCAL_JOB_ID", os.getpid()))))
