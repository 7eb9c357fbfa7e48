"""Rows of exports without the values of attributes that are not asked for."""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from decisioning.exporting.decision_rows import json_text
from decisioning.exporting.export_service import Batch, Day, Row, Source
from rules.classification import without

_OBJECTS = {"facts": "", "context": "context", "attributes": "customer", "indicators": "customer"}
"""Columns of JSON objects, with the root of their fields; those of facts are whole paths."""


@dataclass(frozen=True, slots=True)
class Withholding:
    """A source whose rows lack what is known at ``paths``."""

    source: Source
    paths: Collection[str]

    @property
    def settles(self) -> bool:
        """See ``Source``."""
        return self.source.settles

    async def days(self, since: Day | None, until: Day | None) -> list[Day]:
        """See ``Source``."""
        return await self.source.days(since, until)

    async def still_open(self, day: Day) -> int:
        """See ``Source``."""
        return await self.source.still_open(day)

    async def batches(self, day: Day, after: list[str] | None) -> AsyncIterator[Batch]:
        """See ``Source``."""
        async for batch in self.source.batches(day, after):
            rows = [self._kept(row) for row in batch.rows if row.get("path") not in self.paths]
            yield Batch(rows, batch.last)

    def _kept(self, row: Row) -> Row:
        changed: dict[str, Any] = {
            column: json_text(without(from_json(row[column]), self.paths, root))
            for column, root in _OBJECTS.items()
            if row.get(column)
        }
        return {**row, **changed}
