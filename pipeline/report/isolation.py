"""How the variants of a run were isolated: the kinds of sandbox in which they were trained."""

from collections.abc import Iterable, Mapping

from pipeline.text import counted

_NONE = "none"


def kinds(found: Iterable[str]) -> str:
    """The kinds of sandbox, each once and in order, for a field `sandbox`; those of earlier versions are unknown."""
    return ", ".join(sorted({*found} - {""}))


def isolation_line(scored: Mapping[str, int]) -> str:
    """One line on how the scored candidates were isolated; a warning if some were not, empty if nothing is known.

    scored: number of scored candidates by kind of sandbox; candidates from earlier versions have the kind `""`."""
    known = {kind: count for kind, count in sorted(scored.items()) if kind and count}
    open_to_all = known.pop(_NONE, 0)
    if open_to_all:
        return (
            f"NO SANDBOX: {counted(open_to_all, 'scored candidate')} could read held-out data and change any file of yours, "
            "scores included; believe no result before it is repeated with train.sandbox=auto"
        )
    if not known:
        return ""
    kinds = ", ".join(f"{kind} ({counted(count, 'candidate')})" for kind, count in known.items())
    return f"variants were isolated by {kinds}"


def warnings(scored: Mapping[str, int]) -> list[str]:
    """The isolation line if it is a warning, else nothing."""
    return [isolation_line(scored)] if scored.get(_NONE) else []
