"""The budget that all models of a run share."""

import threading


class Purse:
    """Counts dollars spent, and the maximum cost of requests in flight. Safe to use from several threads."""

    def __init__(self, usd: float, spent_usd: float) -> None:
        """`usd` is the budget, including `spent_usd`; 0 means no limit."""
        self.usd = usd
        self._spent_usd, self._reserved_usd = spent_usd, 0.0
        self._changed = threading.Condition()

    @property
    def spent(self) -> float:
        """Dollars spent so far."""
        with self._changed:
            return self._spent_usd

    def reserve(self, usd: float, stopping: threading.Event) -> float | None:
        """Reserve the maximum cost of an answer, waiting while answers in flight may still cost less than their
        maximum. None once it is reserved, or if the program ends; the dollars spent if the budget has no room for
        it."""
        with self._changed:
            while self.usd and self._spent_usd + self._reserved_usd + usd > self.usd and not stopping.is_set():
                if self._spent_usd + usd > self.usd:
                    return self._spent_usd
                self._changed.wait(1.0)
            self._reserved_usd += usd
        return None

    def settle(self, reserved: float, usd: float) -> None:
        """Release a reservation, and count the actual cost of the answer."""
        with self._changed:
            self._reserved_usd -= reserved
            self._spent_usd += usd
            self._changed.notify_all()
