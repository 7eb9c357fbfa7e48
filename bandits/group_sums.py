"""The groups of offers, and their sums: of the arms of all offers of a group together.

Nothing of it is stored. A group's sums are those of its offers as the catalogue has them, so an offer that changes its
group takes along all that was ever learned of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bandits.exact_sums import exchange_exactly, total_of
from bandits.policy import FloatArray, ForwardDecay, GroupSums, IntArray

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
