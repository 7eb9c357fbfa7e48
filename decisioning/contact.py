"""Contact limits: how often an offer may be decided for one customer.

What is read here only narrows the candidates; the binding check is the atomic one in Redis (``nb_decide``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from decisioning.catalog import Offer


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
