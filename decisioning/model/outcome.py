"""Outcomes of decided offers, as logged."""

import math
from dataclasses import dataclass, field

from bandits.policy import NO_FACTS, Facts
from decisioning.model.position import StreamPosition

Identity = tuple[str, int, str | None, str | None]
"""Decision id and time (Unix ms), for an outcome its offer and kind: the same wherever in the log the record stands."""

SHOWN = ("shown", "presented", "clicked")
"""Outcomes that say that an offer was seen. ``shown`` is the decision itself where nobody has to confirm that."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The record of what happened to one decided offer. Times are Unix milliseconds.

    ``reward`` is ``None`` if nothing is learned. ``estimate`` and ``worth``: the propensity and the value that the
    decision expected of the offer, NaN if they are not known. ``facts``: what was known of the request, by path, as
    far as policies learn from it. ``policy``: the key of the policy that decided. ``silence_ms``: when silence was
    counted for the offer; by this outcome if it is ``SHOWN``, else by an earlier one, and this one may take it back.
    A ``closed`` one repeats the reward of the answer (``None`` if that was late) for those who count results of closed
    windows only; it is ``late``, so nobody learns from it again.
    """

    bucket: int
    position: StreamPosition
    decision_id: str
    decided_at_ms: int
    offer_id: str
    offer: int
    outcome: str
    value: float | None
    at_ms: int
    recorded_ms: int
    late: bool
    reward: float | None
    base_propensity: float
    policy: str
    placement: str
    estimate: float = math.nan
    worth: float = math.nan
    facts: Facts = field(default_factory=lambda: NO_FACTS)
    silence_ms: int | None = None

    @property
    def identity(self) -> Identity:
        """The outcome's identity: it counts once, however often it is read."""
        return self.decision_id, self.decided_at_ms, self.offer_id, self.outcome
