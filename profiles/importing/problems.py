"""Rows that are refused, and why."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

MAX_REFUSALS = 1000
"""Refusals that are described; all of them are counted."""

_SHOWN_CHARS = 100


@dataclass(frozen=True, slots=True, order=True)
class Refusal:
    """The reason why a row was not loaded.

    ``row`` counts data rows from 1 (the header and blank lines do not count); ``field`` is the column, or
    ``None`` when the whole row is meant; ``value`` is what the cell holds, cut to 100 characters. ``entity``: the
    thing that the row is about, such as ``customers.1025``, if it names one. ``line``: that of the file at which the
    row begins, from 1; ``None`` where files have no lines.
    """

    row: int
    field: str | None
    reason: str
    value: str
    entity: str | None = None
    line: int | None = None


class Problems:
    """Problems with the rows of one batch; of each cell the first one found counts."""

    def __init__(
        self, rows: NDArray[np.int64], room: int, entity: Callable[[int], str | None] = lambda at: None
    ) -> None:
        """``rows``: data row numbers, shape (n,). ``room``: how many refusals may still be described.

        ``entity``: names the thing that a row of the batch, counted from 0, is about.
        """
        self.refused: NDArray[np.bool_] = np.zeros(len(rows), np.bool_)
        self._rows = rows
        self._room = room
        self._entity = entity
        self._found: list[Refusal] = []
        self._wrong: dict[str, NDArray[np.bool_]] = {}
        """By field, the rows whose cell was refused."""

    def __len__(self) -> int:
        return len(self._rows)

    def refuse(
        self,
        bad: NDArray[np.bool_],
        field: str,
        reason: str,
        values: pa.Array,
        unless: Collection[str] = (),
    ) -> None:
        """Refuse the rows where ``bad`` (shape (n,)); ``values`` is what they hold in ``field``.

        Of rows that were refused for what one of the fields ``unless`` holds nothing is said: it follows from that.
        """
        if not bad.any():
            return
        wrong = self._wrong.setdefault(field, np.zeros(len(self._rows), np.bool_))
        told = bad & ~wrong
        for other in unless:
            if other in self._wrong:
                told &= ~self._wrong[other]
        wrong |= bad
        self.refused |= bad
        self._found += [
            Refusal(int(self._rows[at]), field, reason, shown(_value(values[int(at)])), self._entity(int(at)))
            for at in np.flatnonzero(told)[: self._room]
        ]

    def first(self) -> list[Refusal]:
        """Return the descriptions, in the order of rows and checks; at most as many as there was room for."""
        return sorted(self._found, key=lambda refusal: refusal.row)[: self._room]


def _value(scalar: pa.Scalar) -> object:
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):  # a date beyond those of Python
        return scalar.value


def shown(value: object) -> str:
    """Write a cell's value for a report: text, cut to a length that fits on a line."""
    text = "" if value is None else str(value)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
