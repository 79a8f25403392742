"""A Slurm site with the peculiarities of real ones: programs that precede the real ones on PATH, all of them this file.
They keep their state in a folder, and run jobs only if a test requires it."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAMS = ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sacctmgr", "srun")
_SQUEUE, _SACCT = "JOBID|STATE|REASON|NODELIST|NAME", "JobID|State|ExitCode|NodeList|ElapsedRaw|JobName"


@dataclass(frozen=True)
class Site:
    """The site, as a test uses it."""

    folder: Path

    @classmethod
    def open(cls, folder: Path, **rules: Any) -> "Site":
        """Write the programs. Rules: `runs` (jobs are really run), `memory` (the required option, or `none`), `arrays`
        (false refuses them), `max_array_size`, `clusters` (names of clusters for jobs; the machine itself has none)."""
        site = cls(folder)
        (folder / "bin").mkdir(parents=True)
        site.rule(**rules)
        for program in PROGRAMS:
            path = folder / "bin" / program
            path.write_text(
                f'#!/bin/bash\nexec {shlex.quote(sys.executable)} -I -S {__file__} {folder} {program} "$@"\n'
            )
            path.chmod(0o755)
        return site

    def rule(self, **rules: Any) -> None:
        """Change rules. `queue` and `accounts` replace the output of squeue and sacct: lines below the header."""
        path = self.folder / "rules.json"
        old = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**old, **rules}))

    @property
    def path(self) -> str:
        """PATH with these programs first."""
        return f"{self.folder / 'bin'}:{os.environ['PATH']}"

    def calls(self, program: str) -> list[str]:
        """Arguments of every call of a program, one line each."""
        log = self.folder / f"{program}.log"
        return log.read_text().splitlines() if log.exists() else []

    def scripts(self) -> list[str]:
        """The accepted scripts, oldest first."""
        return [path.read_text() for path in sorted(self.folder.glob("*.sh"))]


# ---- the programs


def main(folder: Path, program: str, arguments: list[str]) -> None:
    with (folder / f"{program}.log").open("a") as log:
        log.write(" ".join(arguments) + "\n")
    rules = json.loads((folder / "rules.json").read_text())
    cluster = next((word.partition("=")[2] for word in arguments if word.startswith("--clusters=")), "")
    if program == "sbatch":
        _sbatch(folder, rules, arguments)
    elif program == "srun":
        _srun(arguments)
    elif program == "scontrol":
        print(f"MaxArraySize            = {rules.get('max_array_size', 1001)}\nSLURM_VERSION           = 23.02.7")
    elif program == "sacctmgr":
        _fail("sacctmgr: error: slurmdbd is not reachable")
    elif program == "squeue":
        print(f"CLUSTER: {cluster}\n{_SQUEUE}" if cluster else _SQUEUE)
        print("\n".join([*rules.get("queue", _queue(folder, cluster))]))
    elif program == "sacct":
        print("\n".join([_SACCT, *rules.get("accounts", _accounts(folder, cluster))]))
    elif program == "scancel":
        for job in _jobs(folder, cluster):
            if any(word.split("_")[0] == job["id"].split("_")[0] for word in arguments) and _alive(job):
                os.killpg(job["pid"], signal.SIGTERM)


def _sbatch(folder: Path, rules: dict[str, Any], arguments: list[str]) -> None:
    script = Path(arguments[-1]).read_text()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", script, flags=re.MULTILINE))
    memory = [name for name in options if name.startswith("mem")]
    wanted = rules.get("memory", "mem")
    cluster = options.get("clusters", "")
    if len(memory) > 1:
        _fail("sbatch: fatal: --mem, --mem-per-cpu, and --mem-per-gpu are mutually exclusive.")
    if memory and memory != [wanted]:
        _fail(
            "sbatch: error: lua: Requesting memory by node is not supported. Use --mem-per-cpu.\n"
            "sbatch: error: Batch job submission failed: Memory specification can not be satisfied"
        )
    if "array" in options and not rules.get("arrays", True):
        _fail("sbatch: error: Batch job submission failed: Invalid job array specification")
    if cluster and cluster not in rules.get("clusters", ()):
        _fail(f"sbatch: error: No cluster '{cluster}' known by database.")
    if "--test-only" in arguments:
        print("sbatch: Job 9 to start at 2026-11-24T13:50:07", file=sys.stderr)
        return
    number = 1000 + len(list(folder.glob("*.sh")))
    (folder / f"{number}.sh").write_text(script)
    count = int(re.match(r"0-(\d+)", options["array"])[1]) + 1 if "array" in options else 0  # type: ignore[index]
    for task in range(count) or [None]:  # type: ignore[attr-defined]
        job = str(number) if task is None else f"{number}_{task}"
        pid = _start(folder, script, number, task, options) if rules.get("runs") else 0
        record = {"id": job, "cluster": cluster, "name": options["job-name"], "pid": pid}
        (folder / f"{job}.json").write_text(json.dumps(record))
    print(f"Submitted batch job {number}" + (f" on cluster {cluster}" if cluster else ""))


def _start(folder: Path, script: str, number: int, task: int | None, options: dict[str, str]) -> int:
    more = {"SLURM_JOB_ID": str(number + 500 + (task or 0)), "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1"}
    more |= {"SLURM_NODEID": "0", "SLURM_JOB_NODELIST": "n1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    if task is None:
        more["SLURM_JOB_ID"] = str(number)
    else:
        more |= {"SLURM_ARRAY_JOB_ID": str(number), "SLURM_ARRAY_TASK_ID": str(task)}
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "SLURMD_NODENAME": "n1", **more}
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=shlex.split(options["chdir"])[0],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    return process.pid


def _srun(arguments: list[str]) -> None:
    first = next(number for number, word in enumerate(arguments) if word == sys.executable)
    output = arguments[arguments.index("--output") + 1].replace("%t", "0")
    for sign, name in (("%A", "SLURM_ARRAY_JOB_ID"), ("%a", "SLURM_ARRAY_TASK_ID"), ("%j", "SLURM_JOB_ID")):
        output = output.replace(sign, os.environ.get(name, ""))
    with Path(output).open("ab") as log:
        sys.exit(subprocess.run(arguments[first:], stdout=log, stderr=log, check=False).returncode)


def _jobs(folder: Path, cluster: str) -> list[dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("[0-9]*.json"))]
    return [job for job in found if job["cluster"] == cluster]


def _alive(job: dict[str, Any]) -> bool:
    try:
        return Path(f"/proc/{job['pid']}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _queue(folder: Path, cluster: str) -> list[str]:
    return [f"{job['id']}|RUNNING|None|n1|{job['name']}" for job in _jobs(folder, cluster) if _alive(job)]


def _accounts(folder: Path, cluster: str) -> list[str]:
    ended = [job for job in _jobs(folder, cluster) if not _alive(job)]
    return [f"{job['id']}|COMPLETED|0:0|n1|1|{job['name']}" for job in ended]


def _fail(message: str) -> None:
    print(message, file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
