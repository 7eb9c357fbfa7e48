"""Entries of the log that cannot be archived: set aside with the reason, so that they block nothing."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.errors import LogCodecError
from decisioning.log.codec import parse_entry
from decisioning.log.store_stream import Batch, UnreadEntry, lessons_of
from decisioning.model.decision import LoggedDecision
from decisioning.model.logged_event import LoggedEvent
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition
from profiles.privacy.store_actions import note_action
from storage.postgres import transaction

log = logging.getLogger(__name__)

INBOX = -1
"""In place of a bucket: what was set aside stood in the inbox of events, not in the log."""
INBOX_NAME = "events"
"""The inbox in ids of what was set aside, where others have the number of the bucket."""
MAX_LOGGED = 3
"""Lines about entries that are set aside together; a batch may have thousands."""

_OF_RECORDS = ("22", "23", "54")
"""Classes of SQL states that are the fault of a row: data, constraints, limits of a value's size."""
_IN_PYTHON = (ValueError, TypeError, OverflowError)

Entry = tuple[int, StreamPosition]
Moment = tuple[datetime, int, StreamPosition]
"""A place in the order in which entries were set aside."""
Copy = Callable[[Sequence[LoggedDecision], Sequence[Outcome], Sequence[LoggedEvent]], Awaitable[None]]
Fetch = Callable[[int, StreamPosition], Awaitable[Mapping[bytes, bytes]]]


@dataclass(slots=True)
class _Records:
    """The content of one entry."""

    decided: list[LoggedDecision] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    events: list[LoggedEvent] = field(default_factory=list)


def is_fault_of_record(error: Exception) -> bool:
    """Return whether a row cannot be stored however often it is tried; otherwise the database is at fault."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "")[:2] in _OF_RECORDS
    return isinstance(error, (*_IN_PYTHON, asyncpg.DataError))


async def copy_or_refuse(connection: asyncpg.Connection, batch: Batch, copy: Copy) -> dict[Entry, str]:
    """Copy a batch, but for the entries that cannot be stored; return these, with the reason of each.

    An entry is stored as a whole or not at all. Finding one takes about ``log2(n)`` more copies. Raises what ``copy``
    raises if that is not the fault of a record.
    """
    try:
        async with connection.transaction():
            await copy(batch.decided, batch.outcomes, batch.events)
    except Exception as error:
        if not is_fault_of_record(error):
            raise
    else:
        return {}
    refused: dict[Entry, str] = {}
    entries = _by_entry(batch)
    await _copy_halves(connection, list(entries), entries, copy, refused)
    return refused


async def _copy_halves(
    connection: asyncpg.Connection,
    part: Sequence[Entry],
    entries: Mapping[Entry, _Records],
    copy: Copy,
    refused: dict[Entry, str],
) -> None:
    try:
        async with connection.transaction():
            # They are emptied when the transaction ends; a batch that is stored by parts needs that earlier.
            await connection.execute("TRUNCATE stage_decisions, stage_outcomes, stage_events")
            await copy(
                [decided for entry in part for decided in entries[entry].decided],
                [outcome for entry in part for outcome in entries[entry].outcomes],
                [event for entry in part for event in entries[entry].events],
            )
    except Exception as error:
        if not is_fault_of_record(error):
            raise
        if len(part) == 1:
            refused[part[0]] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            return
    else:
        return
    middle = len(part) // 2
    await _copy_halves(connection, part[:middle], entries, copy, refused)
    await _copy_halves(connection, part[middle:], entries, copy, refused)


def _by_entry(batch: Batch) -> dict[Entry, _Records]:
    entries: dict[Entry, _Records] = {}
    for decided in batch.decided:
        entries.setdefault((decided.bucket, decided.position), _Records()).decided.append(decided)
    for outcome in batch.outcomes:
        entries.setdefault((outcome.bucket, outcome.position), _Records()).outcomes.append(outcome)
    for event in batch.events:
        entries.setdefault((event.bucket, event.position), _Records()).events.append(event)
    return entries


async def set_aside(connection: asyncpg.Connection, unread: Sequence[UnreadEntry]) -> None:
    """Keep entries that were not archived; in the transaction that archives the others."""
    _log_some(unread)
    await connection.executemany(
        "INSERT INTO dead_letters (bucket, position, reason, entry) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (bucket, position) DO UPDATE SET reason = excluded.reason",
        [(one.bucket, one.position, _storable(one.reason), _flat(one.fields)) for one in unread],
    )


def _log_some(unread: Sequence[UnreadEntry]) -> None:
    for one in unread[:MAX_LOGGED]:
        place = "the inbox of events" if one.bucket == INBOX else f"bucket {one.bucket}"
        # Not the reason, which may quote what is known of a customer.
        log.error("entry %s of %s is set aside: `nextbest deadletters list` says why", one.position, place)
    if len(unread) > MAX_LOGGED:
        log.error("%d more entries are set aside: see `nextbest deadletters list`", len(unread) - MAX_LOGGED)


def _flat(fields: Mapping[bytes, bytes]) -> list[bytes]:
    return [part for pair in fields.items() for part in pair]


def _storable(reason: str) -> str:
    return reason.replace("\x00", "\\0")[:1000]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An entry that was set aside."""

    bucket: int
    position: StreamPosition
    reason: str
    fields: Mapping[bytes, bytes]
    set_aside_at: datetime

    @property
    def letter_id(self) -> str:
        """The place in which the entry stood, such as ``17:1764209938123-0`` or ``events:1764209938123-0``."""
        return letter_id(self.bucket, self.position)

    @property
    def moment(self) -> Moment:
        """Its place in the order in which entries were set aside."""
        return self.set_aside_at, self.bucket, self.position

    def parsed(self) -> Batch:
        """Read the entry, as this version can. Raises ``LogCodecError``."""
        batch = Batch()
        found = parse_entry(self.bucket, self.position, dict(self.fields))
        if isinstance(found, LoggedDecision):
            batch.decided.append(found)
        elif isinstance(found, LoggedEvent):
            batch.events.append(found)
        batch.outcomes += lessons_of(found)
        return batch


def letter_id(bucket: int, position: StreamPosition) -> str:
    """Name an entry that was set aside, or may have been."""
    return f"{INBOX_NAME if bucket == INBOX else bucket}:{position}"


def place_of(name: str) -> Entry:
    """Return the bucket and position that an id names. Raises ``ValueError``."""
    bucket, _, position = name.partition(":")
    return INBOX if bucket == INBOX_NAME else int(bucket), StreamPosition(position)


@dataclass(frozen=True, slots=True)
class Deed:
    """The author of something that is done with what was set aside, and the reason, for the trail."""

    author: str
    reason: str = ""


class DeadLetters:
    """The entries that were set aside. Methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def all(self) -> list[DeadLetter]:
        """Read all of them, the earliest first."""
        return await self._read("", "", {})

    async def newest(self, before: Moment | None, of_inbox: bool | None, limit: int) -> list[DeadLetter]:
        """Read the newest ones. ``of_inbox``: only events of the inbox, or only what stood in the log."""
        return await self._read(*_page(before, "<", of_inbox, limit, "DESC"))

    async def earliest(self, after: Moment | None, of_inbox: bool | None, limit: int) -> list[DeadLetter]:
        """Read the earliest ones. ``of_inbox``: only events of the inbox, or only what stood in the log."""
        return await self._read(*_page(after, ">", of_inbox, limit, "ASC"))

    async def of(self, places: Sequence[Entry]) -> list[DeadLetter]:
        """Read those of some places, the earliest first; where nothing is, none."""
        return await self._read(_AT_PLACES, "", _places(places))

    async def _read(self, where: str, limit: str, values: Mapping[str, object]) -> list[DeadLetter]:
        query = f"SELECT bucket, position, reason, entry, set_aside_at FROM dead_letters {where} {limit or _ORDER}"
        async with transaction(self._engine) as connection:
            rows = (await connection.execute(text(query), values)).all()
        return [
            DeadLetter(
                row.bucket,
                StreamPosition(row.position),
                row.reason,
                dict(zip(row.entry[::2], row.entry[1::2], strict=True)),
                row.set_aside_at,
            )
            for row in rows
        ]

    async def count(self) -> int:
        """Count them."""
        async with transaction(self._engine) as connection:
            return int(await connection.scalar(text("SELECT count(*) FROM dead_letters")) or 0)

    async def add(self, unread: Sequence[UnreadEntry]) -> None:
        """Keep entries that are not of the log."""
        _log_some(unread)
        async with transaction(self._engine) as connection:
            await connection.execute(
                text(
                    "INSERT INTO dead_letters (bucket, position, reason, entry)"
                    " VALUES (:bucket, :position, :reason, :entry)"
                    " ON CONFLICT (bucket, position) DO UPDATE SET reason = excluded.reason"
                ),
                [
                    {
                        "bucket": one.bucket,
                        "position": one.position,
                        "reason": _storable(one.reason),
                        "entry": _flat(one.fields),
                    }
                    for one in unread
                ],
            )

    async def drop(self, places: Sequence[Entry], deed: Deed) -> list[Entry]:
        """Delete entries for good, all at once. Returns those that there were."""
        async with transaction(self._engine) as connection:
            rows = await connection.execute(text(_DELETE), _places(places))
            dropped = [(row.bucket, StreamPosition(row.position)) for row in rows]
            if dropped:
                await _note(connection, "dropped", dropped, deed)
        return dropped

    async def move(
        self, place: Entry, put: Callable[[Mapping[bytes, bytes]], Awaitable[None]], deed: Deed
    ) -> bool:
        """Hand an entry to ``put`` and delete it. False if there is none, for instance since somebody was faster.

        If the deletion is not kept, what was put is there twice: whoever takes it must know it by its id.
        """
        async with transaction(self._engine) as connection:
            # Deleted first, so that of two who do the same the second one waits, and finds nothing.
            row = (await connection.execute(text(_DELETE), _places([place]))).one_or_none()
            if row is None:
                return False
            await _note(connection, "retried", [place], deed)
            await put(dict(zip(row.entry[::2], row.entry[1::2], strict=True)))
        return True


_ORDER = "ORDER BY set_aside_at, bucket, position"
_AT_PLACES = (
    "WHERE (bucket, position) IN"
    " (SELECT * FROM unnest(cast(:buckets AS integer[]), cast(:positions AS text[])))"
)
_DELETE = f"DELETE FROM dead_letters {_AT_PLACES} RETURNING bucket, position, entry"
TAKE_LETTER = "DELETE FROM dead_letters WHERE bucket = $1 AND position = $2"
HOLD_LETTER = "SELECT 1 FROM dead_letters WHERE bucket = $1 AND position = $2 FOR UPDATE"
NOTE_RETRY = """
INSERT INTO privacy_actions (action, subject, author, reason, details)
VALUES ('retried', NULL, $1, $2, jsonb_build_object('dead_letters', 1, 'ids', jsonb_build_array($3::text)))
"""


def _places(places: Sequence[Entry]) -> dict[str, object]:
    return {"buckets": [bucket for bucket, _ in places], "positions": [str(at) for _, at in places]}


def _page(
    start: Moment | None, beyond: str, of_inbox: bool | None, limit: int, direction: str
) -> tuple[str, str, dict[str, object]]:
    conditions, values = [], dict[str, object](limit=limit)
    if start is not None:
        conditions.append(
            f"(set_aside_at, bucket, position) {beyond} (:at, cast(:bucket AS integer), :position)"
        )
        values |= {"at": start[0], "bucket": start[1], "position": str(start[2])}
    if of_inbox is not None:
        conditions.append(f"bucket {'=' if of_inbox else '<>'} {INBOX}")
    order = ", ".join(f"{name} {direction}" for name in ("set_aside_at", "bucket", "position"))
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return where, f"ORDER BY {order} LIMIT :limit", values


async def _note(connection: AsyncConnection, action: str, places: Sequence[Entry], deed: Deed) -> None:
    details = {"dead_letters": len(places), "ids": [letter_id(*place) for place in places]}
    await note_action(connection, action, None, deed.author, deed.reason, details)


def read_again(letter: DeadLetter) -> Batch | str:
    """Read an entry that was set aside; if it cannot be read, say why."""
    try:
        return letter.parsed()
    except LogCodecError as error:
        return str(error)
