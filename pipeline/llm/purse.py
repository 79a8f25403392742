"""The money that all models of a run share."""

import threading


class Purse:
    """Counts what was spent and what requests in flight may cost at most. Safe to use from several threads."""

    def __init__(self, usd: float, spent_usd: float) -> None:
        """`usd` is the most that may be spent, `spent_usd` included; 0 means no limit."""
        self.usd = usd
        self._spent_usd, self._reserved_usd = spent_usd, 0.0
        self._changed = threading.Condition()

    @property
    def spent(self) -> float:
        """Dollars spent so far."""
        with self._changed:
            return self._spent_usd

    def reserve(self, usd: float, stopping: threading.Event) -> float | None:
        """Set aside what an answer may cost at most, waiting for answers in flight to cost less than they might. Returns
        none once it is, or as the program ends, else what was spent when there is no room for it."""
        with self._changed:
            while self.usd and self._spent_usd + self._reserved_usd + usd > self.usd and not stopping.is_set():
                if self._spent_usd + usd > self.usd:
                    return self._spent_usd
                self._changed.wait(1.0)
            self._reserved_usd += usd
        return None

    def settle(self, reserved: float, usd: float) -> None:
        """Give back what was set aside, and count what the answer cost."""
        with self._changed:
            self._reserved_usd -= reserved
            self._spent_usd += usd
            self._changed.notify_all()
