"""Starts servers by forking, so that many cases share one import of torch.

Reads one JSON object per line from standard input: `argv` (the program first), `cwd`, `log`; answers with the process
id. The server is real: a process of its own, its own program, and a folder for the exchange.
"""

import json
import os
import runpy
import signal
import sys

import safetensors.torch  # noqa: F401
import torch  # noqa: F401


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # exit codes of the servers are not used
    for line in sys.stdin:
        spec = json.loads(line)
        child = os.fork()
        if child == 0:
            break
        print(child, flush=True)
    else:
        return
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(spec["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(spec["cwd"])
    sys.path[0], sys.argv = spec["cwd"], spec["argv"]
    runpy.run_path(spec["argv"][0], run_name="__main__")


if __name__ == "__main__":
    main()
