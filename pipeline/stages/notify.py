"""Send notices with `notify.command`, without waiting for it; a cause again an hour after it ended, at the earliest."""

import contextlib
import subprocess
from collections.abc import Callable, Iterable, Sequence

from pipeline.policy.notices import Notice
from pipeline.store import files
from pipeline.store.run import Run

_AGAIN_S = 3600.0
_LIMIT_S = 60.0
"""Time limit of the command, seconds."""


class Notifier:
    """Sends one notice for each cause while it holds."""

    def __init__(self, run: Run, clock: Callable[[], float], command: Sequence[str]) -> None:
        self._run, self._clock, self._command = run, clock, command
        self._told = files.read_if_there(run.paths.notified, dict[str, float]) or {}
        """When each cause last held, seconds since 1970."""
        self._started: list[tuple[float, subprocess.Popen[bytes]]] = []

    def tell(self, found: Iterable[Notice]) -> None:
        """Send the new ones among all current notices."""
        now, known = self._clock(), dict(self._told)
        self._told = {cause: at for cause, at in self._told.items() if now - at < _AGAIN_S}
        for notice in found:
            if notice.cause not in self._told:
                self._send(notice)
            self._told[notice.cause] = now
        if self._told.keys() != known.keys():
            files.replace(self._run.paths.notified, self._told)
        self._end_late(now)

    def _send(self, notice: Notice) -> None:
        text = f"{self._run.name}: {notice.text}"
        try:
            process = subprocess.Popen(
                [word.replace("{text}", text) for word in self._command],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            self._run.event("not notified", detail=f"{self._command[0]}: {error.strerror}; {notice.text}")
            return
        assert process.stdin is not None
        with (
            contextlib.suppress(BrokenPipeError),
            process.stdin as stdin,
        ):  # far less than the capacity of a pipe, so that it never blocks
            stdin.write(f"{text[:4000]}\n".encode())
        self._started.append((self._clock(), process))
        self._run.event("notified", detail=notice.text)

    def _end_late(self, now: float) -> None:
        for at, process in self._started:
            if process.poll() is None and now - at > _LIMIT_S:
                process.kill()
        self._started = [(at, process) for at, process in self._started if process.poll() is None]
