"""A folder of one day: parts that are written under a temporary name, renamed, and noted in ``_parts.json``.

A part that is not noted was cut off, or cut off before it was noted: the next run writes it again under the same name.
Names that begin with an underscore or a dot are not read as data by Arrow, pandas or Spark.
"""

import fcntl
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from decisioning.errors import Busy
from decisioning.exporting.dsjson import dsjson_line
from decisioning.exporting.schema import SCHEMA_VERSION, ExportFormat, ExportKind, schema_of

NOTES = "_parts.json"
LOCK = "_lock"


@dataclass(frozen=True, slots=True)
class Part:
    """A finished file: its name, its rows, and the key of the last row that was read for it."""

    file: str
    rows: int
    last: list[str]


@dataclass(slots=True)
class DayNotes:
    """The parts of a day. ``open``: decisions whose window was open when it was begun; ``complete``: all is written.

    ``settled``: nothing of the day can change any more, so it need not be written again. ``sensitive``: it has values
    that are classified so.
    """

    kind: str
    format: str
    schema: int = SCHEMA_VERSION
    open: int = 0
    complete: bool = False
    settled: bool = False
    sensitive: bool = False
    parts: list[Part] = field(default_factory=list)

    @property
    def last(self) -> list[str] | None:
        """The key after which to go on; ``None`` at the beginning, and if nothing was read yet."""
        # The part of a day without rows has an empty key.
        return (self.parts[-1].last or None) if self.parts else None


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Be the only export that writes to a folder, which is made. Raises ``Busy`` if there is another one."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w", encoding="utf-8") as file:
        try:
            # Given back by the system when the process ends, however it does.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(
                f"another export is writing to {folder}; wait for its end, or use another folder"
            ) from None
        yield


def load_notes(folder: Path) -> DayNotes | None:
    """Read the notes of a day; ``None`` if there are none, or none that can be read."""
    try:
        found = json.loads((folder / NOTES).read_text(encoding="utf-8"))
        return DayNotes(**found | {"parts": [Part(**part) for part in found["parts"]]})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def save_notes(folder: Path, notes: DayNotes) -> None:
    """Write the notes of a day, all or nothing."""
    temporary = folder / f".{NOTES}.tmp"
    temporary.write_text(json.dumps(asdict(notes)), encoding="utf-8")
    os.replace(temporary, folder / NOTES)


def clear_day(folder: Path) -> None:
    """Remove what an export has written for a day; other files stay."""
    (folder / NOTES).unlink(missing_ok=True)
    for pattern in ("part-*", ".part-*.tmp", f".{NOTES}.tmp"):
        for path in folder.glob(pattern):
            path.unlink()


def clear_other_days(folder: Path, days: Collection[date], since: date | None, until: date | None) -> None:
    """Remove what exports have written for days that are not among ``days``; other files stay.

    ``since``, ``until``: the first day that is meant, and the first one that is not; ``None``: any.
    """
    for path in folder.glob("day=*"):
        try:
            day = date.fromisoformat(path.name.removeprefix("day="))
        except ValueError:  # nothing that an export has written
            continue
        is_meant = (since is None or day >= since) and (until is None or day < until)
        if is_meant and day not in days:
            clear_day(path)
            with suppress(OSError):  # it has other files
                path.rmdir()


class PartWriter(Protocol):
    """Writes rows to a file. ``write`` returns how many of them it took."""

    def write(self, rows: Sequence[Mapping[str, Any]]) -> int: ...

    def close(self) -> None: ...


class ParquetPart:
    """Rows as row groups of a Parquet file."""

    def __init__(self, path: Path, kind: ExportKind) -> None:
        self._schema = schema_of(kind)
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Write one row group."""
        self._writer.write_table(pa.Table.from_pylist(list(rows), schema=self._schema))
        return len(rows)

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()


class DsjsonPart:
    """Decisions as lines of dsjson; those that cannot be learned from are passed over."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="\n")

    def write(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Write a line for each row that can be learned from."""
        lines = [line for line in map(dsjson_line, rows) if line is not None]
        self._file.writelines(f"{line}\n" for line in lines)
        return len(lines)

    def close(self) -> None:
        """Write what is buffered."""
        self._file.close()


def open_part(path: Path, kind: ExportKind, file_format: ExportFormat) -> PartWriter:
    """Begin a part. Raises ``OSError``."""
    return DsjsonPart(path) if file_format == "dsjson" else ParquetPart(path, kind)
