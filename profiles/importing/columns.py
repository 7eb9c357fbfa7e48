"""Checks of whole columns: text, numbers, lists and instants, whatever type they were stored with."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from profiles.customer_id import normal_customer_id
from profiles.errors import ImportFileError
from profiles.importing.problems import Problems
from profiles.limits import (
    EMPTY,
    HAS_NUL,
    MAX_ENTRIES,
    MAX_ID_CHARS,
    MAX_TEXT_CHARS,
    NOT_A_NUMBER,
    NOT_FINITE,
    too_long,
)

NOT_A_DATE = "is not a date: write ISO 8601, such as 2026-03-01T09:30:00Z, or Unix seconds"
DATE_OUT_OF_RANGE = "lies outside of the years 1990 to 2099 (numbers are read as Unix seconds)"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MIN_US = int(datetime(1990, 1, 1, tzinfo=UTC).timestamp()) * 10**6
MAX_US = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp()) * 10**6 - 1
MAX_SECONDS = 1e11
LIST_SEPARATOR = "|"


def value_type(type_: pa.DataType) -> pa.DataType:
    """Find the type of a column's values: a dictionary's, or its own."""
    return type_.value_type if pa.types.is_dictionary(type_) else type_


def is_text(type_: pa.DataType) -> bool:
    """Return whether a column holds text."""
    return bool(
        pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)
    )


def is_number(type_: pa.DataType) -> bool:
    """Return whether a column holds numbers."""
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_))


def is_text_list(type_: pa.DataType) -> bool:
    """Return whether a column holds lists of text."""
    listed = pa.types.is_list(type_) or pa.types.is_large_list(type_)
    return listed and is_text(value_type(type_.value_type))


def require(schema: pa.Schema, field: str, kind: str, accepts: bool) -> None:
    """Raise ``ImportFileError`` unless the column ``accepts`` (or is empty throughout)."""
    type_ = schema.field(field).type
    if not accepts and not pa.types.is_null(type_):
        raise ImportFileError(f"column '{field}' holds {type_}: it must hold {kind}", field)


def require_text(schema: pa.Schema, field: str) -> None:
    """Raise ``ImportFileError`` unless a column, if it is there, holds text, or whole numbers that serve as ids."""
    if field not in schema.names:
        return
    type_ = value_type(schema.field(field).type)
    require(schema, field, "text", is_text(type_) or pa.types.is_integer(type_))


def require_numbers(schema: pa.Schema, field: str) -> None:
    """Raise ``ImportFileError`` unless a column, if it is there, holds numbers, or text that is read as numbers."""
    if field not in schema.names:
        return
    type_ = value_type(schema.field(field).type)
    require(schema, field, "numbers", is_text(type_) or is_number(type_))


def as_text(column: pa.Array) -> pa.StringArray:
    """Convert a column to text without white space around it; what is absent becomes empty."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return pc.ascii_trim_whitespace(pc.fill_null(column.cast(pa.string()), ""))


def flags(mask: pa.BooleanArray) -> NDArray[np.bool_]:
    """Convert a boolean column without nulls to an array."""
    flat: NDArray[np.bool_] = mask.to_numpy(zero_copy_only=False)
    return flat


def check_text(problems: Problems, field: str, text: pa.StringArray, limit: int = MAX_TEXT_CHARS) -> None:
    """Refuse rows whose text cannot be stored."""
    lengths = pc.binary_length(text).to_numpy()
    if lengths.max(initial=0) > limit:
        problems.refuse(flags(pc.greater(pc.utf8_length(text), limit)), field, too_long(limit), text)
    if lengths.any():
        problems.refuse(flags(pc.match_substring(text, "\0")), field, HAS_NUL, text)


def ids(problems: Problems, field: str, column: pa.Array) -> pa.StringArray:
    """Clean ids: text of 1 to 128 characters. Other rows are refused."""
    text = as_text(column)
    problems.refuse(pc.binary_length(text).to_numpy() == 0, field, EMPTY, text)
    check_text(problems, field, text, MAX_ID_CHARS)
    return text


def customer_ids(
    problems: Problems, field: str, column: pa.Array, *, optional: bool = False
) -> pa.StringArray:
    """Bring customers' ids into their one form (``normal_customer_id``). Rows whose id has none are refused.

    ``optional``: rows without an id are not; it is empty then.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    text = pc.fill_null(column.cast(pa.string()), "")
    # Only what is not printable ASCII needs more than its blanks cut off.
    other = flags(pc.invert(pc.match_substring_regex(text, "^[ -~]*$")))
    normal = pc.ascii_trim(text, " ")
    if other.any():
        found = {cell: _normal_or_reason(cell) for cell in text.filter(pa.array(other)).unique().to_pylist()}
        rows = np.flatnonzero(other)
        each = [found[text[int(row)].as_py()] for row in rows]
        for reason in sorted({reason for _, reason in each if reason is not None}):
            mask = np.zeros(len(text), np.bool_)
            mask[rows[[why == reason for _, why in each]]] = True
            problems.refuse(mask, field, reason, text)
        normal = pc.replace_with_mask(
            normal, pa.array(other), pa.array([id_ for id_, _ in each], pa.string())
        )
    if not optional:
        problems.refuse(pc.binary_length(normal).to_numpy() == 0, field, EMPTY, text)
    check_text(problems, field, normal, MAX_ID_CHARS)
    return normal


def _normal_or_reason(cell: str) -> tuple[str, str | None]:
    try:
        return normal_customer_id(cell), None
    except ValueError as error:
        return "", str(error)


def numbers(problems: Problems, field: str, column: pa.Array) -> NDArray[np.float64]:
    """Clean finite numbers, shape (n,); NaN where absent. Rows with anything else are refused."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if is_text(column.type):
        column = as_text(column)
        values, unreadable = _parse_numbers(column)
        problems.refuse(unreadable, field, NOT_A_NUMBER, column)
        absent = pc.binary_length(column).to_numpy() == 0
    else:
        values = pc.fill_null(column.cast(pa.float64(), safe=False), np.nan).to_numpy().copy()
        unreadable = np.zeros(len(values), np.bool_)
        absent = flags(column.is_null())
    problems.refuse(~np.isfinite(values) & ~absent & ~unreadable, field, NOT_FINITE, column)
    return values


def _parse_numbers(text: pa.StringArray) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    try:
        values = text.cast(pa.float64()).to_numpy()
        return values, np.zeros(len(values), np.bool_)
    except pa.ArrowInvalid:  # some cell is empty or not a number: find out which
        parsed = [_number(cell) for cell in text.to_pylist()]
        unreadable = np.array([value is None for value in parsed], np.bool_)
        return np.array([np.nan if value is None else value for value in parsed], np.float64), unreadable


def _number(cell: str) -> float | None:
    if not cell:
        return np.nan
    try:
        return None if "_" in cell or not cell.isascii() else float(cell)
    except ValueError:
        return None


def lists(problems: Problems, field: str, column: pa.Array) -> pa.ListArray:
    """Clean lists of text from lists, or from text separated by ``|``; empty items are dropped. No nulls."""
    if not is_text_list(column.type):
        text = as_text(column)
        check_text(problems, field, text)
        column = pc.split_pattern(text, LIST_SEPARATOR)
    items = as_text(column.flatten())
    parents = pc.list_parent_indices(column).to_numpy()
    _check_items(problems, field, items, parents, column)
    kept = pc.binary_length(items).to_numpy() > 0
    counts = np.bincount(parents[kept], minlength=len(column))
    problems.refuse(counts > MAX_ENTRIES, field, f"has more than {MAX_ENTRIES} items", column)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), items.filter(pa.array(kept)))


def _check_items(
    problems: Problems, field: str, items: pa.StringArray, parents: NDArray[np.int64], column: pa.Array
) -> None:
    for bad, reason in (
        (pc.greater(pc.utf8_length(items), MAX_ID_CHARS), f"has an item that {too_long(MAX_ID_CHARS)}"),
        (pc.match_substring(items, "\0"), HAS_NUL),
    ):
        if len(found := parents[flags(bad)]):
            mask = np.zeros(len(problems), np.bool_)
            mask[found] = True
            problems.refuse(mask, field, reason, column)


def instants(problems: Problems, field: str, column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Clean instants in Unix microseconds, shape (n,), and which rows have one.

    Text is ISO 8601 (without a zone: UTC) or Unix seconds, numbers are Unix seconds. Other rows are refused.
    """
    type_ = value_type(column.type)
    if pa.types.is_timestamp(type_) or pa.types.is_date(type_):
        stamps = column.cast(type_).cast(pa.timestamp("us"), safe=False)
        present = flags(stamps.is_valid())
        values = stamps.cast(pa.int64()).fill_null(0).to_numpy()
    elif is_number(type_):
        seconds = numbers(problems, field, column)
        present = np.isfinite(seconds)
        values = _microseconds(seconds)
    else:
        text = as_text(column)
        values, unreadable = _parse_instants(text)
        problems.refuse(unreadable, field, NOT_A_DATE, text)
        present = (pc.binary_length(text).to_numpy() > 0) & ~unreadable
    problems.refuse(present & ((values < MIN_US) | (values > MAX_US)), field, DATE_OUT_OF_RANGE, column)
    return values, present


def _microseconds(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Convert Unix seconds to microseconds."""
    # What could overflow becomes 0, which is out of range as well.
    sane = np.abs(seconds) < MAX_SECONDS
    return np.round(np.where(sane, seconds, 0.0) * 1e6).astype(np.int64)


def _parse_instants(text: pa.StringArray) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    # Instants repeat, and parsing one costs far more than looking it up.
    encoded = text.dictionary_encode()
    parsed = [_instant_us(cell) if cell else 0 for cell in encoded.dictionary.to_pylist()]
    values = np.array([0 if value is None else value for value in parsed], np.int64)
    unreadable = np.array([value is None for value in parsed], np.bool_)
    at = encoded.indices.to_numpy()
    return values[at], unreadable[at]


def _instant_us(cell: str) -> int | None:
    seconds = _number(cell)
    if seconds is not None and math.isfinite(seconds):
        return round(seconds * 1e6) if abs(seconds) < MAX_SECONDS else 0
    try:
        moment = datetime.fromisoformat(cell)
    except ValueError:
        return None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // timedelta(microseconds=1)
