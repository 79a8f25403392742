"""Sends tokens to an untrusted model and receives logits. Protected.

The scorer and each server (serve.py) share one folder that no other process uses. The scorer creates everything in it:

    buffer       tokens (B, T) int64 | positions (B, P) int64 | logits (B, P, V) float32, sizes fixed by the scorer
    ask, answer  named pipes: the number of a call, as eight bytes, and the same number back when the logits are there
    layout.json  B, T, P, V; written last, it opens the exchange

Both sides block on a pipe, so waiting costs no CPU time, and the end of either side is noticed immediately. The scorer
reads and writes the buffer with pread and pwrite: it uses a copy that the server can no longer change, and a file cut
short is a short read instead of a signal. Nothing is unpickled; every byte pattern is an integer or a float. The buffer
is in host memory. With a GPU the server copies its logits there, too: slower than a buffer on the GPU, but without a
shared process namespace.
"""

import contextlib
import json
import os
import select
import struct
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

NUMBER = struct.Struct("<Q")
READY = 0
"""What the server sends, without a request, once its model is loaded."""


class BadServer(Exception):
    """A server that violates the protocol. `kind` is the kind of the failure, the message gives the reason in one
    line."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


class ServerGone(Exception):
    """A server that ended early; the reason is in its log."""


@dataclass(frozen=True)
class Layout:
    """Sizes of the buffer."""

    batch: int
    """Rows of a call, B."""
    context: int
    """Tokens of a row, T."""
    positions: int
    """Positions of a row whose logits are requested, P."""
    vocabulary: int
    """Logits of a position, V."""

    @property
    def positions_at(self) -> int:
        """Offset of the positions, bytes."""
        return 8 * self.batch * self.context

    @property
    def logits_at(self) -> int:
        """Offset of the logits, bytes."""
        return self.positions_at + 8 * self.batch * self.positions

    @property
    def logits_bytes(self) -> int:
        return 4 * self.batch * self.positions * self.vocabulary

    @property
    def bytes(self) -> int:
        """Size of the buffer."""
        return self.logits_at + self.logits_bytes


class Exchange:
    """The scorer's side. Creating it opens the exchange; `close` ends the server."""

    def __init__(self, folder: Path, layout: Layout) -> None:
        self.folder, self.layout, self.calls = folder, layout, 0
        self.name = folder.name
        self.copy = np.empty((layout.batch, layout.positions, layout.vocabulary), dtype="<f4")  # fresh pages are slow
        try:
            self.buffer = os.open(folder / "buffer", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            os.posix_fallocate(self.buffer, 0, layout.bytes)  # a full disk is noticed here and not later
            os.mkfifo(folder / "ask", 0o600)
            os.mkfifo(folder / "answer", 0o600)
        except FileExistsError as error:
            raise BadServer("exception", f"server {self.name} wrote into its exchange before it was open") from error
        # Both ways: opening then never waits for the server.
        self.ask_pipe = os.open(folder / "ask", os.O_RDWR | os.O_NONBLOCK)
        self.answer_pipe = os.open(folder / "answer", os.O_RDONLY | os.O_NONBLOCK)
        self.poll = select.poll()
        self.poll.register(self.answer_pipe, select.POLLIN)
        part = folder / "layout.json.partial"
        part.write_text(json.dumps(asdict(layout)))
        os.replace(part, folder / "layout.json")

    def wait_until_ready(self, limit_s: float) -> None:
        """Returns once the server has loaded its model. Raises BadServer or ServerGone."""
        self._wait(READY, limit_s, "load its model")
        for name in ("buffer", "ask", "answer"):  # both sides hold them open; nothing remains if both are killed
            (self.folder / name).unlink(missing_ok=True)

    def ask(self, tokens: np.ndarray, positions: np.ndarray) -> None:
        """Starts a call: tokens (B, T), and the positions (B, P) of each row whose logits are required."""
        if self.poll.poll(0):
            self._read(None)
        tokens, positions = tokens.astype("<i8", order="C"), positions.astype("<i8", order="C")
        _write(self.buffer, tokens, 0)
        _write(self.buffer, positions, self.layout.positions_at)
        self.calls += 1
        os.write(self.ask_pipe, NUMBER.pack(self.calls))

    def answer(self, limit_s: float) -> np.ndarray:
        """The logits (B, P, V) of the call, float32: a copy that the server cannot access and the next answer replaces.
        Raises BadServer or ServerGone."""
        self._wait(self.calls, limit_s, f"answer call {self.calls}")
        if _read(self.buffer, self.copy, self.layout.logits_at) < self.layout.logits_bytes:
            raise BadServer("exception", f"server {self.name} cut the buffer short in call {self.calls}")
        return self.copy

    def close(self) -> None:
        """Ends the exchange; the server reads the end of the pipe and exits."""
        for handle in (self.buffer, self.ask_pipe, self.answer_pipe):
            os.close(handle)

    def _wait(self, number: int, limit_s: float, what: str) -> None:
        if not self.poll.poll(1000 * limit_s):
            raise BadServer("timeout", f"server {self.name} took more than {limit_s:g} s to {what}")
        self._read(number)

    def _read(self, expected: int | None) -> None:
        found = os.read(self.answer_pipe, 4096)
        if not found:
            raise ServerGone(f"server {self.name} ended after {self.calls} calls")
        if expected is None or found != NUMBER.pack(expected):
            words = "unasked" if expected is None else f"to call {expected}" if expected else "before the first call"
            raise BadServer("exception", f"server {self.name} answered {words} with {len(found)} bytes: {found[:16]!r}")


@dataclass(frozen=True)
class Call:
    """A request to a server, and the place for its answer."""

    tokens: np.ndarray
    """(B, T) int64."""
    positions: np.ndarray
    """(B, P) int64."""
    logits: np.ndarray
    """(B, P, V) float32, to be filled."""


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Iterator[Call]]:
    """The server's side: waits for the exchange, reports that it is ready, and yields calls until the scorer closes it.
    A call is answered when the next one is requested."""
    while not (folder / "layout.json").exists():
        time.sleep(0.01)
    layout = Layout(**json.loads((folder / "layout.json").read_text()))
    buffer = np.memmap(folder / "buffer", dtype=np.uint8, mode="r+", shape=(layout.bytes,))
    answer, ask = os.open(folder / "answer", os.O_WRONLY), os.open(folder / "ask", os.O_RDONLY)
    try:
        yield _calls(layout, buffer, ask, answer)
    finally:
        os.close(answer)
        os.close(ask)


def _calls(layout: Layout, buffer: np.ndarray, ask: int, answer: int) -> Iterator[Call]:
    b, t, p, v = layout.batch, layout.context, layout.positions, layout.vocabulary
    tokens = buffer[: layout.positions_at].view("<i8").reshape(b, t)
    positions = buffer[layout.positions_at : layout.logits_at].view("<i8").reshape(b, p)
    logits = buffer[layout.logits_at :].view("<f4").reshape(b, p, v)
    os.write(answer, NUMBER.pack(READY))
    while number := os.read(ask, NUMBER.size):
        yield Call(tokens, positions, logits)
        os.write(answer, number)


def _write(handle: int, array: np.ndarray, offset: int) -> None:
    view = memoryview(array).cast("B")
    while view:  # one call moves at most 2 GiB
        done = os.pwrite(handle, view, offset)
        view, offset = view[done:], offset + done


def _read(handle: int, array: np.ndarray, offset: int) -> int:
    """Fills the array; returns the number of bytes read."""
    view, total = memoryview(array).cast("B"), 0
    while view and (done := os.preadv(handle, [view], offset + total)):
        view, total = view[done:], total + done
    return total
