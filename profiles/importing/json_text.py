"""JSON made from whole columns, without a loop over rows."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import to_json

_CONTROL = "[\\x00-\\x1f]"
_NUMBER = r"^-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?([eE][+-]?[0-9]{1,2})?$"
_TRUE = ("true", "True", "TRUE")
_FALSE = ("false", "False", "FALSE")


def strings(text: pa.StringArray) -> pa.StringArray:
    """Each text as a JSON string. Shape and nulls stay."""
    text = pc.replace_substring(text, "\\", "\\\\")
    text = pc.replace_substring(text, '"', '\\"')
    if pc.any(pc.match_substring_regex(text, _CONTROL)).as_py():
        for code in range(32):
            text = pc.replace_substring(text, chr(code), f"\\u{code:04x}")
    return pc.binary_join_element_wise('"', text, '"', "")


def cells(text: pa.StringArray) -> pa.StringArray:
    """Cells of a file without types: numbers, true and false as such, others as text, empty ones as null.

    A number is what JSON calls one, up to 18 digits before the point: ``00123`` and longer digits stay text.
    """
    return pc.case_when(
        pc.make_struct(
            pc.equal(text, ""),
            pc.match_substring_regex(text, _NUMBER),
            pc.is_in(text, value_set=pa.array(_TRUE)),
            pc.is_in(text, value_set=pa.array(_FALSE)),
        ),
        pa.nulls(len(text), pa.string()),
        text,
        "true",
        "false",
        strings(text),
    )


def numbers(column: pa.Array) -> pa.StringArray:
    """Write finite numbers as JSON."""
    if pa.types.is_integer(column.type):
        return column.cast(pa.string())
    text = column.cast(pa.float32() if pa.types.is_float16(column.type) else column.type).cast(pa.string())
    # Floats keep a point or an exponent, so that they are read as floats again.
    whole = pc.match_substring_regex(text, r"^-?[0-9]+$")
    return pc.if_else(whole, pc.binary_join_element_wise(text, ".0", ""), text)


def arrays(lists: pa.ListArray) -> pa.StringArray:
    """Write lists of text as JSON arrays; null where a list is empty."""
    quoted = pa.ListArray.from_arrays(lists.offsets, strings(lists.flatten()))
    joined = pc.binary_join_element_wise("[", pc.binary_join(quoted, ","), "]", "")
    return pc.if_else(pc.greater(pc.list_value_length(lists), 0), joined, pa.scalar(None, pa.string()))


def objects(names: Sequence[str], values: Sequence[pa.StringArray], rows: int) -> pa.StringArray:
    """Write one JSON object a row, from the JSON texts of its members; null members are left out."""
    if not names:
        return pa.array(["{}"] * rows, pa.string())
    # Arrow's join can skip nulls, but loses rows in which all are null: so each member brings its own comma.
    members = [
        pc.fill_null(pc.binary_join_element_wise(f",{to_json(name).decode()}:", value, ""), "")
        for name, value in zip(names, values, strict=True)
    ]
    joined = pc.ascii_ltrim(pc.binary_join_element_wise(*members, ""), ",")
    return pc.binary_join_element_wise("{", joined, "}", "")
