"""Contact policy: how often, when and after what a customer may be offered something.

What is read here only narrows the candidates; the binding check is the atomic one in Redis (``nb_decide``).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bandits.policy import BoolArray
from decisioning.catalog.model import ContactPolicy, Group, Offer, Placement, QuietHours
from decisioning.stops import Stop
from profiles.customer import Customer

PREFERENCES = ("time_zone", "max_contacts_per_day", "max_contacts_per_week", "min_gap_s")
"""Attributes of a customer that the contact policy looks at."""


@dataclass(frozen=True, slots=True)
class Contact:
    """One earlier decision: the offer's number and the time in Unix milliseconds."""

    offer: int
    at_ms: int


def parse_history(reply: Sequence[bytes]) -> list[Contact]:
    """Read ``ZRANGE key 0 -1 WITHSCORES``: members ``<offer number>:<decision>``, scores in ms."""
    return [
        Contact(int(member.partition(b":")[0]), int(float(score)))
        for member, score in zip(reply[::2], reply[1::2], strict=True)
    ]


def within_limits(offer: Offer, history: Sequence[Contact], now_ms: int) -> bool:
    """Whether one more contact now keeps every limit of the offer."""
    for limit in offer.contact_limits:
        since_ms = now_ms - limit.window_s * 1000
        if sum(c.offer == offer.number and c.at_ms > since_ms for c in history) >= limit.max:
            return False
    return True


class ContactBook:
    """The contact policy of one placement's offers.

    ``history_ms``: how far back contacts matter for any offer of the catalogue; 0 if none do.
    """

    def __init__(
        self,
        placement: Placement,
        offers: Sequence[Offer],
        groups: Mapping[str, Group],
        policies: Iterable[ContactPolicy],
        quiet: Iterable[QuietHours],
        history_ms: int,
    ) -> None:
        self._offers = offers
        self._placement = placement
        self._limited = tuple(row for row, o in enumerate(offers) if o.contact_limits)
        self.history_ms = history_ms

    @property
    def needed(self) -> bool:
        """Whether the contact history must be read for this placement."""
        return bool(self._limited)

    def limited(self, row: int) -> bool:
        """Whether an offer has limits that must be reserved."""
        return row in self._limited

    def allowed(self, customer: Customer, history: Sequence[Contact] | None, now_ms: int) -> BoolArray:
        """Which rows may be contacted now: shape ``(n,)``, a fresh array.

        ``history`` is ``None`` when it cannot be read: limited offers are then withheld, unless the placement
        says otherwise.
        """
        mask = np.ones(len(self._offers), dtype=bool)
        for row in self._limited:
            if history is None:
                mask[row] = self._placement.without_history == "allow"
            else:
                mask[row] = within_limits(self._offers[row], history, now_ms)
        return mask

    def stops(
        self, row: int, customer: Customer, history: Sequence[Contact] | None, now_ms: int
    ) -> list[Stop]:
        """Everything in the contact policy that stops a row; empty exactly where ``allowed`` is true."""
        if self.allowed(customer, history, now_ms)[row]:
            return []
        return [Stop("contact", "contact limit")]
