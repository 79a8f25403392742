"""Which ready trials are submitted now, if several share a job (`cluster.pack`)."""

from collections.abc import Sequence

from pipeline.cluster.packs import packed
from pipeline.policy.trials import Wanted


def kind_of(wanted: Wanted) -> str:
    """Key of trials that take about equally long: those with the same budget, and those that only score."""
    return "scoring" if wanted.of is not None else f"budget {wanted.budget}"


def submitted_now(ready: Sequence[Wanted], free: int, pack: int, in_flight: int, more: bool) -> list[Wanted]:
    """The trials to submit, members of a pack next to each other. `ready` is most urgent first, `free` the number of slots.

    Packs that are not full wait while there is `more` to come, or while slots are missing that trials in flight will free,
    since a pack with one member occupies a whole node."""
    short = len(ready) > free and in_flight > 0
    packs = packed(ready[:free], kind_of, pack)
    return [wanted for one in packs if len(one) == pack or not (short or more) for wanted in one]
