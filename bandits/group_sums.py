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
    """The group that each offer belongs to: ``index``, below ``count``, by the offer's number."""

    index: Mapping[int, int]
    count: int

    @classmethod
    def of(cls, groups: Mapping[int, str]) -> Self:
        """Number the groups of offers, which are given by the offers' numbers."""
        names = {name: place for place, name in enumerate(sorted(set(groups.values())))}
        return cls({number: names[name] for number, name in groups.items()}, len(names))

    def rows(self, offers: IntArray) -> NDArray[np.intp]:
        """Return the indices of the groups of ``offers``; -1 for an offer without one."""
        return np.array([self.index.get(number, -1) for number in offers.tolist()], dtype=np.intp)


class GroupTotals:
    """The sums of each group over its offers' arms, kept up with a table of arms.

    Sums are kept undecayed, by landmark period, as arms are: they are exact, so exchanging an arm that changed gives
    what adding all up anew would.
    """

    __slots__ = ("_arms", "_by_group", "_counted", "_read", "_rows", "_stale", "groups", "width")

    def __init__(self, groups: OfferGroups, width: int, arms: Mapping[int, States]) -> None:
        self.groups = groups
        self.width = width
        self._arms = arms
        self._by_group: list[dict[int, FloatArray]] = [{} for _ in range(groups.count)]
        self._counted: dict[int, dict[int, FloatArray]] = {}
        self._stale = set(arms)
        self._read: tuple[ForwardDecay, int, FloatArray] | None = None
        self._rows: tuple[IntArray, NDArray[np.intp]] | None = None

    def note_changed(self, offers: set[int]) -> None:
        """Note that the arms of these offers changed."""
        self._stale |= offers

    def read(self, decay: ForwardDecay, offers: IntArray, tick: int) -> GroupSums:
        """Return the sums of all groups decayed to ``tick``, and where those of ``offers`` are."""
        changed = {self._count(offer) for offer in self._stale & self.groups.index.keys()}
        self._stale.clear()
        if self._read is None or self._read[:2] != (decay, tick):
            self._read = decay, tick, np.zeros((self.groups.count, self.width))
            changed = set(range(self.groups.count))
        sums = self._read[2]
        for group in changed:
            sums[group] = self._decayed(group, decay, tick)
        # A placement's offers are asked for again and again, as the same array.
        if self._rows is None or self._rows[0] is not offers:
            self._rows = offers, self.groups.rows(offers)
        return GroupSums(sums.copy(), self._rows[1])

    def _count(self, offer: int) -> int:
        """Exchange what was counted of an offer for its present sums; returns the index of its group."""
        group = self.groups.index[offer]
        totals, counted = self._by_group[group], self._counted.setdefault(offer, {})
        for period, state in self._arms[offer].items():
            old = counted.get(period)
            if old is not state:
                totals[period] = exchange_exactly(totals.get(period), old, state)
                counted[period] = state
        return group

    def _decayed(self, group: int, decay: ForwardDecay, tick: int) -> FloatArray:
        total = np.zeros(self.width)
        totals = self._by_group[group]
        for period in sorted(totals):  # sums of floats depend on the order
            total += total_of(totals[period]) * decay.scale(period, tick)
        return total
