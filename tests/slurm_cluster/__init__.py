"""A complete Slurm on one machine, so that tests and newcomers can use a real one.

    python -m tests.slurm_cluster up        # prints the line to export
    python -m tests.slurm_cluster status
    python -m tests.slurm_cluster down

It runs Debian's own munge, MariaDB, slurmdbd, slurmctld and four slurmd as root on loopback, each node with eight
simulated GPUs (device files like /dev/null). Nothing of the machine is used or changed: munge key and socket, database,
SLURM_CONF and ports are its own, all below one folder (`DEV_CLUSTER_DIR`, default /tmp/groundwork-slurm). A Slurm that
this program did not start is never contacted.
"""
