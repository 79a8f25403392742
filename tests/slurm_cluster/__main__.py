"""python -m tests.slurm_cluster up | down | status | node-stop N | node-start N | controller-stop | controller-start"""

import argparse
import sys
from pathlib import Path

from tests.slurm_cluster.cluster import NODES, DevCluster, DevClusterError, default_folder


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.slurm_cluster", description="A whole Slurm on one machine.")
    parser.add_argument("--dir", type=Path, default=default_folder(), help="state folder (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start it or repair it; prints the line to export")
    commands.add_parser("down", help="stop it and all its jobs")
    commands.add_parser("status", help="exit 0 when everything runs")
    commands.add_parser("node-stop", help="a node dies with its jobs").add_argument("node", choices=NODES)
    commands.add_parser("node-start", help="the node comes back").add_argument("node", choices=NODES)
    commands.add_parser("controller-stop", help="slurmctld goes away; jobs run on")
    commands.add_parser("controller-start", help="slurmctld comes back")
    wanted = parser.parse_args(arguments)
    cluster = DevCluster(wanted.dir)
    try:
        if wanted.command == "up":
            cluster.up()
            print(f"export SLURM_CONF={cluster.folder}/slurm.conf")
        elif wanted.command == "down":
            cluster.down()
        elif wanted.command == "status":
            return status(cluster)
        elif wanted.command == "node-stop":
            cluster.stop_node(wanted.node)
        elif wanted.command == "node-start":
            cluster.start_node(wanted.node)
        elif wanted.command == "controller-stop":
            cluster.stop_controller()
        elif wanted.command == "controller-start":
            cluster.start_controller()
    except DevClusterError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def status(cluster: DevCluster) -> int:
    for name, running in cluster.daemons().items():
        print(f"{name:10} {'running' if running else 'down'}")
    if not cluster.is_up():
        print("not up; `python -m tests.slurm_cluster up` repairs it")
        return 1
    print(cluster.run("sinfo"), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
