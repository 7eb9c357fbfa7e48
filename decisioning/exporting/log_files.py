"""Logs of decisions as Parquet: exported ones, and those of other systems with the same columns."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from decisioning.errors import Invalid
from decisioning.model.deciders import HISTORY
from storage.clock import to_ms

BATCH_SIZE = 2000
REQUIRED = ("offer_id", "candidates", "probability", "reward")
OPTIONAL = (
    "decision_id",
    "decided_at",
    "placement",
    "policy",
    "group",
    "source",
    "rank",
    "facts",
    "closed",
    "outcome",
    "outcome_at",
    "value",
    "reward_at",
    "candidate_propensities",
    "candidate_weights",
    "candidate_values",
)
FACT_PREFIXES = ("context.", "customer.")
"""Columns with such names are facts as well."""
_PER_CANDIDATE = OPTIONAL[-3:]

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LogScope:
    """The decisions of a log that are meant: of a placement, between two times, as far as they are given."""

    placement: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def has(self, row: Row) -> bool:
        """Return whether a row is meant. Raises ``Invalid`` if the log does not tell."""
        if self.placement is not None and _known(row, "placement") != self.placement:
            return False
        if self.since is None and self.until is None:
            return True
        at = _known(row, "decided_at")
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)


def _known(row: Row, name: str) -> Any:
    if row.get(name) is None:
        raise Invalid("log", f"has no {name} in some row, so it cannot be chosen by it")
    return row[name]


@dataclass(slots=True)
class LogSummary:
    """The contents of a log, by a first reading: actions in the order of their names, and decisions of each kind."""

    actions: list[str] = field(default_factory=list)
    closed: int = 0
    open: int = 0
    imported: int = 0
    first: datetime | None = None
    last: datetime | None = None


def find_files(path: Path) -> list[Path]:
    """List the Parquet files of a folder in the order of their names, or the one file.

    Raises ``Invalid`` if there is none.
    """
    if path.is_file():
        return [path]
    found = sorted(
        file
        for file in path.rglob("*.parquet")
        if not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)
    )
    if not found:
        raise Invalid("log", f"{path} is no Parquet file, and no folder with one")
    return found


def read_decisions(
    path: Path, scope: LogScope, *, only: tuple[str, ...] = ()
) -> Iterator[list[dict[str, Any]]]:
    """Read a log, a decision after the other: the rows of its slots, in the order of their ranks.

    Rows of one decision stand together and have the same ``decision_id``; without such a column each is alone.
    ``only``: optional columns to read; all if empty.

    Raises
    ------
    Invalid
        If a file is none, lacks a column, or a row is wrong. It names file and row.
    """
    rows = (row for row in _rows(path, only) if scope.has(row))
    for decision_id, together in groupby(rows, key=lambda row: row.get("decision_id")):
        if decision_id is None:
            yield from ([row] for row in together)
        else:
            yield sorted(together, key=lambda row: row.get("rank") or 1)


def _rows(path: Path, only: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for file in find_files(path):
        number = 0
        try:
            with pq.ParquetFile(file) as parquet:
                columns = _columns(file, parquet.schema_arrow, only)
                for batch in parquet.iter_batches(batch_size=BATCH_SIZE, columns=columns):
                    for row in batch.to_pylist():
                        number += 1
                        yield _checked(row, f"{file.name}, row {number}")
        except (pa.ArrowException, OSError) as error:
            raise Invalid("log", f"{file} cannot be read as Parquet: {error}") from error


def _columns(file: Path, schema: pa.Schema, only: tuple[str, ...]) -> list[str]:
    missing = [name for name in REQUIRED if name not in schema.names]
    if missing:
        raise Invalid(
            "log", f"{file} lacks {', '.join(missing)}; needed are {', '.join(REQUIRED)} (see docs/export.md)"
        )
    if not (
        pa.types.is_list(schema.field("candidates").type)
        or pa.types.is_large_list(schema.field("candidates").type)
    ):
        raise Invalid(
            "log", f"{file}: candidates must be lists of offer ids, not {schema.field('candidates').type}"
        )
    wanted = {*REQUIRED, *(only or OPTIONAL)}
    return [name for name in schema.names if name in wanted or (not only and name.startswith(FACT_PREFIXES))]


def _checked(row: dict[str, Any], where: str) -> dict[str, Any]:
    """Return a row with times as such. Raises ``Invalid`` if it contradicts itself."""
    offer_id, candidates, probability = row["offer_id"], row["candidates"], row["probability"]
    if offer_id is None or candidates is None:
        raise Invalid("log", f"{where}: offer_id and candidates must not be null")
    row["offer_id"], row["candidates"] = str(offer_id), [str(one) for one in candidates]
    if probability is not None and row["offer_id"] not in row["candidates"]:
        raise Invalid("log", f"{where}: offer_id {offer_id!r} is not among its candidates")
    if len(set(row["candidates"])) < len(candidates):
        raise Invalid("log", f"{where}: a candidate is named twice")
    if probability is not None and not 0.0 < probability <= 1.0:
        raise Invalid("log", f"{where}: probability must be above 0 and at most 1, not {probability}")
    if row["reward"] is not None and not math.isfinite(row["reward"]):
        raise Invalid("log", f"{where}: reward must be a finite number, not {row['reward']}")
    for name in _PER_CANDIDATE:
        if row.get(name) is not None and len(row[name]) != len(candidates):
            raise Invalid("log", f"{where}: {name} must be as long as candidates")
    for name in ("decided_at", "reward_at", "outcome_at"):
        if isinstance(row.get(name), datetime) and row[name].tzinfo is None:
            row[name] = row[name].replace(tzinfo=UTC)
    return row


def facts_in(row: Row) -> dict[str, Any]:
    """Return the facts of a row: those of its JSON, and its columns named like paths."""
    found: dict[str, Any] = {}
    if row.get("facts"):
        try:
            found = msgspec.json.decode(row["facts"])
        except msgspec.DecodeError as error:
            raise Invalid("log", f"facts must be a JSON object: {error}") from error
        if not isinstance(found, dict):
            raise Invalid("log", "facts must be a JSON object")
    return found | {
        name: value for name, value in row.items() if name.startswith(FACT_PREFIXES) and value is not None
    }


def is_imported(row: Row) -> bool:
    """Return whether a row is of imported history."""
    return row.get("source") == "history" or row.get("policy") == HISTORY


def is_open(row: Row) -> bool:
    """Return whether the reward window of a row is still open; without the column all are closed."""
    return row.get("closed") is False


def time_ms(row: Row, name: str) -> int | None:
    """Return a time of a row in Unix milliseconds, ``None`` if it has none."""
    found = row.get(name)
    return None if found is None else to_ms(found)


def summarise(path: Path, scope: LogScope) -> LogSummary:
    """Read a log once. Raises ``Invalid`` as ``read_decisions`` does."""
    found = LogSummary()
    actions: set[str] = set()
    only = ("decision_id", "decided_at", "placement", "policy", "source", "rank", "closed")
    for rows in read_decisions(path, scope, only=only):
        first = rows[0]
        for row in rows:
            actions.update(row["candidates"], (row["offer_id"],))
        if is_imported(first):
            found.imported += 1
            continue
        if is_open(first):
            found.open += 1
        else:
            found.closed += 1
        at = first.get("decided_at")
        if at is not None:
            found.first = at if found.first is None else min(found.first, at)
            found.last = at if found.last is None else max(found.last, at)
    found.actions = sorted(actions)
    return found
