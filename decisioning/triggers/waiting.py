"""Waits, and what events and outcomes make of them: a fold over the log, which has no clock. Pure."""

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from decisioning.model.trigger import Trigger

WaitKey = tuple[str, str, str]
"""Trigger, customer, and what is waited for: empty for events, ``<decision>/<offer>`` for outcomes."""


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened to a customer: an event of a type, or an outcome of a decided offer.

    ``at_ms``: when it happened (Unix ms). ``item``: ``<decision>/<offer>`` of an outcome, else empty. ``offer_id`` and
    ``group``: of an outcome. ``cause``: what is told of it where it makes a trigger fire.
    """

    kind: str
    name: str
    customer_id: str
    id: str
    at_ms: int
    cause: Mapping[str, Any]
    item: str = ""
    offer_id: str = ""
    group: str = ""

    @property
    def occasion(self) -> str:
        """The text of it as an occasion."""
        return f"{self.kind} {self.id}"


@dataclass(frozen=True, slots=True)
class Wait:
    """A trigger's wait since something happened (``since_ms``, Unix ms) until it fires, unless it is cancelled."""

    key: WaitKey
    since_ms: int
    due_ms: int
    occasion: str
    cause: Mapping[str, Any]


class Plan:
    """The live triggers of a catalogue, by what they look at."""

    def __init__(self, triggers: Mapping[str, Trigger]) -> None:
        self.triggers = {name: t for name, t in triggers.items() if t.status == "live"}
        self.dated = [t for t in self.triggers.values() if t.on.date is not None and t.on.event is None]
        self.has_event_dates = any(t.on.is_event_date for t in self.triggers.values())
        self.idle = [t for t in self.triggers.values() if t.on.idle]
        self._starting: dict[tuple[str, str], list[Trigger]] = {}
        self._cancelling: dict[tuple[str, str], list[Trigger]] = {}
        for trigger in self.triggers.values():
            on = trigger.on
            kind = "outcome" if on.outcome is not None else "event"
            for name in on.idle or [name for name in (on.event, on.outcome) if name is not None]:
                self._starting.setdefault((kind, name), []).append(trigger)
            for name in on.unless:
                self._cancelling.setdefault((kind, name), []).append(trigger)

    def looks_at(self, kind: str, name: str) -> bool:
        """Return whether any trigger looks at events of a type, or outcomes of a name."""
        return (kind, name) in self._starting or (kind, name) in self._cancelling

    def starts(self, kind: str, name: str) -> bool:
        """Return whether any trigger fires on these, at once or later."""
        return (kind, name) in self._starting

    def fires(self, happening: Happening) -> Iterator[Trigger]:
        """Yield the triggers that fire at once."""
        yield from (t for t in self._started_by(happening) if t.on.after_s is None and t.on.date is None)

    def on_date_of(self, happening: Happening) -> Iterator[Trigger]:
        """Yield the triggers that fire on a date that an event holds."""
        yield from (t for t in self._started_by(happening) if t.on.is_event_date)

    def _started_by(self, happening: Happening) -> Iterator[Trigger]:
        for trigger in self._starting.get((happening.kind, happening.name), ()):
            if trigger.on.offer in (None, happening.offer_id) and trigger.on.group in (None, happening.group):
                yield trigger

    def waits_of(self, happening: Happening) -> set[WaitKey]:
        """Return the waits that it may begin, prolong or cancel."""
        at = happening.kind, happening.name
        triggers = [*self._cancelling.get(at, ()), *(t for t in self._started_by(happening) if t.on.after_s)]
        return {(t.trigger_id, happening.customer_id, happening.item) for t in triggers}

    def fold(self, waits: MutableMapping[WaitKey, Wait], happening: Happening) -> None:
        """Change ``waits`` by what happened; all of ``waits_of`` that there are must be among them."""
        customer_id, item = happening.customer_id, happening.item
        for trigger in self._cancelling.get((happening.kind, happening.name), ()):
            wait = waits.get((trigger.trigger_id, customer_id, item))
            if wait is not None and happening.at_ms >= wait.since_ms and wait.occasion != happening.occasion:
                del waits[wait.key]
        for trigger in self._started_by(happening):
            if trigger.on.after_s is None:
                continue
            key = trigger.trigger_id, customer_id, item
            wait, due_ms = waits.get(key), happening.at_ms + trigger.on.after_s * 1000
            if wait is None or (trigger.on.restart and happening.at_ms >= wait.since_ms):
                waits[key] = Wait(key, happening.at_ms, due_ms, happening.occasion, happening.cause)
