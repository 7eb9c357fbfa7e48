"""Columns of attributes: by the type that the vocabulary declares, or by what is in them where it declares none."""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import to_json

from profiles.declared import convert
from profiles.importing import columns, json_text
from profiles.importing.problems import Problems
from profiles.limits import BEYOND_64_BITS, MAX_INT, MIN_INT

_PLAIN = {
    "number": r"^(-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,17})?)?$",
    "int": r"^(-?(0|[1-9][0-9]{0,17}))?$",
}
"""Text that is written into JSON as it is; empty cells too."""


def attribute(
    problems: Problems, field: str, column: pa.Array, declared: str | None, typed_cells: bool
) -> pa.StringArray:
    """Read an attribute as JSON values; null where absent. Rows with what cannot be kept are refused.

    ``declared``: its type, if any. ``typed_cells``: see ``Source``; it counts where no type is declared.
    """
    type_ = columns.value_type(column.type)
    if pa.types.is_dictionary(column.type):
        column = column.cast(type_)
    if pa.types.is_temporal(type_):
        column = columns.as_text(column)
    if declared is not None and not _is_already(declared, column.type):
        return _converted(problems, field, column, declared)
    if columns.is_number(column.type):
        return numbers(problems, field, column)
    if pa.types.is_boolean(column.type):
        return column.cast(pa.string())
    text = columns.as_text(column)
    columns.check_text(problems, field, text)
    if declared is None and typed_cells:
        return json_text.cells(text)
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), json_text.strings(text))


def numbers(problems: Problems, field: str, column: pa.Array) -> pa.StringArray:
    """Write numbers as JSON; null where absent. Rows with infinite or otherwise unusable numbers are refused."""
    type_ = columns.value_type(column.type)
    if pa.types.is_decimal(type_) and type_.scale <= 0:
        return _whole_decimals(problems, field, column.cast(type_))
    if pa.types.is_integer(type_):
        column = column.cast(type_)
        if pa.types.is_uint64(type_):
            beyond = pc.fill_null(pc.greater(column, pa.scalar(MAX_INT, pa.uint64())), False)
            problems.refuse(columns.flags(beyond), field, BEYOND_64_BITS, column)
        return json_text.numbers(column)
    values = columns.numbers(problems, field, column)
    if pa.types.is_float32(type_):
        return json_text.numbers(pc.if_else(pa.array(np.isfinite(values)), column.cast(type_), None))
    return json_text.numbers(pa.array(values, mask=~np.isfinite(values)))


def _whole_decimals(problems: Problems, field: str, column: pa.Array) -> pa.StringArray:
    whole = [None if value is None else int(value) for value in column.to_pylist()]
    beyond = np.array([value is not None and not MIN_INT <= value <= MAX_INT for value in whole], np.bool_)
    problems.refuse(beyond, field, BEYOND_64_BITS, column)
    return pa.array([None if value is None else str(value) for value in whole], pa.string())


def _is_already(declared: str, type_: pa.DataType) -> bool:
    """Return whether all values of a column have the declared type, so that none has to be looked at."""
    if declared == "string":
        return columns.is_text(type_)
    if declared == "bool":
        return bool(pa.types.is_boolean(type_))
    whole = pa.types.is_integer(type_) or (pa.types.is_decimal(type_) and type_.scale <= 0)
    return (
        bool(whole or columns.is_number(type_)) if declared == "number" else declared == "int" and bool(whole)
    )


def _converted(problems: Problems, field: str, column: pa.Array, declared: str) -> pa.StringArray:
    if columns.is_text(column.type):
        column = columns.as_text(column)
        columns.check_text(problems, field, column)
        plain = _PLAIN.get(declared)
        if plain is not None and pc.all(pc.match_substring_regex(column, plain)).as_py():
            return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    # Values repeat, and converting one costs more than looking it up.
    encoded = column.dictionary_encode()
    known: list[str | None] = []
    reasons: list[str | None] = []
    for value in encoded.dictionary.to_pylist():
        json, reason = _json_or_reason(value, declared)
        known.append(json)
        reasons.append(reason)
    for reason in sorted({reason for reason in reasons if reason is not None}):
        wrong = pa.array([other == reason for other in reasons], pa.bool_())
        mask = pc.fill_null(wrong.take(encoded.indices), False)
        problems.refuse(columns.flags(mask), field, reason, column)
    return pa.array(known, pa.string()).take(encoded.indices)


def _json_or_reason(value: object, declared: str) -> tuple[str | None, str | None]:
    if value is None or value == "":
        return None, None
    if isinstance(value, Decimal):
        value = int(value) if value == value.to_integral_value() else float(value)
    try:
        if not isinstance(value, str | int | float):
            raise ValueError("is of a type that cannot be kept")
        return to_json(convert(value, declared)).decode(), None
    except ValueError as error:
        return None, str(error)
