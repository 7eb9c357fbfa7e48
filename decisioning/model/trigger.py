"""Triggers: what must happen to a customer for a decision to be made unasked, and where it is delivered."""

from dataclasses import dataclass
from typing import Literal

TriggerStatus = Literal["live", "paused"]
LeapDay = Literal["02-28", "03-01"]
DEFAULT_WITHIN_S = 3600
DEFAULT_AGAIN_S = 86_400
NOT_DECLARED = "the trigger is not in the catalogue any more"
"""The reason why firings of triggers that were removed are dropped."""
DAY_OVER = "the day was over when the event happened"
"""The reason why firings for the date of an event are dropped that would have been due before it."""


@dataclass(frozen=True, slots=True)
class TriggerOn:
    """The occasion of a trigger: one of ``event``, ``outcome``, ``date`` and ``idle``, or ``event`` with ``date``.

    ``event``: the type of an event. ``outcome``: an outcome of a decided offer, of ``offer`` or ``group`` if given.
    With ``after_s`` it fires so many seconds later, if none of ``unless`` (types of events, or outcomes of the same
    decided offer) came meanwhile; ``restart``: a newer event begins the wait anew. ``date``: the path of an attribute
    that holds a date, ``days`` after which (before, if negative) it fires, at the time ``at`` in ``time_zone`` (the
    customer's own attribute ``time_zone`` goes first), each year if ``yearly``; the 29th of February is kept on
    ``leap_day`` in other years. ``idle``: types of events, of which none came for ``after_s``. With ``event`` the date
    is a property of it, ``event.<name>``; ``key``: the property that tells what the date is of, if events correct it.
    """

    event: str | None = None
    outcome: str | None = None
    date: str | None = None
    idle: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    after_s: int | None = None
    restart: bool = True
    offer: str | None = None
    group: str | None = None
    days: int = 0
    yearly: bool = False
    leap_day: LeapDay = "02-28"
    at: str = "09:00"
    time_zone: str = "UTC"
    key: str | None = None

    @property
    def is_event_date(self) -> bool:
        """True if it fires on a date that an event holds."""
        return self.event is not None and self.date is not None


@dataclass(frozen=True, slots=True)
class TriggerChannel:
    """A placement that may be decided for, and what a contact there costs, in units of offers' values."""

    placement: str
    cost: float = 0.0


@dataclass(frozen=True, slots=True)
class TriggerDelivery:
    """Destination of decisions: a ``webhook``, signed with the ``secret`` of that name, or a ``stream`` of Redis."""

    webhook: str | None = None
    secret: str | None = None
    stream: str | None = None


@dataclass(frozen=True, slots=True)
class Trigger:
    """A rule by which a decision is made unasked: ``on`` an occasion, if ``when`` holds for the customer then.

    Decided for ``placement``, or for the best of ``channels``; one of the two is given. ``within_s``: what is not
    delivered so long after it fired is dropped. ``again_after_s``: it does not fire again for the same customer before.
    """

    trigger_id: str
    on: TriggerOn
    deliver: TriggerDelivery
    placement: str | None = None
    channels: tuple[TriggerChannel, ...] = ()
    when: str | None = None
    within_s: int = DEFAULT_WITHIN_S
    again_after_s: int = DEFAULT_AGAIN_S
    status: TriggerStatus = "live"
    name: str = ""
    description: str = ""

    @property
    def choices(self) -> tuple[TriggerChannel, ...]:
        """The placements that may be decided for, with their costs."""
        return self.channels if self.placement is None else (TriggerChannel(self.placement),)
