"""An export: days one after the other, each in parts, in memory that does not grow with the log."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Protocol

from decisioning.errors import Conflict, Invalid
from decisioning.exporting.day_files import (
    DayNotes,
    Part,
    clear_day,
    clear_other_days,
    load_notes,
    only_one,
    open_part,
    save_notes,
)
from decisioning.exporting.schema import KINDS, SCHEMA_VERSION, ExportFormat, ExportKind
from rules.vocabulary import Classification
from storage.clock import HOUR_MS, to_ms

ROW_GROUP = 20_000
PART_ROWS = 500_000
"""Rows of a file, but for what is left of its last batch."""
SETTLED_AFTER_MS = HOUR_MS
"""How long after its end a day may still get records, from an archiver that is behind."""

Row = Mapping[str, Any]
Day = date


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows in the order of their keys, and the key of the last record that they were made of."""

    rows: Sequence[Row]
    last: list[str]


class Source(Protocol):
    """Gives the rows of a kind by day. Methods raise ``Unavailable`` errors of the stores."""

    @property
    def settles(self) -> bool:
        """True if a day that is over, with nothing open, does not change any more."""
        ...

    async def days(self, since: Day | None, until: Day | None) -> list[Day]:
        """The days (UTC) that have rows, in order, from ``since`` to before ``until``."""
        ...

    async def still_open(self, day: Day) -> int:
        """Count the decisions of the day that have an open reward window."""
        ...

    def batches(self, day: Day, after: list[str] | None) -> AsyncIterator[Batch]:
        """The rows of a day behind a key, in order."""
        ...


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """An export: days from ``since`` to before ``until`` (UTC), as far as they are given.

    ``again``: days that have been written, as a whole or in part, are written anew as well, and those that have no rows
    any more are removed. ``include``: classes of values beside all others.
    """

    kind: ExportKind
    since: Day | None = None
    until: Day | None = None
    format: ExportFormat = "parquet"
    again: bool = False
    include: tuple[Classification, ...] = ()

    @property
    def has_sensitive(self) -> bool:
        """Return whether values that are classified as sensitive are asked for."""
        return "sensitive" in self.include

    def check(self) -> None:
        """Raise ``Invalid`` for what does not go together."""
        if self.kind not in KINDS:
            raise Invalid("kind", f"{self.kind!r} cannot be exported; there are {', '.join(KINDS)}")
        if not {*self.include} <= {"sensitive"}:
            raise Invalid("include", "there is 'sensitive': all else is in exports anyway")
        if self.format == "dsjson" and self.kind != "decisions":
            raise Invalid("format", f"dsjson is of decisions, not of {self.kind}; leave it out for Parquet")
        if self.since is not None and self.until is not None and self.until <= self.since:
            raise Invalid(
                "until", f"must be after since ({self.since}): it is the first day that is left out"
            )
        if self.kind == "arms" and (self.since is not None or self.until is not None):
            raise Invalid("since", "arms are exported as they are now: leave since and until out")


@dataclass(slots=True)
class Exported:
    """The result of an export. ``kept``: days that were settled. ``open``: decisions whose window was open."""

    days: int = 0
    kept: int = 0
    rows: int = 0
    open: int = 0


async def export(
    request: ExportRequest,
    source: Source,
    folder: Path,
    now_ms: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    row_group: int = ROW_GROUP,
    part_rows: int = PART_ROWS,
) -> Exported:
    """Write the rows of a kind to ``folder/<kind>/day=YYYY-MM-DD/part-NNNN.parquet``.

    Goes on where an earlier run was cut off. A complete day is kept if nothing of it can change any more; else it is
    written anew. With ``again`` nothing of before is left. ``on_progress`` is told how many of how many days are done.

    Raises
    ------
    Invalid
        If the request is contradictory.
    Conflict
        If the folder has files of another format or schema.
    Busy
        If another export is writing there.
    OSError
        If a file cannot be written.
    """
    request.check()
    days = await source.days(request.since, request.until)
    done = Exported()
    with only_one(folder / request.kind):
        for number, day in enumerate(days):
            on_progress(number, len(days))
            writer = _DayWriter(request, folder / request.kind / f"day={day}", row_group, part_rows)
            if await asyncio.to_thread(writer.begin):
                try:
                    await _write_day(writer, source, day, now_ms)
                finally:
                    await asyncio.to_thread(writer.close)
            else:
                done.kept += 1
            done.days += 1
            done.rows += sum(part.rows for part in writer.notes.parts)
            done.open += writer.notes.open
        if request.again and request.kind != "arms":  # of arms each day is as it was then
            others = folder / request.kind, days, request.since, request.until
            await asyncio.to_thread(clear_other_days, *others)
    on_progress(len(days), len(days))
    return done


async def _write_day(writer: "_DayWriter", source: Source, day: Day, now_ms: int) -> None:
    over = to_ms(_end_of(day)) + SETTLED_AFTER_MS <= now_ms
    if writer.is_fresh:
        # Counted before anything is read: what closes meanwhile may have been read while it was open.
        await asyncio.to_thread(writer.note_open, await source.still_open(day))
    async for batch in source.batches(day, writer.notes.last):
        await asyncio.to_thread(writer.add, batch)
    await asyncio.to_thread(writer.finish, over and source.settles)


class _DayWriter:
    """Writes one day. Methods do blocking work, and are called one after the other."""

    def __init__(self, request: ExportRequest, folder: Path, row_group: int, part_rows: int) -> None:
        self._request, self._folder = request, folder
        self._row_group, self._part_rows = row_group, part_rows
        self.notes = DayNotes(request.kind, request.format, sensitive=request.has_sensitive)
        self._waiting: list[Row] = []
        self._last: list[str] | None = None
        self._part: Any = None
        self._rows_read = self._rows_written = 0

    @property
    def is_fresh(self) -> bool:
        """True if no part of the day is there yet."""
        return not self.notes.parts

    def begin(self) -> bool:
        """Look at what is there; return whether there is anything to write."""
        self._folder.mkdir(parents=True, exist_ok=True)
        found = load_notes(self._folder)
        if found is not None:
            if (found.kind, found.format, found.schema) != (
                self._request.kind,
                self._request.format,
                SCHEMA_VERSION,
            ):
                raise Conflict(
                    f"{self._folder} has {found.kind} as {found.format}, schema {found.schema}; this export is of "
                    f"{self._request.kind} as {self._request.format}, schema {SCHEMA_VERSION}: use another folder"
                )
            if found.sensitive != self._request.has_sensitive:
                what = "with" if found.sensitive else "without"
                raise Conflict(
                    f"{self._folder} is {what} sensitive values, which this export is not: use another folder"
                )
            if found.complete and found.settled and not self._request.again:
                self.notes = found
                return False
            if not found.complete and not self._request.again:
                self.notes = found
                return True
        clear_day(self._folder)
        return True

    def note_open(self, still_open: int) -> None:
        """Note how many decisions have an open reward window."""
        self.notes.open = still_open
        save_notes(self._folder, self.notes)

    def add(self, batch: Batch) -> None:
        """Take rows; they are written once there are enough for a row group."""
        self._waiting += batch.rows
        self._last = batch.last
        if len(self._waiting) >= self._row_group:
            self._write_group()
            if self._rows_read >= self._part_rows:
                self._end_part()

    def finish(self, over: bool) -> None:
        """Write what is left, and note that the day is complete; ``over``: no more decisions of it can come."""
        if self._waiting or (self.is_fresh and self._part is None):
            self._write_group()
        if self._part is not None:
            self._end_part()
        self.notes.complete = True
        self.notes.settled = over and self.notes.open == 0
        save_notes(self._folder, self.notes)

    def close(self) -> None:
        """Close and remove a part that was not finished, if there is one."""
        if self._part is not None:
            self._part.close()
            self._temporary().unlink(missing_ok=True)
            self._part = None

    def _file(self) -> str:
        return f"part-{len(self.notes.parts):04d}.{self._request.format}"

    def _temporary(self) -> Path:
        return self._folder / f".{self._file()}.tmp"

    def _write_group(self) -> None:
        if self._part is None:
            self._part = open_part(self._temporary(), self._request.kind, self._request.format)
        self._rows_written += self._part.write(self._waiting)
        self._rows_read += len(self._waiting)
        self._waiting = []

    def _end_part(self) -> None:
        file = self._file()
        self._part.close()
        # On disk before it has its name: after a power cut there is no part that is only half there.
        with self._temporary().open("rb") as written:
            os.fsync(written.fileno())
        os.replace(self._temporary(), self._folder / file)
        self.notes.parts.append(Part(file, self._rows_written, self._last or []))
        save_notes(self._folder, self.notes)
        self._part, self._rows_read, self._rows_written = None, 0, 0


def _end_of(day: Day) -> datetime:
    return start_of(day) + timedelta(days=1)


def start_of(day: Day) -> datetime:
    """Return the first instant of a day, UTC."""
    return datetime.combine(day, time(), UTC)
