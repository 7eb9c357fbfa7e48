"""Sources of rows: the common side of CSV and Parquet."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from profiles.errors import ImportFileError
from profiles.importing.mistakes import Mistakes
from profiles.importing.problems import Refusal

FileFormat = Literal["csv", "parquet"]
Data = Path | bytes

_BY_SUFFIX: dict[str, FileFormat] = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet"}
_BY_CONTENT_TYPE: dict[str, FileFormat] = {
    "text/csv": "csv",
    "application/csv": "csv",
    "application/vnd.apache.parquet": "parquet",
    "application/x-parquet": "parquet",
    "application/parquet": "parquet",
}


@dataclass(frozen=True, slots=True)
class Block:
    """Some consecutive rows.

    ``rows``, shape (n,), are the numbers of the rows in ``batch``. Before or among them were ``misshapen``
    others, which have too many or too few fields; ``refusals`` describes some of those.
    """

    batch: pa.RecordBatch
    rows: NDArray[np.int64]
    misshapen: int = 0
    refusals: tuple[Refusal, ...] = ()


class Source(Protocol):
    """A file of rows that can be read more than once."""

    schema: pa.Schema
    typed_cells: bool
    """True if text that looks like a number, or like true or false, stands for it, as it must in CSV."""

    def check(self) -> int:
        """Read everything once. Returns the number of data rows; raises ``ImportFileError``."""
        ...

    def blocks(self) -> Iterator[Block]:
        """Read all rows, in order."""
        ...

    def lines(self, rows: Collection[int]) -> dict[int, int]:
        """Find the lines, from 1, at which rows begin, where files have lines; row 0 is the header."""
        ...


def format_of_path(path: Path) -> FileFormat:
    """Find the format that a file's name says. Raises ``ImportFileError``."""
    try:
        return _BY_SUFFIX[path.suffix.lower()]
    except KeyError:
        raise ImportFileError(
            f"'{path.name}' is neither .csv nor .parquet: give it the name of what it is"
        ) from None


def format_of_content_type(content_type: str) -> FileFormat:
    """Find the format that a ``Content-Type`` header says; parameters such as a charset are ignored."""
    try:
        return _BY_CONTENT_TYPE[content_type.partition(";")[0].strip().lower()]
    except KeyError:
        raise ImportFileError(
            f"the content type is {content_type[:100]!a}: send text/csv or application/vnd.apache.parquet"
        ) from None


class _Lines(Protocol):
    def lines(self, rows: Collection[int]) -> dict[int, int]: ...


@contextmanager
def in_header(source: _Lines) -> Iterator[None]:
    """Say of mistakes of columns at which line of the file they are."""
    try:
        yield
    except ImportFileError as error:
        line = source.lines([0]).get(0)
        for mistake in error.mistakes:
            mistake.line = line
        raise


def check_names(names: list[str]) -> None:
    """Raise ``ImportFileError`` for columns without a name or with the same one."""
    seen: set[str] = set()
    mistakes = Mistakes()
    for at, name in enumerate(names, start=1):
        if not name:
            mistakes.note(f"column {at} has no name: name it in the header, or remove it")
        elif "\0" in name:
            mistakes.note(f"the name of column {at} contains the character NUL: rename it", name)
        elif name in seen:
            mistakes.note(f"there are two columns '{name}': remove or rename one", name)
        seen.add(name)
    mistakes.raise_all()
