"""Training on several nodes. Each node runs `train` in its own task, and a failure on any node ends all.

The nodes communicate through files in the try's folder, which is all that they are known to share. Node 0 claims the try,
chooses the rendezvous address, and reports the outcome.
"""

import socket
import time
from dataclasses import dataclass

from pipeline.cluster.jobs import Node
from pipeline.records import Claim, Failure, FailureKind
from pipeline.store import files
from pipeline.store.paths import TryPaths

_LOOK_S = 0.5
_PEERS_S = 60.0
"""How long node 0 waits for the files of the other nodes, which a shared disk may show late, in seconds."""


@dataclass(frozen=True)
class Meeting:
    """Where the ranks of a training meet (rendezvous.json)."""

    address: str
    """A name of the first node that the others can resolve."""
    port: int
    """A free port on that node."""


@dataclass(frozen=True)
class NodeEnd:
    """How the training ended on one node (node_K.json)."""

    failure: Failure | None
    """Why it failed, if it did."""
    at: float
    """Seconds since 1970."""


class Peers:
    """The nodes of one try, seen from one of them."""

    def __init__(self, paths: TryPaths, node: Node, count: int) -> None:
        self._paths = paths
        self._node = node
        self._others = [number for number in range(count) if number != node.number]
        self._looked = 0.0
        self._failed = False

    def meet(self) -> Meeting | None:
        """Where the ranks meet. Node 0 chooses, and the others wait for its choice; none if the try ends before that."""
        path = self._paths.rendezvous
        if self._node.number == 0:
            with socket.socket() as probe:  # the system chooses the port, so that trials on one node do not collide
                probe.bind(("", 0))
                meeting = Meeting(_address(self._node.first) if self._others else "127.0.0.1", probe.getsockname()[1])
            if self._others:
                files.create(path, meeting)
            return meeting
        while (found := files.read_if_there(path, Meeting)) is None and not _is_over(self._paths):
            time.sleep(_LOOK_S)
        return found

    def failed(self) -> bool:
        """Whether another node has failed or the try is over, so that this node should stop."""
        if self._others and not self._failed and time.monotonic() - self._looked > _LOOK_S:
            self._looked = time.monotonic()
            ends = [files.read_if_there(self._paths.node(number), NodeEnd) for number in self._others]
            self._failed = any(end is not None and end.failure is not None for end in ends)
            self._failed |= self._paths.result.exists()
        return self._failed

    def agree(self, failure: Failure | None) -> Failure | None:
        """Record this node's end. On node 0, return the earliest failure of all nodes."""
        if not self._others:
            return failure
        files.create(self._paths.node(self._node.number), NodeEnd(failure, time.time()))
        if self._node.number:
            return failure
        deadline = time.monotonic() + _PEERS_S
        ends: list[NodeEnd | None] = []
        while time.monotonic() < deadline:
            ends = [files.read_if_there(self._paths.node(number), NodeEnd) for number in (0, *self._others)]
            if None not in ends:
                break
            time.sleep(_LOOK_S)
        failures = sorted((end for end in ends if end and end.failure), key=lambda end: end.at)
        causes = [end.failure for end in failures if end.failure and end.failure.kind is not FailureKind.CANCELLED]
        return next(iter(causes), failure)


def _address(name: str) -> str:
    """A name that other nodes can resolve: the cluster's name of this node, else the local host name."""
    try:
        socket.getaddrinfo(name, None)
    except socket.gaierror:
        return socket.gethostname()
    return name


def _is_over(paths: TryPaths) -> bool:
    """Whether node 0 has reported an end, or the controller has given up the try. In the second case a training that has
    begun continues: if the job is alive after all, its result counts."""
    return paths.result.exists() or paths.ended.exists()


def wait_for_claim(paths: TryPaths, job_id: str) -> bool:
    """On a node other than 0: whether node 0 has claimed the try for this job; false if the try ends before that."""
    while (held := files.read_if_there(paths.claim, Claim)) is None and not _is_over(paths):
        time.sleep(_LOOK_S)
    return held is not None and held.job_id == job_id
