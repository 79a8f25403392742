"""Which of the trials that are ready are submitted now, where several share a job (`cluster.pack`)."""

from collections.abc import Sequence

from pipeline.cluster.packs import packed
from pipeline.policy.trials import Wanted


def kind_of(wanted: Wanted) -> str:
    """Trials of the same kind take about as long: those that train with the same budget, and those that only score."""
    return "scoring" if wanted.of is not None else f"budget {wanted.budget}"


def submitted_now(ready: Sequence[Wanted], free: int, pack: int, in_flight: int, more: bool) -> list[Wanted]:
    """The trials to submit, members of a pack side by side. `ready` is most urgent first, `free` the number of slots.

    Packs that are not full wait while there is `more` to come, and while slots are missing that trials in flight will
    free: a pack that starts with one member holds a whole node for it."""
    short = len(ready) > free and in_flight > 0
    packs = packed(ready[:free], kind_of, pack)
    return [wanted for one in packs if len(one) == pack or not (short or more) for wanted in one]
