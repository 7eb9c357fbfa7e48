"""One import of one file: the checks in order, the counts, and the report."""

from collections.abc import Callable, Collection, Container, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from profiles.customer_id import normal_customer_id
from profiles.errors import ImportFileError
from profiles.importing import columns
from profiles.importing.columns import MAX_US
from profiles.importing.csv_source import CsvSource
from profiles.importing.customers import CustomerCleaner
from profiles.importing.history import HistoryCleaner
from profiles.importing.parquet_source import ParquetSource
from profiles.importing.problems import MAX_REFUSALS, Problems, Refusal, shown
from profiles.importing.propensities import PropensityCleaner
from profiles.importing.registers import RegisterCleaner
from profiles.importing.source import Block, Data, FileFormat, Source, format_of_path, in_header
from profiles.importing.suppressions import CheckScope, SuppressionCleaner
from profiles.limits import VISITOR_PREFIX
from profiles.privacy.consent_rows import ConsentCleaner

NO_REASONS: Mapping[str, str] = MappingProxyType({})
_SECTIONS = {"customer_id": "customers", "register_id": "registers"}
"""What a column names the things of."""
ERASED_ON_REQUEST = "was erased on request: leave the row out, or let the id in again first"


@dataclass(frozen=True, slots=True)
class ImportReport:
    """The result of an import: ``rows`` = ``loaded`` + ``refused``. ``refusals`` describes the first ones."""

    rows: int
    loaded: int
    refused: int
    refusals: tuple[Refusal, ...]


class Cleaner(Protocol):
    """Knows one kind of file."""

    kind: str

    def clean(self, batch: pa.RecordBatch, problems: Problems) -> pa.RecordBatch:
        """Bring all rows into a fixed schema; those that ``problems`` refuses hold anything."""
        ...


class ImportRun:
    """A file whose structure is sound, and what has been read of it so far.

    ``kind`` is customers, consents, propensities, suppressions, registers or history; ``rows_total`` is the number of
    data rows in the file.
    """

    def __init__(self, source: Source, cleaner: Cleaner) -> None:
        """Reads the file once. Raises ``ImportFileError``."""
        self.kind = cleaner.kind
        self._source = source
        self._cleaner = cleaner
        self.rows_total = source.check()
        self.read = self.refused = 0
        self.refusals: list[Refusal] = []
        self.kept_out: Container[str] | None = None
        """Ids of customers who were erased on request: their rows are refused."""
        self.became: Callable[[Collection[str]], Mapping[str, str]] | None = None
        """Says of visitors who was merged into whom: their rows are about those customers."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the rows that may be loaded, in order. Keeps count in ``read``, ``refused`` and ``refusals``."""
        # A run may be read more than once.
        self.read, self.refused, self.refusals = 0, 0, []
        for block in self._source.blocks():
            kept = self._kept(block)
            self.read += len(block.rows) + block.misshapen
            if kept.num_rows:
                yield kept

    def report(self) -> ImportReport:
        """Report what was done, once all batches have been loaded. Reads the file for the lines of what was refused."""
        lines = self._source.lines({refusal.row for refusal in self.refusals}) if self.refusals else {}
        refusals = tuple(replace(refusal, line=lines.get(refusal.row)) for refusal in self.refusals)
        return ImportReport(self.read, self.read - self.refused, self.refused, refusals)

    def _kept(self, block: Block) -> pa.RecordBatch:
        problems = Problems(block.rows, MAX_REFUSALS - len(self.refusals), partial(_entity, block.batch))
        batch = block.batch if self.became is None else of_customers(block.batch, self.became)
        clean = self._cleaner.clean(batch, problems)
        if self.kept_out is not None:
            ids = clean["customer_id"]
            erased = np.array([one in self.kept_out for one in ids.to_pylist()], np.bool_)
            problems.refuse(erased, "customer_id", ERASED_ON_REQUEST, ids)
        refused = int(problems.refused.sum())
        self.refused += refused + block.misshapen
        # Misshapen rows were found by the parser, others here: of all, the first ones are described.
        described = sorted([*problems.first(), *block.refusals], key=lambda refusal: refusal.row)
        self.refusals += described[: MAX_REFUSALS - len(self.refusals)]
        return clean.filter(pa.array(~problems.refused)) if refused else clean


def _entity(batch: pa.RecordBatch, at: int) -> str | None:
    """Name the thing that a row is about, as its file does."""
    for column, section in _SECTIONS.items():
        if column in batch.schema.names:
            name = shown(batch[column][at].as_py()).strip()
            return f"{section}.{name}" if name else None
    return None


def of_customers(
    batch: pa.RecordBatch, became: Callable[[Collection[str]], Mapping[str, str]]
) -> pa.RecordBatch:
    """Replace ids of visitors who are customers by now. ``became``: gives these, for some ids of visitors."""
    text = columns.as_text(batch["customer_id"])
    visitors: dict[str, str] = {}
    for one in text.filter(pc.match_substring(text, VISITOR_PREFIX)).unique().to_pylist():
        with suppress(ValueError):  # what cannot be an id is refused with its row
            visitors[one] = normal_customer_id(one)
    found = became(set(visitors.values())) if visitors else {}
    if not found:
        return batch
    ids = pa.array([found.get(visitors.get(one, ""), one) for one in text.to_pylist()], pa.string())
    return batch.set_column(batch.schema.get_field_index("customer_id"), "customer_id", ids)


def open_customers(
    data: Data,
    file_format: FileFormat | None = None,
    channels: Collection[str] | None = None,
    types: Mapping[str, str] | None = None,
) -> ImportRun:
    """Open a file of customers; ``customers.CLEAN_SCHEMA`` says what its batches hold.

    ``data`` is the file's bytes, or its path, whose name tells the format if none is given. ``channels``: those that
    consents and objections may name; ``None``: any. ``types``: those that the vocabulary declares for attributes, by
    name. Raises ``ImportFileError``.
    """
    source = _open(data, file_format)
    with in_header(source):
        cleaner = CustomerCleaner(source.schema, source.typed_cells, channels, types)
    return ImportRun(source, cleaner)


def open_consents(
    data: Data, channels: Collection[str], now: datetime, file_format: FileFormat | None = None
) -> ImportRun:
    """Open a file of consents and objections in ``channels``, stated until ``now``; see ``open_customers``."""
    source = _open(data, file_format)
    with in_header(source):
        cleaner = ConsentCleaner(source.schema, channels, now)
    return ImportRun(source, cleaner)


def open_propensities(
    data: Data, known_offers: Collection[str], file_format: FileFormat | None = None
) -> ImportRun:
    """Open a file of precomputed propensities for ``known_offers``; see ``open_customers``."""
    source = _open(data, file_format)
    with in_header(source):
        cleaner = PropensityCleaner(source.schema, known_offers)
    return ImportRun(source, cleaner)


def open_suppressions(
    data: Data,
    check_scope: CheckScope,
    file_format: FileFormat | None = None,
    reasons: Mapping[str, str] = NO_REASONS,
) -> ImportRun:
    """Open a file of entries in suppression lists; see ``open_customers``. ``reasons``: names by id."""
    source = _open(data, file_format)
    with in_header(source):
        cleaner = SuppressionCleaner(source.schema, check_scope, reasons)
    return ImportRun(source, cleaner)


def open_registers(
    data: Data, known_registers: Collection[str], file_format: FileFormat | None = None
) -> ImportRun:
    """Open a file of entries in ``known_registers``; see ``open_customers``."""
    source = _open(data, file_format)
    with in_header(source):
        cleaner = RegisterCleaner(source.schema, known_registers)
    return ImportRun(source, cleaner)


def open_history(
    data: Data,
    known_offers: Collection[str],
    file_format: FileFormat | None = None,
    latest_us: int = MAX_US,
    reasons: Collection[str] = (),
) -> ImportRun:
    """Open a file of past decisions on ``known_offers``, made until ``latest_us``; see ``open_customers``.

    ``reasons``: ids of those that may be told with what came of them.
    """
    source = _open(data, file_format)
    with in_header(source):
        cleaner = HistoryCleaner(source.schema, known_offers, latest_us, reasons)
    return ImportRun(source, cleaner)


def _open(data: Data, file_format: FileFormat | None) -> Source:
    if isinstance(data, Path):
        _check_path(data)
        file_format = file_format or format_of_path(data)
    if file_format is None:
        raise ImportFileError("the format of the data is not known: say whether it is csv or parquet")
    return CsvSource(data) if file_format == "csv" else ParquetSource(data)


def _check_path(path: Path) -> None:
    if not path.exists():
        raise ImportFileError(f"there is no file {str(path)!a}")
    if not path.is_file():
        raise ImportFileError(f"{str(path)!a} is not a file")
    try:
        path.open("rb").close()
    except OSError as error:
        raise ImportFileError(f"{str(path)!a} cannot be read: {error.strerror}") from error
