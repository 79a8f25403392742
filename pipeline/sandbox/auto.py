"""The strongest sandbox that works on this machine."""

from collections.abc import Callable, Sequence

from pipeline.sandbox import apptainer, bubblewrap, landlock
from pipeline.sandbox.base import Access, Command, Outcome, RunLimits, Sandbox
from pipeline.sandbox.contained import Contained


class Auto:
    """Chosen on the machine where the command runs, since nodes of a cluster may differ: bubblewrap, else landlock, else
    none."""

    def __init__(self, read: Sequence[str] = ()) -> None:
        """`read` are additional files and folders that every command may read, e.g. software of the site."""
        self._chosen = strongest(read)
        self.kind, self.private_memory = self._chosen.kind, self._chosen.private_memory

    def run(
        self, command: Command, access: Access, limits: RunLimits, enough: Callable[[], bool] = lambda: False
    ) -> Outcome:
        return self._chosen.run(command, access, limits, enough)


def strongest(read: Sequence[str] = ()) -> Sandbox:
    """A sandbox of the strongest kind that works on this machine."""
    if not bubblewrap.trouble():
        return bubblewrap.Bubblewrap(read)
    if not landlock.trouble():
        return landlock.Landlock(read)
    return Contained()


def kinds() -> dict[str, str]:
    """Each kind, strongest first, with the reason why it does not work on this machine; empty if it does."""
    return {"bubblewrap": bubblewrap.trouble(), "apptainer": apptainer.trouble(), "landlock": landlock.trouble()}
