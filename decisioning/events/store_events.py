"""Events on their way into Redis: one atomic step for each; and what they have told of a customer."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Literal

from decisioning.log.codec import is_decided
from decisioning.log.households.store_contacts import HouseholdContacts
from decisioning.log.store_redis import RecentWrites
from decisioning.model.logged_event import properties_text
from profiles.events.declared import MAX_WINDOW_MS
from profiles.events.definitions import EventDefinitions
from profiles.events.event import Event
from profiles.events.fold import Increment
from profiles.limits import VISITOR_PREFIX
from storage.clock import DAY_MS, HOUR_MS
from storage.keys import Keys
from storage.redis_pipe import Pipe

HORIZON_MS = 7 * DAY_MS
"""Ids of events are remembered for so long after they happened; what is older is not taken."""
REMEMBER_MS = HORIZON_MS + HOUR_MS
"""A little longer, so that no event that is taken finds its id forgotten."""

Status = Literal["recorded", "duplicate"]

HomeOf = Callable[[str], Awaitable[str | None]]
"""Finds the household that a customer belongs to."""


@dataclass(frozen=True, slots=True)
class EventEffects:
    """The changes that an event makes: increments of the customer's state, and contacts (members of the history).

    ``state_ms``, ``contact_ms``: how long these are kept. ``shared``: the contacts count in the customer's household,
    too.
    """

    increments: Sequence[Increment] = ()
    state_ms: int = DAY_MS
    contacts: Sequence[str] = ()
    contact_ms: int = 0
    shared: bool = False


def kept_ms(definitions: EventDefinitions) -> int:
    """Return for how long after their last event the state of a customer is kept, in ms: as long as it may matter.

    What is remembered of the last event matters for ever, and is kept as long as the longest window may be.
    """
    found = (c for contributions in definitions.contributions.values() for c in contributions)
    return max((MAX_WINDOW_MS if c.keep == 1 else c.tile_ms * c.keep for c in found), default=0)


def id_mark(event_id: str) -> bytes:
    """Return what is remembered of an id: short, whatever the id is."""
    return blake2b(event_id.encode(), digest_size=12).digest()


class EventLog:
    """Records events. Methods raise ``RedisUnavailable``.

    ``home_of``: where contacts that are shared count as well; ``None``: nowhere. Made after whatever else tells a new
    server of ``pipe`` what it may not know (``Pipe.on_server``).
    """

    def __init__(self, pipe: Pipe, keys: Keys, home_of: HomeOf | None = None) -> None:
        self._pipe = pipe
        self._keys = keys
        self._recent = RecentWrites()
        self._home_of = home_of
        self._households = HouseholdContacts(pipe, keys, self._recent)
        others = pipe.on_server

        def tell_again(send: "Callable[[tuple[Any, ...]], asyncio.Future[Any]]") -> None:
            if others is not None:
                others(send)
            self._recent.tell_again(send)

        pipe.on_server = tell_again

    async def record(self, event: Event, effects: EventEffects, now_ms: int) -> Status:
        """Record an event once: its id, its entry in the log and all its effects, or none of these.

        Of a visitor who is an alias by now, it is an event of the customer. Contacts that are shared are in the
        household before: whatever is cut off in between, a limit may be too strict, and is never exceeded. Raises
        ``PostgresUnavailable``, too, if the household cannot be found: nothing is recorded then.
        """
        customer_id = event.customer_id
        household = await self._share(event, effects, now_ms)
        keys: tuple[str, ...] = (
            self._keys.log(self._keys.bucket(customer_id)),
            self._keys.events(customer_id),
            self._keys.event_ids(customer_id),
            self._keys.contact(customer_id),
        )
        if customer_id.startswith(VISITOR_PREFIX):
            keys = (*keys, self._keys.alias(customer_id))
        arguments: list[Any] = [
            id_mark(event.event_id),
            event.event_id,
            customer_id,
            event.type,
            event.at_ms,
            now_ms,
            properties_text(event.properties),
            now_ms - REMEMBER_MS,
            effects.state_ms,
            effects.contact_ms,
            household or "",
            len(effects.contacts),
            *effects.contacts,
        ]
        for one in effects.increments:
            arguments += (one.field, one.index, one.amount, one.keep, one.value)
        reply = await self._pipe.function("nb_event", keys, *arguments)
        if reply == b"duplicate":
            return "duplicate"
        if isinstance(reply, list):
            return await self.record(replace(event, customer_id=reply[1].decode()), effects, now_ms)
        self._recent.note("nb_event", keys, arguments)
        return "recorded"

    async def _share(self, event: Event, effects: EventEffects, now_ms: int) -> str | None:
        """Add the contacts that an event is to the customer's household; returns it, ``None`` if there is none."""
        decided = [member for member in effects.contacts if is_decided(member)]
        if not (effects.shared and effects.contact_ms > 0 and decided) or self._home_of is None:
            return None
        known = await self._pipe.call(
            "ZSCORE", self._keys.event_ids(event.customer_id), id_mark(event.event_id)
        )
        if known is not None:  # so it counts, in the household of then
            return None
        household = await self._home_of(event.customer_id)
        if household is not None:
            at_ms = min(event.at_ms, now_ms)
            await self._households.share(household, effects.contact_ms, [(at_ms, one) for one in decided])
        return household
