"""The intake of events: each is checked against its type and counts once, or is refused with a reason."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from decisioning.catalog.catalogue import Catalogue
from decisioning.contact.history import KIND_LETTERS
from decisioning.errors import Invalid
from decisioning.events.store_events import HORIZON_MS, EventEffects, EventLog, Status, kept_ms
from decisioning.log.codec import event_mark, history_member
from decisioning.log.feedback_service import SKEW_MS
from decisioning.model.decision import Contact
from profiles.events.event import Event
from profiles.events.event_type import EventContact, EventType, PropertyCheck, known_properties
from profiles.events.fold import increments_of
from storage.clock import DAY_MS

NO_OFFER = 0
"""The number of a contact that was made with no offer of the catalogue."""
CONTACT_KINDS = ("decided", "presented")
"""An event that is a contact counts as both: somebody decided it, and it was made."""


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """An event as it was sent; ``at_ms`` is when it happened (Unix ms), ``None`` for now."""

    event_id: str
    customer_id: str
    type: str
    properties: Mapping[str, Any]
    at_ms: int | None = None


class EventIntake:
    """Records events. When ``record`` returns, the event is in the log, and its effects are in force."""

    def __init__(
        self, catalogue: Callable[[], Catalogue], event_log: EventLog, clock_ms: Callable[[], int]
    ) -> None:
        self._catalogue = catalogue
        self._log = event_log
        self._clock_ms = clock_ms
        self._checks: dict[str, tuple[EventType, PropertyCheck]] = {}

    async def record(self, received: ReceivedEvent) -> Status:
        """Record one event. It may be sent again as often as needed.

        Raises ``Invalid`` if its type is not declared, a property is not as the type says, or the time is impossible or
        too long ago; ``RedisUnavailable`` if it could not be stored; ``PostgresUnavailable`` while there is no
        catalogue, or if the household cannot be found in which a contact counts.
        """
        catalogue, now_ms = self._catalogue(), self._clock_ms()
        event_type = self._type_of(catalogue, received.type)
        event = Event(
            received.event_id,
            received.customer_id,
            received.type,
            _checked_time(received.at_ms, now_ms),
            self._checked_properties(event_type, received.properties),
        )
        effects = EventEffects(
            increments_of(catalogue.event_definitions, event),
            kept_ms(catalogue.event_definitions),
            () if event_type.contact is None else contact_members(catalogue, event_type.contact, event),
            catalogue.history_ms,
            catalogue.limits_households,
        )
        return await self._log.record(event, effects, now_ms)

    def _type_of(self, catalogue: Catalogue, name: str) -> EventType:
        found = catalogue.event_types.get(name)
        if found is None:
            near = get_close_matches(name, catalogue.event_types, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "declare it with PUT /v1/event-types/{id}"
            raise Invalid("type", f"there is no event type {name[:64]!r}; {hint}")
        return found

    def _checked_properties(self, event_type: EventType, sent: Mapping[str, Any]) -> dict[str, Any]:
        """Return the properties without those that are null. Raises ``Invalid``."""
        known = self._checks.get(event_type.type_id)
        # Compared, since the schema may have changed: it is compiled once for each that there is.
        if known is None or known[0] is not event_type:
            known = self._checks[event_type.type_id] = event_type, PropertyCheck(event_type)
        properties = known_properties(sent)
        problem = known[1].problem(properties)
        if problem is not None:
            path, reason = problem
            raise Invalid(f"properties.{path}" if path else "properties", reason)
        return properties


def _checked_time(at_ms: int | None, now_ms: int) -> int:
    """Return when an event happened. Raises ``Invalid``."""
    if at_ms is None:
        return now_ms
    if at_ms > now_ms + SKEW_MS:
        raise Invalid("occurred_at", "lies in the future; send the time at which the event happened")
    if at_ms < now_ms - HORIZON_MS:
        days = HORIZON_MS // DAY_MS
        raise Invalid(
            "occurred_at",
            f"lies more than {days} days back, so it cannot be known whether the event was counted before;"
            " what is older belongs into attributes of the customer (PUT /v1/customers, or an import)",
        )
    return at_ms


def contact_members(catalogue: Catalogue, contact: EventContact, event: Event) -> tuple[str, ...]:
    """Return the contacts that an event is, as members of the customer's history."""
    number, group_id = NO_OFFER, contact.group or ""
    if contact.offer is not None:
        offer = catalogue.offers[contact.offer]
        number, group_id = offer.number, offer.group
    goal = catalogue.groups[group_id].goal if group_id else ""
    return tuple(
        history_member(
            Contact(number, event.at_ms, group_id, goal, KIND_LETTERS[kind], contact.channel),
            event_mark(event.event_id),
        )
        for kind in CONTACT_KINDS
    )
