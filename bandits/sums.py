"""Sums of arms: addition without rounding, and the totals of groups of offers.

Sums of multiples of the quantum are exact in float64 up to ``2 ** 33``. So that they stay exact for ever, a sum that
leaves ``[-2 ** 31, 2 ** 31)`` is kept in two parts: ``low`` in that range, and ``high``, a multiple of ``2 ** 32``. A
state with a high part anywhere is an array ``[low, high]`` of shape ``(2, width)``. Which parts there are follows from
the sum alone, so equal sums are equal arrays, in whatever order they were added up.

A group's sums are those of the arms of all its offers together, as the catalogue has them. Nothing of them is stored,
so an offer that changes its group takes along all that was ever learned of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bandits.policy import FloatArray, ForwardDecay, GroupSums, IntArray

HIGH_STEP = 2.0**32
_MAX_LOW = HIGH_STEP / 2.0


def add_exactly(state: FloatArray | None, delta: FloatArray) -> FloatArray:
    """Return a state, or nothing, plus an amount of shape ``(width,)`` below ``2 ** 32``, with high parts as needed.

    As ``sum`` in ``storage/lua/3_arms.lua`` does it.
    """
    if state is None:
        low, high = delta, None
    elif state.ndim == 1:
        low, high = state + delta, None
    else:
        low, high = state[0] + delta, state[1]
    beyond = (low >= _MAX_LOW) | (low < -_MAX_LOW)
    if beyond.any():
        carry = np.where(beyond, np.floor((low + _MAX_LOW) / HIGH_STEP) * HIGH_STEP, 0.0)
        low, high = low - carry, carry if high is None else high + carry
    return low if high is None or not high.any() else np.stack((low, high))


def total_of(state: FloatArray) -> FloatArray:
    """Return the sums of a state, rounded once: shape ``(width,)``."""
    total: FloatArray = state if state.ndim == 1 else state[1] + state[0]
    return total


def exchange_exactly(total: FloatArray | None, old: FloatArray | None, new: FloatArray) -> FloatArray:
    """Return a total of states, or nothing, in which ``new`` takes the place of ``old`` (or is added, without one)."""
    low, high = _parts(new)
    if old is not None:
        old_low, old_high = _parts(old)
        low, high = low - old_low, high - old_high
    low, carried = _parts(add_exactly(total, low))
    high = high + carried
    return low if not high.any() else np.stack((low, high))


def _parts(state: FloatArray) -> tuple[FloatArray, FloatArray]:
    if state.ndim == 1:
        return state, np.zeros(len(state))
    return state[0], state[1]


States = Mapping[int, FloatArray]
"""The state of one arm in each landmark period."""


@dataclass(frozen=True, slots=True)
class OfferGroups:
    """The group that each offer belongs to, by the offer's number, and the names of all groups, sorted."""

    of_offer: Mapping[int, str]
    names: tuple[str, ...]

    @classmethod
    def of(cls, groups: Mapping[int, str]) -> Self:
        """Collect the groups of offers, which are given by the offers' numbers."""
        return cls(groups, tuple(sorted(set(groups.values()))))

    def rows(self, offers: IntArray) -> NDArray[np.intp]:
        """Return where the groups of ``offers`` are among the names; -1 for an offer without one."""
        place = {name: row for row, name in enumerate(self.names)}
        groups = map(self.of_offer.get, offers.tolist())
        return np.array([-1 if name is None else place[name] for name in groups], dtype=np.intp)


class GroupTotals:
    """The sums of each group over its offers' arms, kept up with a table of arms, and with offers that change groups.

    Sums are kept undecayed, by landmark period, as arms are: they are exact, so exchanging an arm that changed gives
    what adding all up anew would.
    """

    __slots__ = ("_arms", "_by_group", "_counted", "_groups", "_latest", "_rows", "_stale", "width")

    def __init__(self, width: int, arms: Mapping[int, States]) -> None:
        self.width = width
        self._arms = arms
        self._groups = OfferGroups({}, ())
        self._by_group: dict[str, dict[int, FloatArray]] = {}
        self._counted: dict[int, tuple[str, dict[int, FloatArray]]] = {}
        self._stale: set[int] = set()
        self._latest: tuple[ForwardDecay, int, FloatArray] | None = None
        self._rows: tuple[IntArray, NDArray[np.intp]] | None = None

    def note_changed(self, offers: set[int]) -> None:
        """Note that the arms of these offers changed."""
        self._stale |= offers

    def read(self, groups: OfferGroups, decay: ForwardDecay, offers: IntArray, tick: int) -> GroupSums:
        """Return the sums of all groups decayed to ``tick``, and where those of ``offers`` are."""
        if self._groups != groups:
            self._regroup(groups)
        changed = {name for offer in self._stale for name in self._count(offer)}
        self._stale.clear()
        if self._latest is None or self._latest[:2] != (decay, tick):
            self._latest = decay, tick, np.zeros((len(groups.names), self.width))
            changed = set(groups.names)
        sums = self._latest[2]
        for row, name in enumerate(groups.names):
            if name in changed:
                sums[row] = self._decayed(name, decay, tick)
        # A placement's offers are asked for again and again, as the same array.
        if self._rows is None or self._rows[0] is not offers:
            self._rows = offers, groups.rows(offers)
        return GroupSums(sums.copy(), self._rows[1])

    def _regroup(self, groups: OfferGroups) -> None:
        before, after = self._groups.of_offer, groups.of_offer
        self._stale |= {offer for offer in self._arms if before.get(offer) != after.get(offer)}
        self._groups, self._latest, self._rows = groups, None, None

    def _count(self, offer: int) -> tuple[str, ...]:
        """Exchange what was counted of an offer for its present sums; returns the groups that this concerns."""
        was, counted = self._counted.get(offer, (None, {}))
        now = self._groups.of_offer.get(offer)
        if was is not None and was != now:
            for period, state in counted.items():
                totals = self._by_group[was]
                totals[period] = exchange_exactly(totals[period], state, np.zeros(self.width))
            del self._counted[offer]
            counted = {}
        if now is not None:
            totals = self._by_group.setdefault(now, {})
            for period, state in self._arms[offer].items():
                old = counted.get(period)
                if old is not state:
                    totals[period] = exchange_exactly(totals.get(period), old, state)
                    counted[period] = state
            self._counted[offer] = now, counted
        return tuple(name for name in (was, now) if name is not None)

    def _decayed(self, name: str, decay: ForwardDecay, tick: int) -> FloatArray:
        total = np.zeros(self.width)
        totals = self._by_group.get(name, {})
        for period in sorted(totals):  # sums of floats depend on the order
            total += total_of(totals[period]) * decay.scale(period, tick)
        return total
