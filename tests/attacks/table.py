"""Attacks by variants of the toy baseline, each a few lines that run in its training.

The lines may use everything that an attacker could hope to know: `RUN`, `OTHER`, `DATA`, `HOME`, `ROOT` (the checkout),
`VICTIM` (the id of a process outside), `PORT`, `UDP`, `SOCKET`, `ABSTRACT` (sockets outside), `SHARED` (a key of shared
memory), `MARK` (a word that is part of the secrets), `TERMINAL` (a terminal outside), `OUT` (the output folder) and
`checkpoint`. `loot(text)` records a success; an exception means that the attack was stopped.
"""

from dataclasses import dataclass

from pipeline.records import FailureKind


@dataclass(frozen=True)
class Attack:
    """One attack."""

    code: str
    """Lines that run in training."""
    landlock: bool = True
    """Whether landlock stops it, too."""


EVALUATOR = {
    "read the validation rows": Attack("loot((DATA / 'evaluator/validation.json').read_text())"),
    "read the test rows": Attack("loot((DATA / 'evaluator/test.json').read_text())"),
    "list the evaluator's folder": Attack("loot(os.listdir(DATA / 'evaluator'))"),
    "overwrite the validation rows": Attack("(DATA / 'evaluator/validation.json').write_text('[[[0.0], 0.0]]')"),
    "remove the validation rows": Attack("(DATA / 'evaluator/validation.json').unlink()"),
    "overwrite the training rows": Attack("(DATA / 'train/rows.json').write_text('[]')"),
    "add a file to the training data": Attack("(DATA / 'train/more.json').write_text('[]')"),
    "overwrite the manifest of the data": Attack("(DATA / 'manifest.json').write_text('{}')"),
    "link the validation rows into the output": Attack(
        "os.symlink(DATA / 'evaluator/validation.json', OUT / 'rows'); loot((OUT / 'rows').read_text())"
    ),
    "link them hard": Attack("os.link(DATA / 'evaluator/validation.json', OUT / 'rows2'); loot('linked')"),
    "link the training rows hard and write": Attack(
        "os.link(DATA / 'train/rows.json', OUT / 'rows3'); (OUT / 'rows3').write_text('[]')"
    ),
    "replace the evaluator": Attack("(RUN / 'code/baseline/evaluate.py').write_text('raise SystemExit')"),
    "plant a module beside the evaluator": Attack("(RUN / 'code/baseline/statistics.py').write_text('boom')"),
    "plant bytecode beside the evaluator": Attack(
        "(RUN / 'code/baseline/__pycache__').mkdir(exist_ok=True); "
        "(RUN / 'code/baseline/__pycache__/evaluate.cpython-311.pyc').write_bytes(b'boom')"
    ),
    "change the size file": Attack("(RUN / 'code/size.json').write_text('{}')"),
    "mount the data writable": Attack(
        "subprocess.check_call(['mount', '-o', 'remount,rw', str(DATA)]); loot('mounted')"
    ),
    "reach the data through process 1": Attack("loot(os.listdir(f'/proc/1/root{DATA}/evaluator'))"),
    "reach it through any process": Attack(
        "[loot(os.listdir(f'/proc/{pid}/root{DATA}/evaluator')) for pid in os.listdir('/proc') if pid.isdigit() "
        "and os.path.isdir(f'/proc/{pid}/root{DATA}/evaluator')]"
    ),
    "climb out of a chroot": Attack(
        "os.mkdir(OUT / 'jail'); os.chroot(OUT / 'jail'); os.chdir('../' * 30); os.chroot('.'); "
        "loot(os.listdir(str(DATA / 'evaluator')))"
    ),
    "read it in a new user namespace": Attack(
        "argv = ['unshare', '--user', '--map-root-user', '--mount', 'cat', str(DATA / 'evaluator/test.json')]; "
        "subprocess.check_call(argv); loot('read')"
    ),
    "bind the data over its own folder": Attack(
        "libc.mount(str(DATA / 'evaluator').encode(), str(OUT).encode(), b'none', 4096, None) == 0 and loot('mounted')"
    ),
    "open a file by its handle": Attack(
        "handle, mount = ctypes.create_string_buffer((128).to_bytes(4, 'little'), 256), ctypes.c_int()\n"
        "libc.name_to_handle_at(-100, str(DATA / 'train').encode(), handle, ctypes.byref(mount), 0)\n"
        "libc.open_by_handle_at(os.open(DATA / 'train', os.O_RDONLY), handle, 0) >= 0 and loot('opened')"
    ),
    "go up from an open folder": Attack(
        "loot(os.listdir(os.open('../evaluator', os.O_RDONLY, dir_fd=os.open(DATA / 'train', os.O_RDONLY))))"
    ),
    "make a device of the disk": Attack(
        "os.mknod(OUT / 'disk', 0o60600, os.makedev(254, 0)); loot(open(OUT / 'disk', 'rb').read(1))"
    ),
    "read the memory of the kernel": Attack("[loot(open(name, 'rb').read(1)) for name in ('/dev/mem', '/proc/kcore')]"),
    "load code into the kernel": Attack(
        "libc.syscall(321, 0, ctypes.create_string_buffer(128), 128) >= 0 and loot('bpf')"
    ),
    "enter the namespaces of a process outside": Attack(
        "[libc.setns(os.open(f'/proc/{VICTIM}/ns/{name}', os.O_RDONLY), 0) == 0 and loot(name) for name in ('mnt', 'user')]"
    ),
    "enter them by its descriptor": Attack(
        "libc.setns(libc.syscall(434, VICTIM, 0), 0x20000) == 0 and loot('entered')"
    ),
    "watch what is opened": Attack(
        "libc.fanotify_mark(libc.fanotify_init(0, 0), 17, 0x20, -100, b'/') == 0 and loot('watching')"
    ),
}

RUN_STORE = {
    "write the own score": Attack("(TRIAL / 'score.json').write_text('{}')"),
    "write the own result": Attack("(TRY / 'result.json').write_text('{}')"),
    "write the evaluator's answer": Attack("(TRY / 'evaluation.json').write_text('{\"value\": 0.0, \"n\": 1}')"),
    "write it into the output": Attack("(OUT / 'evaluation.json').write_text('{\"value\": 0.0, \"n\": 1}')"),
    "change the own job": Attack("(TRY / 'job.json').write_text('{}')"),
    "write another try": Attack("(TRIAL / 'try_1').mkdir()"),
    "write the outcome of another": Attack("(OTHER / 'attempt_0/trial_0/score.json').write_text('{}')"),
    "fail another": Attack("(OTHER / 'failure.json').write_text('{}')"),
    "change the baseline's scores": Attack("(RUN / 'baseline/trial_0/score.json').write_text('{}')"),
    "write the report": Attack("(RUN / 'report.json').write_text('{}')"),
    "write the selection": Attack("(RUN / 'generation_000/selection.json').write_text('{}')"),
    "write an event": Attack("(RUN / 'events.jsonl').open('a').write('{}')"),
    "take the lock": Attack("(RUN / 'controller.json').write_text('{}')"),
    "pause the run": Attack("(RUN / 'pause.json').write_text('{}')"),
    "pin itself": Attack("(RUN / 'marks').mkdir(exist_ok=True); (RUN / 'marks/me.json').write_text('{}')"),
    "remove the run": Attack("shutil.rmtree(RUN / 'generation_000'); loot('removed')"),
    "rename the run": Attack("os.rename(RUN, str(RUN) + '-old')"),
    "read the code of another": Attack("loot((OTHER / 'attempt_0/variant/train.py').read_text())"),
    "copy the checkpoint of another": Attack(
        "loot((OTHER / 'attempt_0/trial_0/try_0/output/checkpoint/model.json').read_text())"
    ),
    "read the run's record": Attack("loot((RUN / 'run.json').read_text())"),
    "change the own code": Attack("(VARIANT / 'train.py').write_text('boom')"),
    "plant a file in the own code": Attack("(VARIANT / 'statistics.py').write_text('boom')"),
    "change the modes of the own code": Attack("os.chmod(VARIANT, 0o777); (VARIANT / 'x').write_text('x')"),
    "move the own output away": Attack("os.rename(OUT, TRY / 'elsewhere'); loot('moved')"),
    "plant records in the output": Attack(
        '[(OUT / f\'{name}.json\').write_text(\'{"metric": "mse", "value": 0.0, "value": 0.0, "n": 1}\') '
        "for name in ('score', 'result', 'failure', 'job', 'claim', 'ended', 'node_0', 'report')]"
    ),
    "forge metrics": Attack(
        '(OUT / \'metrics.jsonl\').write_text(\'{"step": NaN}\\n{"loss": 1e999}\\n{"loss": -1e308, "loss": 0}\\n\' '
        "+ '[' * 100_000 + '\\n{\"x\": ' + '9' * 5000 + '}\\n\"' + 'z' * 2_000_000 + '\"\\nnull\\n')"
    ),
}

TRUSTED_CODE = {
    "plant a .pth": Attack("(Path(sysconfig.get_paths()['purelib']) / 'evil.pth').write_text('import os')"),
    "plant a sitecustomize": Attack("(Path(sysconfig.get_paths()['purelib']) / 'sitecustomize.py').write_text('boom')"),
    "plant a user site": Attack(
        "site = HOME / '.local/lib/python3.11/site-packages'; site.mkdir(parents=True); "
        "(site / 'usercustomize.py').write_text('boom')"
    ),
    "change the standard library": Attack("Path(json.__file__).open('a').write('boom')"),
    "plant bytecode of the standard library": Attack(
        "(Path(json.__file__).parent / '__pycache__/decoder.cpython-311.pyc').write_bytes(b'boom')"
    ),
    "put a program first on PATH": Attack(
        "[(Path(place) / 'nvidia-smi').write_text('#!/bin/sh') for place in os.environ['PATH'].split(':') if place]"
    ),
    "change the checkout": Attack("(ROOT / 'pipeline/evil.py').write_text('boom')"),
    "change the run's copy of the program": Attack("(RUN / 'code/pipeline/evil.py').write_text('boom')"),
    "read the checkout": Attack("loot((ROOT / 'README.md').read_text())"),
    "preload a library": Attack("Path('/etc/ld.so.preload').write_text('/tmp/evil.so')"),
    "write to /usr": Attack("Path('/usr/local/bin/evil').write_text('boom')"),
    "write a login script": Attack("(HOME / '.bashrc').open('a').write('boom')"),
    "add a key": Attack("(HOME / '.ssh/authorized_keys').open('a').write('boom')"),
    "swap the interpreter": Attack("os.replace(shutil.copy('/bin/sh', OUT / 'sh'), sys.executable); loot('swapped')"),
    "plant a sitecustomize anywhere on the path": Attack(
        "[(Path(place) / 'sitecustomize.py').write_text('boom') for place in sys.path if os.access(place, os.W_OK)]"
    ),
    "leave files that tools read at their start": Attack(
        "[(OUT / name).write_text('boom') for name in ('sitecustomize.py', 'conftest.py', 'pyproject.toml', "
        "'.gitattributes', 'setup.cfg', 'evil.pth', '.env')]; (OUT / '.git/hooks').mkdir(parents=True)"
    ),
    "change a setting of the kernel": Attack(
        "place = Path('/proc/sys/kernel/core_pattern'); place.write_text(place.read_text()); loot('written')"
    ),
}

PROCESSES = {
    "kill a process outside": Attack("os.kill(VICTIM, 9)"),
    "stop a process outside": Attack("os.kill(VICTIM, 19); loot('stopped')"),
    "kill the parent": Attack("os.kill(os.getppid(), 9); os.kill(os.getppid(), 15)"),
    "stop the parent": Attack("os.kill(os.getppid(), 19)"),
    "trace the parent": Attack("os.getppid() != 1 and libc.ptrace(16, os.getppid(), 0, 0) == 0 and loot('traced')"),
    "trace a process outside": Attack("libc.ptrace(16, VICTIM, 0, 0) == 0 and loot('traced')"),
    "read the memory of a process outside": Attack("loot(open(f'/proc/{VICTIM}/mem', 'rb').read(1))"),
    "find processes outside": Attack(
        "[loot(pid) for pid in os.listdir('/proc') if pid.isdigit() and MARK in Path(f'/proc/{pid}/cmdline').read_text()]",
        landlock=False,
    ),
    "read an environment outside": Attack("loot(Path(f'/proc/{VICTIM}/environ').read_text())"),
    "renice a process outside": Attack("os.setpriority(os.PRIO_PROCESS, VICTIM, 19); loot('reniced')", landlock=False),
    "leave a daemon behind": Attack(
        "subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(10_000)', MARK], start_new_session=True)"
    ),
    "fork away from the group": Attack(
        "pid = os.fork()\nif pid == 0:\n    os.setsid()\n    if os.fork() == 0:\n        os.execv(sys.executable, "
        "[sys.executable, '-S', '-c', 'import time; time.sleep(10_000)', MARK])\n    os._exit(0)\nos.waitpid(pid, 0)"
    ),
    "ignore every signal": Attack("[signal.signal(n, signal.SIG_IGN) for n in (1, 2, 13, 15)]"),
    "leave open what it inherited": Attack(
        "[loot(os.readlink(f'/proc/self/fd/{n}')) for n in os.listdir('/proc/self/fd') if int(n) > 2 "
        "and os.path.exists(f'/proc/self/fd/{n}') and str(RUN) in os.readlink(f'/proc/self/fd/{n}') "
        "and str(OUT) not in os.readlink(f'/proc/self/fd/{n}')]"
    ),
    "answer in the name of the sandbox": Attack(
        "[loot(n) for n in range(3, 64) if os.path.exists(f'/proc/self/fd/{n}') "
        "and 'pipe' in os.readlink(f'/proc/self/fd/{n}')]"
    ),
    "take a descriptor of a process outside": Attack(
        "libc.syscall(438, libc.syscall(434, VICTIM, 0), 0, 0) >= 0 and loot('taken')"
    ),
    "kill by a descriptor": Attack("libc.syscall(424, libc.syscall(434, VICTIM, 0), 9, None, 0)"),
    "limit a process outside": Attack(
        "import resource; resource.prlimit(VICTIM, resource.RLIMIT_NOFILE, (64, 1024)); loot('limited')", landlock=False
    ),
    "offer a process outside to the kernel's killer": Attack(
        "Path(f'/proc/{VICTIM}/oom_score_adj').write_text('1000'); loot('offered')"
    ),
    "escape that killer": Attack("Path('/proc/self/oom_score_adj').write_text('-1000'); loot('escaped')"),
    "take precedence": Attack("os.setpriority(os.PRIO_PROCESS, 0, -20); loot('precedence')"),
    "run in real time": Attack("os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99)); loot('real time')"),
    "leave the control group": Attack(
        "[(Path(place) / 'cgroup.procs').write_text(str(os.getpid())) and loot(place) "
        "for place, _, names in os.walk('/sys/fs/cgroup') if 'cgroup.procs' in names]"
    ),
    "raise the limits of the control group": Attack(
        "[(Path(place) / name).write_text('999999999999') and loot(place) for place, _, names in os.walk('/sys/fs/cgroup') "
        "for name in ('memory.max', 'memory.limit_in_bytes', 'pids.max') if name in names]"
    ),
    "become another user": Attack("os.setgid(65534); os.setuid(65534); loot('another user')"),
    "give a file to another user": Attack("(OUT / 'x').touch(); os.chown(OUT / 'x', 12345, 12345); loot('given')"),
    "make the output immutable": Attack(
        "import fcntl; fcntl.ioctl(os.open(OUT, os.O_RDONLY), 0x40086602, (16).to_bytes(8, 'little')); loot('immutable')"
    ),
    "set the clock": Attack("time.clock_settime(time.CLOCK_REALTIME, time.time()); loot('set')"),
    "write to a terminal of the user": Attack(
        "os.write(os.open(TERMINAL, os.O_WRONLY | os.O_NOCTTY), b'\\x1b]0;evil\\a'); loot('written')"
    ),
    "stay as code without a file": Attack(
        "file = os.memfd_create('x'); os.write(file, Path('/bin/sleep').read_bytes())\n"
        "if os.fork() == 0: os.execve(file, ['sleep', '10000', MARK], {})"
    ),
}

CHANNELS = {
    "leave a file in /tmp": Attack("Path('/tmp/groundwork-channel').write_text(MARK)"),
    "leave a file in /var/tmp": Attack("Path('/var/tmp/groundwork-channel').write_text(MARK)"),
    "leave a file in /dev/shm": Attack("Path('/dev/shm/groundwork-channel').write_text(MARK)", landlock=False),
    "leave shared memory of System V": Attack("libc.shmget(SHARED, 4096, 0o1666)", landlock=False),
    "leave a semaphore of System V": Attack("libc.semget(SHARED, 1, 0o1666)", landlock=False),
    "leave a key with the kernel": Attack(
        "libc.syscall(248, b'user', b'groundwork-channel', MARK.encode(), len(MARK), -3)"
    ),
    "leave a setuid program": Attack("shutil.copy('/bin/sh', OUT / 'channel'); os.chmod(OUT / 'channel', 0o6755)"),
    "leave folders inside folders": Attack(
        "for place in (OUT, os.environ['TMPDIR']):\n    os.chdir(place)\n"
        "    for _ in range(1100): os.mkdir('d'); os.chdir('d')\nos.chdir('/')"
    ),
    "leave folders that nobody may read": Attack(
        "(OUT / 'closed/inside').mkdir(parents=True); (OUT / 'closed').chmod(0)"
    ),
    "leave names that are no text": Attack(
        "(OUT / os.fsdecode(b'\\xff\\x1b[2J\\n')).touch(); (OUT / 'a\\u202eb').touch(); (OUT / ('n' * 255)).mkdir()"
    ),
    "write a cache of the compilers": Attack(
        "place = Path(os.environ['TRITON_CACHE_DIR']); place.mkdir(parents=True); (place / MARK).write_text(MARK)"
    ),
    "write to the next variant's temporary folder": Attack(
        "[(path / 'x').write_text(MARK) for path in Path('/tmp').glob('groundwork-*') if path.is_dir() "
        "and not Path(os.environ['TMPDIR']).is_relative_to(path)]"
    ),
}

SECRETS = {
    "read the environment": Attack("[loot(value) for value in os.environ.values() if MARK in value]"),
    "read a key of ssh": Attack("loot((HOME / '.ssh/id_ed25519').read_text())"),
    "read a .env": Attack("loot((HOME / '.env').read_text())"),
    "list the home folder": Attack("loot(os.listdir(HOME)) if '.env' in os.listdir(HOME) else None"),
    "expand ~": Attack("loot(Path('~/.env').expanduser().read_text())"),
    "read the hashes of passwords": Attack("loot(Path('/etc/shadow').read_text())"),
    "read the cluster's key": Attack("loot(Path('/etc/munge/munge.key').read_bytes())"),
    "read the machine's key": Attack("loot(Path('/etc/ssh/ssh_host_ed25519_key').read_bytes())"),
    "read a key of the login": Attack("libc.syscall(250, 10, -3, b'user', b'groundwork-login', 0) > 0 and loot('key')"),
    "read the environment of any process": Attack(
        "[loot(pid) for pid in os.listdir('/proc') if pid.isdigit() and readable(f'/proc/{pid}/environ') "
        "and MARK in Path(f'/proc/{pid}/environ').read_text(errors='replace')]"
    ),
}

NETWORK = {
    "connect to a server of this machine": Attack(
        "socket.create_connection(('127.0.0.1', PORT), 2); loot('connected')", landlock=False
    ),
    "send a datagram": Attack(
        "socket.socket(type=socket.SOCK_DGRAM).sendto(MARK.encode(), ('127.0.0.1', UDP))", landlock=False
    ),
    "connect to a Unix socket": Attack(
        "socket.socket(socket.AF_UNIX).connect(SOCKET); loot('connected')", landlock=False
    ),
    "connect to an abstract socket": Attack("socket.socket(socket.AF_UNIX).connect(ABSTRACT); loot('connected')"),
    "connect to the outside": Attack("socket.create_connection(('1.1.1.1', 53), 1); loot('connected')", landlock=False),
    "send raw packets": Attack("socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0); loot('raw')"),
    "listen to the kernel": Attack("socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9).bind((0, 1)); loot('heard')"),
    "listen for other machines": Attack(
        "[loot(name) for _, name in socket.if_nameindex() if name != 'lo']", landlock=False
    ),
    "resolve a name": Attack("loot(socket.getaddrinfo('pypi.org', 443))", landlock=False),
}

GROUPS = {
    "evaluator and data": EVALUATOR,
    "run store": RUN_STORE,
    "trusted code": TRUSTED_CODE,
    "processes": PROCESSES,
    "channels": CHANNELS,
    "secrets": SECRETS,
    "network": NETWORK,
}
"""Attacks that have no effect: the score is that of the unmodified code."""

_MODEL = "(checkpoint / 'model.json')"
FAILING = {
    "a link for a checkpoint": (
        "shutil.move(checkpoint, OUT / 'elsewhere'); os.symlink(OUT / 'elsewhere', checkpoint)",
        FailureKind.BAD_CHECKPOINT,
    ),
    "a link in the checkpoint": (
        f"{_MODEL}.unlink(); os.symlink(OTHER / 'attempt_0/trial_0/try_0/output/checkpoint/model.json', {_MODEL})",
        FailureKind.BAD_CHECKPOINT,
    ),
    "a hard link in the checkpoint": (f"os.link({_MODEL}, OUT / 'second')", FailureKind.BAD_CHECKPOINT),
    "a pipe in the checkpoint": (f"{_MODEL}.unlink(); os.mkfifo({_MODEL})", FailureKind.BAD_CHECKPOINT),
    "a socket in the checkpoint": (
        "os.chdir(checkpoint); socket.socket(socket.AF_UNIX).bind('model.sock')",
        FailureKind.BAD_CHECKPOINT,
    ),
    "a huge file with a hole": (f"os.truncate({_MODEL}, 10 << 30)", FailureKind.BAD_CHECKPOINT),
    "folders inside folders": (
        "os.chdir(checkpoint)\nfor _ in range(500): os.mkdir('d'); os.chdir('d')\nos.chdir('/')",
        FailureKind.BAD_CHECKPOINT,
    ),
    "folders without end": (
        "os.chdir(OUT)\nfor _ in range(60): os.mkdir('d' * 100); os.chdir('d' * 100)\ntime.sleep(100)",
        FailureKind.OVER_LIMIT,
    ),
    "a name that is no text": (
        "(checkpoint / os.fsdecode(b'\\xff\\x1b[2J\\n')).touch()",
        FailureKind.BAD_CHECKPOINT,
    ),
    "too many folders": ("[(checkpoint / str(n)).mkdir() for n in range(10_001)]", FailureKind.BAD_CHECKPOINT),
    "a pipe for metrics": (
        "(OUT / 'metrics.jsonl').unlink(); os.mkfifo(OUT / 'metrics.jsonl'); raise ValueError",
        FailureKind.EXCEPTION,
    ),
    "too many files": (
        "[(checkpoint / f'{n}.json').touch() for n in range(10_001)]",
        FailureKind.BAD_CHECKPOINT,
    ),
    "a pickle": ("(checkpoint / 'model.pkl').write_bytes(b'cos\\nsystem\\n.')", FailureKind.BAD_CHECKPOINT),
    "code": ("(checkpoint / 'modeling.py').write_text('boom')", FailureKind.BAD_CHECKPOINT),
    "a file for a folder": (
        "shutil.rmtree(checkpoint); checkpoint.write_text('{}')",
        FailureKind.NO_CHECKPOINT,
    ),
    "an empty folder": (f"{_MODEL}.unlink()", FailureKind.BAD_CHECKPOINT),
    "no number": (f"{_MODEL}.write_text('{{\"weights\": [NaN, NaN]}}')", FailureKind.BAD_CHECKPOINT),
    "infinity": (f"{_MODEL}.write_text('{{\"weights\": [1e999]}}')", FailureKind.BAD_CHECKPOINT),
    "no JSON": (f"{_MODEL}.write_bytes(b'\\xff\\xfe\\x00')", FailureKind.BAD_CHECKPOINT),
    "JSON that is too deep": (f"{_MODEL}.write_text('[' * 200_000)", FailureKind.EXCEPTION),
    "a full disk that is none": (
        "print('OSError: [Errno 28] No space left on device'); sys.stdout.flush(); os._exit(1)",
        FailureKind.EXCEPTION,
    ),
    "a broken GPU that is none": (
        "print('RuntimeError: CUDA error: unknown error'); sys.stdout.flush(); os._exit(1)",
        FailureKind.EXCEPTION,
    ),
    "a failure of the sandbox that is none": (
        "print('bwrap: Creating new namespace failed'); sys.stdout.flush(); os._exit(1)",
        FailureKind.EXCEPTION,
    ),
    "the end of all its processes": ("os.kill(-1, 9); os._exit(3)", FailureKind.EXCEPTION),
}
"""Attacks that end as a failure of this kind."""

HONEST = {
    "a big checkpoint": "(checkpoint / 'more.json').write_text('0' * 10_000_000)",
    "much output": "[print('x' * 100) for _ in range(20_000)]",
    "worker processes": (
        "import multiprocessing\nwith multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "    assert pool.map(abs, [-1, -2]) == [1, 2]"
    ),
    "a subprocess": "assert subprocess.check_output(['echo', 'hello']) == b'hello\\n'",
    "another Python": "subprocess.check_call([sys.executable, '-S', '-c', 'pass'])",
    "loopback": (
        "server = socket.create_server(('127.0.0.1', 0)); client = socket.create_connection(server.getsockname()); "
        "server.accept()[0].sendall(b'x'); assert client.recv(1) == b'x'"
    ),
    "temporary files": "import tempfile\nwith tempfile.TemporaryDirectory() as one: (Path(one) / 'x').write_text('x')",
    "shared memory": "import mmap\nmmap.mmap(-1, 1 << 20).write(b'x')",
    "threads": (
        "import threading\nthreads = [threading.Thread(target=abs, args=(1,)) for _ in range(50)]\n"
        "[one.start() for one in threads]; [one.join() for one in threads]"
    ),
    "a link in the output": "os.symlink('metrics.jsonl', OUT / 'newest')",
    "a folder in the checkpoint": "(checkpoint / 'parts').mkdir(); (checkpoint / 'parts/a.json').write_text('{}')",
    "odd names": "(OUT / 'a b\\tc').write_text('x'); (OUT / 'ümlaut').write_text('x')",
    "the home folder for a cache": "(Path('~').expanduser() / '.cache').mkdir(exist_ok=True)",
}
"""Unusual but honest variants: the score is that of the unmodified code."""
