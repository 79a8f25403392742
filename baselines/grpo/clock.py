"""When training has to stop. Protected."""

import os
import time
from pathlib import Path


def seconds_since_start() -> float:
    """Wall seconds since the start of this process, including imports (Linux)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # seconds after boot
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


class Budget:
    """`steps=80` or `seconds=3600`; `steps=20/80` stops after 20 of 80, to be continued. With seconds, training ends early
    enough to close its checkpoint in time."""

    def __init__(self, text: str, seconds_before: float = 0.0, reserve: float = 0.0) -> None:
        """seconds_before: used by earlier tries of this trial; reserve: seconds that the last checkpoint takes."""
        self.unit, _, amount = text.partition("=")
        stop, slash, whole = amount.partition("/")
        numbers = (stop, whole if slash else stop)
        if self.unit not in ("steps", "seconds") or not all(one.replace(".", "", 1).isdigit() for one in numbers):
            raise SystemExit(f"--budget {text}: expected steps=N or seconds=N, or N/M to stop at N of M")
        self.stop, self.amount = map(float, numbers)
        self.continues = self.stop < self.amount
        self.seconds_before = seconds_before
        self.reserve = reserve
        self.longest_step = 0.0
        self.last_look = self.seconds()

    def seconds(self) -> float:
        """Wall seconds of this trial so far, all tries together."""
        return self.seconds_before + seconds_since_start()

    def progress(self, step: int) -> float:
        """Share of the training, from 0 to 1, that is done in the middle of the step after `step` finished ones;
        on the wall clock, at this moment."""
        if self.unit == "steps":
            return (step + 0.5) / self.amount
        return min(1.0, self.seconds() / (self.amount - self.reserve))

    def over(self, step: int) -> bool:
        """Whether there is no time or step left for another one. Call once before each step."""
        if self.unit == "steps":
            return step >= self.stop
        now = self.seconds()
        if step:
            self.longest_step = max(self.longest_step, now - self.last_look)
        self.last_look = now
        return now + 1.1 * self.longest_step + self.reserve > self.stop
