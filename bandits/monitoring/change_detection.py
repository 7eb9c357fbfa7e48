"""Detection of changes in the acceptance of each offer, with river's ADWIN.

ADWIN (Bifet and Gavalda, *Learning from time-changing data with adaptive windowing*, SDM 2007) keeps a window of the
latest rewards, as sums over stretches that double in length. When two parts of the window have means that differ by
more than chance explains, it reports a change. So there is no window length to choose, and its memory grows with the
logarithm of the window.

ADWIN says *that* there was a change. Its own cut only moves forward as far as it must, so the part that it keeps is
often mostly from before. *When* it was, and from what to what, is estimated here as the cut of the window into two
parts that explains most of the variance: the least squares estimate of a single change (Bai, *Least squares estimation
of a shift in linear processes*, Journal of Time Series Analysis 15, 1994), on ``MAX_BLOCKS`` blocks of outcomes.
"""

import math
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate
from typing import Any, NamedTuple, cast

from bandits.errors import EvaluationError

MAX_BLOCKS = 128


@dataclass(frozen=True, slots=True)
class Detection:
    """A change of ``offer``'s acceptance, detected with the outcome at ``at_s`` (Unix seconds).

    ``since_s`` is the estimated time of the change. ``rate_before`` and ``rate_after`` are the mean rewards before and
    from then on, ``width_before`` and ``width`` the numbers of outcomes that they rest on.
    """

    offer: str
    at_s: float
    since_s: float
    rate_before: float
    rate_after: float
    width_before: int
    width: int


@dataclass(frozen=True, slots=True)
class OfferReward:
    """A ``reward`` in [0, 1] that ``offer`` earned at ``at_s`` (Unix seconds)."""

    offer: str
    at_s: float
    reward: float


class AcceptanceChangeDetector:
    """Watches the acceptance of each offer. Deterministic: a fold of outcomes in the order in which they came.

    After a detection the offer's window starts anew. An offer's memory is bounded, whatever the number of its
    outcomes; ``forget`` what is no longer offered.

    Parameters
    ----------
    delta
        ADWIN's confidence, in (0, 1). Smaller: fewer false alarms, later detections. Measured by
        ``pytest -s tests/unit/bandits/monitoring/test_change_detection.py``: at the default, 1 of 80 unchanged streams
        of 10,000 outcomes raised an alarm. The bound is cautious: where few accept, small changes take many thousand
        outcomes.
    grace_period
        Outcomes of an offer before anything is reported, at least 1.

    Raises ``EvaluationError`` if a parameter or an outcome is out of range; nothing is changed then.
    """

    def __init__(self, delta: float = 0.02, grace_period: int = 100) -> None:
        if not 0.0 < delta < 1.0:
            raise EvaluationError(f"delta must be in (0, 1), not {delta!r}")
        if grace_period < 1:
            raise EvaluationError(f"grace_period must be at least 1, not {grace_period!r}")
        self._delta = delta
        self._grace_period = grace_period
        self._windows: dict[str, _Window] = {}

    def __len__(self) -> int:
        """The number of offers that are watched."""
        return len(self._windows)

    def observe(self, outcome: OfferReward) -> Detection | None:
        """Add the next outcome (in order, for each offer), and return the change that it revealed, if any."""
        if not 0.0 <= outcome.reward <= 1.0:
            raise EvaluationError(f"reward must be in [0, 1], not {outcome.reward!r}")
        if not math.isfinite(outcome.at_s):
            raise EvaluationError(f"at_s must be a finite time, not {outcome.at_s!r}")
        window = self._windows.get(outcome.offer)
        if window is None:
            window = self._windows[outcome.offer] = _Window(self._delta, self._grace_period)
        if not window.add(outcome.at_s, outcome.reward):
            return None
        # The window starts anew: it spans the change, and would report it again and again.
        del self._windows[outcome.offer]
        before, after = window.cut()
        return Detection(
            offer=outcome.offer,
            at_s=outcome.at_s,
            since_s=after.start_s,
            rate_before=before.mean,
            rate_after=after.mean,
            width_before=before.n,
            width=after.n,
        )

    def width(self, offer: str) -> int:
        """Return the number of outcomes that ``rate`` rests on: 0 if none came since the last detection."""
        window = self._windows.get(offer)
        return window.whole().n if window else 0

    def rate(self, offer: str) -> float | None:
        """Return the mean reward of ``offer`` since the last detection; ``None`` without outcomes."""
        window = self._windows.get(offer)
        return window.whole().mean if window else None

    def forget(self, offer: str) -> None:
        """Drop the window of ``offer``, if there is one."""
        self._windows.pop(offer, None)


class _Block(NamedTuple):
    start_s: float
    n: int
    total: float

    @property
    def mean(self) -> float:
        return self.total / self.n

    def joined(self, later: "_Block") -> "_Block":
        return _Block(self.start_s, self.n + later.n, self.total + later.total)


class _Window:
    """The outcomes of one offer since its last change, summed up in blocks of equal length for finding the cut."""

    __slots__ = ("_adwin", "_blocks", "_length")

    def __init__(self, delta: float, grace_period: int) -> None:
        # Here, since importing it takes a second, which most processes can do without.
        from river.drift import ADWIN

        self._adwin: Any = cast(Any, ADWIN)(delta=delta, grace_period=grace_period)
        self._blocks: list[_Block] = []
        self._length = 1

    def add(self, at_s: float, reward: float) -> bool:
        """Add an outcome; returns whether it reveals a change."""
        latest, blocks = _Block(at_s, 1, reward), self._blocks
        if blocks and blocks[-1].n < self._length:
            blocks[-1] = blocks[-1].joined(latest)
        else:
            if len(blocks) == MAX_BLOCKS:
                # Bounded memory: neighbours are merged, so blocks stay of equal length.
                blocks[:] = [a.joined(b) for a, b in zip(blocks[::2], blocks[1::2], strict=True)]
                self._length *= 2
            blocks.append(latest)
        self._adwin.update(reward)
        return bool(self._adwin.drift_detected)

    def whole(self) -> _Block:
        return reduce(_Block.joined, self._blocks)

    def cut(self) -> tuple[_Block, _Block]:
        """Return the two parts of the window whose means explain most of the variance."""
        before = list(accumulate(self._blocks[:-1], _Block.joined))
        after = list(accumulate(self._blocks[:0:-1], lambda later, block: block.joined(later)))[::-1]
        # Proportional to the variance between the parts: the rest, which is what least squares makes small, follows.
        return max(
            zip(before, after, strict=True), key=lambda p: p[0].n * p[1].n * (p[0].mean - p[1].mean) ** 2
        )
