"""Checks whether a score is legitimate: the same text again, with another future. Protected.

The scored windows are sent to one server, probes to other, newly started ones, which share nothing with it. A probe is
the beginning of a scored window up to a secret cut, then other held-out text. The probed server answers for the tokens
before the cut without knowing what really follows. So if the scored server answers differently, its answer depends on
what it must not know: tokens after the cut, other rows of its batch (a probe has other neighbours), or earlier calls (a
probe comes at another time). Behaving well when a text looks like a probe gains nothing, because what is scored is
never a probe; and remembering texts gains nothing, because a server that saw the end of a text is never asked about its
beginning.

The position before the cut matters most: only there does a look at the very next token show. One row can test one such
position, so the number of probes, not their length, determines what is found (`probes_needed`).
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

DECOYS = 2
"""Positions of a probe that are requested but not compared, so that a server cannot infer the cut from the request."""


def probes_needed(leak: float, gain: float, tolerance: float, power: float = 0.99) -> int:
    """How many probes find a leak that makes the loss `leak` nats too small with probability `power`.

    A leak that is worth `leak` on average, and `g` where it is, is at a share f = leak / g of all positions. `gain` is the
    largest g that is covered. Two tests share the work:

    * g > `tolerance`: a single probe that falls on such a position shows it. All n miss with probability (1 - f)^n, which
      is largest for the rarest leak, f = leak / gain: n = log(1 - power) / log(1 - leak / gain). The text after the cut
      always begins with another token than the true one, so a leak of the next token shows wherever it is probed.
    * g <= `tolerance`: each probe differs by less than honest noise may, but the mean over all has expectation `leak` and
      is compared with leak / 2. The variance of one difference is at most f g^2 = leak g <= leak tolerance, so
      (leak / 2) / sqrt(leak tolerance / n) >= z, the normal quantile of `power`: n = 4 z^2 tolerance / leak.

    `gain` is a choice: the mean loss of an honest model covers leaks that make positions of average difficulty certain. A
    leak at harder positions only is found when it is worth leak * g / gain. All in nats.
    """
    if not 0 < leak < gain or tolerance <= 0:
        raise SystemExit(
            f"cannot plan probes for a leak of {leak}, gain {gain}, tolerance {tolerance}; need leak < gain"
        )
    rare = math.log(1 - power) / math.log1p(-leak / gain)
    faint = 4 * NormalDist().inv_cdf(power) ** 2 * tolerance / leak
    return math.ceil(max(rare, faint))


@dataclass(frozen=True)
class Probes:
    """N probes in the order in which they are to be asked."""

    row: np.ndarray
    """(N,) scored window whose beginning the probe contains."""
    compared: np.ndarray
    """(N, 2) positions that are compared: the one before the cut, and one anywhere before the cut."""
    tokens: np.ndarray
    """(N, T)."""
    positions: np.ndarray
    """(N, P) requested positions, in random order."""
    place: np.ndarray
    """(N, 2) indices of the compared ones in `positions`."""


def plan_probes(windows: np.ndarray, donors: np.ndarray, count: int, random: np.random.Generator) -> Probes:
    """`count` probes of the windows (n, T + 1) for one server; their futures are taken from `donors` (M,), a text that is
    not scored. Rounds: in one round a window is probed at most once, and later rounds cut later, so that no probe
    tells the server about the future of a later one. Cuts are spread evenly: with count >= T every position is covered.
    """
    n, context = len(windows), windows.shape[1] - 1
    rounds = math.ceil(count / n)
    if rounds > context:
        raise SystemExit(f"{count} probes are too many for {n} windows of {context} tokens; score more rows")
    rows, cuts = [], []
    for share, stratum in zip(
        np.array_split(np.arange(count), rounds), np.array_split(np.arange(1, context + 1), rounds), strict=True
    ):
        rows.append(random.permutation(n)[: len(share)])
        cuts.append(random.permutation(np.resize(random.permutation(stratum), len(share))))
    row, cut = np.concatenate(rows), np.concatenate(cuts)  # (N,)
    start = _starts(windows[row, cut], donors, context, random)
    at = np.arange(context)  # (T,)
    future = donors[start[:, None] + np.maximum(at - cut[:, None], 0)]  # (N, T)
    tokens = np.where(at < cut[:, None], windows[row, :context], future)
    compared = np.stack([cut - 1, random.integers(0, cut)], axis=1)  # (N, 2)
    positions = np.concatenate([compared, random.integers(0, context, (count, DECOYS))], axis=1)  # (N, P)
    order = random.permuted(np.tile(np.arange(positions.shape[1]), (count, 1)), axis=1)
    place = np.argsort(order, axis=1)[:, :2]
    return Probes(row, compared, tokens, np.take_along_axis(positions, order, axis=1), place)


def _starts(true: np.ndarray, donors: np.ndarray, context: int, random: np.random.Generator) -> np.ndarray:
    """Where in `donors` each other future begins: anywhere, provided its first token differs from the true one (N,)."""
    start = random.integers(0, len(donors) - context, len(true))
    for _ in range(200):
        same = donors[start] == true
        if not same.any():
            return start
        start[same] = random.integers(0, len(donors) - context, same.sum())
    raise SystemExit("the text that replaces futures has one token only; is the held-out text real?")


@dataclass(frozen=True)
class Leak:
    """An answer that depends on what it must not know."""

    words: str
    """What was observed, and its size."""
    probe: int
    """The probe that shows it most clearly."""
    which: int
    """Index of its compared position."""
    position: int
    """That position in the window."""


def find_leak(scored: np.ndarray, probed: np.ndarray, compared: np.ndarray, limits: dict) -> Leak | None:
    """Compares the answers of the two servers at the compared positions (N, 2).

    scored, probed: (N, 2, 1 + C) log-probabilities, of the true next token and of C other columns of the vocabulary. An
    effect is positive where the scored answer is better than it should be, in nats. Honest answers differ by noise of
    arithmetic: up to `tolerance_nats` at a position, below leak_nats / 2 on average, and the columns below
    `tolerance_logits` in root mean square.
    """
    difference = scored.astype(np.float64) - probed  # (N, 2, 1 + C)
    effect, spread = difference[:, :, 0], np.sqrt(np.square(difference[:, :, 1:]).mean())
    mean, worst = effect[:, 0].mean(), np.unravel_index(np.abs(effect).argmax(), effect.shape)
    tolerance, least = limits["tolerance_nats"], limits["leak_nats"] / 2
    moved = int((~(np.abs(effect) <= tolerance)).any(axis=1).sum())  # a value that is not a number counts as different
    if moved:
        words = f"{moved} of {len(effect)} probes moved it by more than {tolerance:g} nats"
    elif mean > least:
        words = f"{len(effect)} probes moved it by {mean:.4f} nats on average, more than {least:g}"
    elif spread > limits["tolerance_logits"]:
        worst = np.unravel_index(np.square(difference[:, :, 1:]).mean(axis=2).argmax(), effect.shape)
        words = f"the logits moved by {spread:.4f} (root mean square), more than {limits['tolerance_logits']:g}"
    else:
        return None
    probe, which = (int(index) for index in worst)
    words = (
        f"the log-probability of the true next token at position {compared[probe, which]} differs by "
        f"{effect[probe, which]:+.4f} nats between the scored text and the same beginning with another future; {words} "
        f"(mean {mean:+.4f}, positive is better than it should be)"
    )
    return Leak(words, probe, which, int(compared[probe, which]))
