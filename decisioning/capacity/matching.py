"""The capacities that an offer counts against, and the reason given when one of them has nothing left."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from decisioning.capacity.leasing import period_at
from decisioning.catalog.placement_view import PlacementView
from decisioning.model.entities import FOREVER_MS, Capacity, Offer
from decisioning.model.selection import Withheld
from decisioning.model.stop import Stop


def matches(capacity: Capacity, offer: Offer, channel: str) -> bool:
    """Return whether an offer in a channel counts against a capacity: all that the capacity names must agree."""
    return (
        capacity.offer in (None, offer.offer_id)
        and capacity.group in (None, offer.group)
        and capacity.channel in (None, channel)
        and capacity.team in (None, offer.team)
    )


def match_offers(
    capacities: Iterable[Capacity], offers: Sequence[Offer], channel: str
) -> Mapping[int, tuple[Capacity, ...]]:
    """Map each row of ``offers`` that has any to the capacities that it counts against, in the order of their ids."""
    ordered = sorted(capacities, key=lambda capacity: capacity.capacity_id)
    found = {
        row: tuple(capacity for capacity in ordered if matches(capacity, offer, channel))
        for row, offer in enumerate(offers)
    }
    return {row: of_row for row, of_row in found.items() if of_row}


def stop_of(
    capacities: Iterable[Capacity], offer: Offer, channel: str, now_ms: int, *, counted: bool
) -> Stop:
    """Give the reason why an offer without capacity was stopped. ``counted``: False if Redis was lost: nobody knows."""
    held = [c for c in capacities if matches(c, offer, channel)]
    # Any of them may be the one that is used up, so the earliest end of a period is given.
    ends_ms = min((period_at(c, now_ms).ends_ms for c in held), default=FOREVER_MS)
    return Stop(
        "capacity",
        ", ".join(c.capacity_id for c in held) or "capacity",
        "none left" if counted else "cannot be counted now",
        ", ".join(_demand(c) for c in held),
        ends_ms if counted and ends_ms < FOREVER_MS else None,
    )


def underpriced_stop(capacity: Capacity | None, withheld: Withheld) -> Stop:
    """Give the reason why an offer was kept for customers of whom more value is expected."""
    by_acceptance = capacity is not None and capacity.counting == "accepted"
    worth = withheld.value if by_acceptance else withheld.propensity * withheld.value
    return Stop(
        "capacity", withheld.capacity_id, worth, f"worth at least {withheld.price:.6g}, the price of a unit"
    )


def _demand(capacity: Capacity) -> str:
    counted = f" {capacity.counting}" if capacity.counts_later else ""
    per = {"total": "in total", "day": "a day", "hour": "an hour"}[capacity.per]
    return f"at most {capacity.max}{counted} {per}"


@dataclass(frozen=True, slots=True)
class ViewCapacities:
    """The capacities that a view's offers count against: by row, and the numbers of the offers of each."""

    view: PlacementView
    by_row: Mapping[int, tuple[Capacity, ...]]
    numbers: tuple[tuple[Capacity, frozenset[int]], ...]
    all_numbers: frozenset[int]

    @classmethod
    def of(cls, view: PlacementView, capacities: Iterable[Capacity]) -> "ViewCapacities":
        """Match all offers of a view."""
        by_row = match_offers(capacities, view.offers, view.placement.channel)
        found: dict[Capacity, set[int]] = {}
        for row, of_row in by_row.items():
            for capacity in of_row:
                found.setdefault(capacity, set()).add(view.offers[row].number)
        numbers = tuple((capacity, frozenset(those)) for capacity, those in found.items())
        return cls(view, by_row, numbers, frozenset().union(*(those for _, those in numbers)))
