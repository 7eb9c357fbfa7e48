"""The reader of the inbox: events that other systems put into a stream of Redis are recorded, each once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic_core import from_json

from app.api.batch import MalformedItem, read_item
from app.api.events.schemas import EventRequest
from app.metrics import EVENTS
from decisioning.catalog.catalogue import Catalogue
from decisioning.errors import Invalid
from decisioning.events.intake_service import EventIntake, ReceivedEvent
from decisioning.events.store_events import EventLog
from decisioning.events.store_inbox import FIELD, Inbox, InboxEntry
from decisioning.log.store_dead_letters import INBOX, DeadLetters
from decisioning.log.store_stream import UnreadEntry
from storage import clock

BATCH_SIZE = 500
BLOCK_MS = 1000
CATALOGUE_EVERY_MS = 300
CONCURRENT = 64


@dataclass
class EventInbox:
    """Records what is in the inbox. Any number of workers may: an event that two record counts once."""

    inbox: Inbox
    event_log: EventLog
    letters: DeadLetters
    load_catalogue: Callable[[Catalogue | None], Awaitable[Catalogue]]
    _catalogue: Catalogue | None = field(default=None, init=False)
    _read_ms: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._intake = EventIntake(self._current, self.event_log, clock.now_ms)

    def _current(self) -> Catalogue:
        assert self._catalogue is not None
        return self._catalogue

    async def round(self) -> float:
        """Record one batch; return how long to sleep. Raises ``Unavailable``: what is unfinished is taken again."""
        entries = await self.inbox.take(BATCH_SIZE, BLOCK_MS)
        if not entries:
            return 0.0
        await self._refresh(CATALOGUE_EVERY_MS)
        refused = await self._record_all(entries)
        if refused:
            # What they name may have been declared a moment ago.
            await self._refresh(0)
            refused = await self._record_all(list(refused))
        if refused:
            await self.letters.add(
                [UnreadEntry(INBOX, one.position, one.fields, reason) for one, reason in refused.items()]
            )
            EVENTS.labels("refused", "refused").inc(len(refused))
            await self.inbox.finish([one.position for one in refused])
        return 0.0

    async def _refresh(self, at_most_every_ms: int) -> None:
        now_ms = clock.now_ms()
        if self._catalogue is None or now_ms - self._read_ms >= at_most_every_ms:
            self._catalogue = await self.load_catalogue(self._catalogue)
            self._read_ms = now_ms

    async def _record_all(self, entries: Sequence[InboxEntry]) -> "dict[InboxEntry, str]":
        """Record entries and finish them; returns those that cannot be recorded, with the reasons."""
        limit = asyncio.Semaphore(CONCURRENT)

        async def record(entry: InboxEntry) -> str | None:
            async with limit:
                return await self._record(entry)

        reasons = await asyncio.gather(*map(record, entries))
        told = list(zip(entries, reasons, strict=True))
        await self.inbox.finish([entry.position for entry, reason in told if reason is None])
        return {entry: reason for entry, reason in told if reason is not None}

    async def _record(self, entry: InboxEntry) -> str | None:
        """Record one entry; returns why it cannot be. Raises ``Unavailable``."""
        received = received_of(entry)
        if isinstance(received, str):
            return received
        try:
            status = await self._intake.record(received)
        except Invalid as error:
            return f"{error.field}: {error}"
        EVENTS.labels(received.type, status).inc()
        return None


def received_of(entry: InboxEntry) -> ReceivedEvent | str:
    """Read an entry; if it is no event, say why. Without a time, it happened when it was put into the stream."""
    if FIELD not in entry.fields:
        return f"the entry has no field {FIELD.decode()!r} that holds an event as JSON"
    try:
        values: Any = from_json(entry.fields[FIELD], allow_inf_nan=False)
    except ValueError as error:
        return f"event: is not JSON: {error}"
    item = read_item(EventRequest, values)
    if isinstance(item, MalformedItem):
        return item.reason
    received = item.received()
    return received if received.at_ms is not None else replace(received, at_ms=entry.position.at_ms)
