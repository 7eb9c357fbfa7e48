"""Whole columns cleaned as a plain reading of each cell would do it."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.errors import ImportFileError
from profiles.importing.columns import (
    MAX_US,
    MIN_US,
    as_text,
    ids,
    instants,
    lists,
    numbers,
    require_numbers,
    require_text,
)
from profiles.importing.problems import Problems
from profiles.limits import MAX_ID_CHARS

CELLS = st.lists(
    st.sampled_from(("", " ", "1", "-1.5", "1e3", "1_0", "٣", "nan", "inf", "x", "0x1", " 7 ")), max_size=6
)


def problems_of(column: pa.Array) -> Problems:
    """No problems yet, for rows numbered from 1."""
    return Problems(np.arange(1, len(column) + 1), 100)


def plain_number(cell: str) -> float | None:
    """The number in a cell: NaN if it is empty, ``None`` if it is refused."""
    text = cell.strip()
    if not text:
        return np.nan
    if text in ("1", "-1.5", "1e3", "7"):
        return float(text)
    return None


@given(CELLS, st.booleans())
def test_numbers_are_read_cell_by_cell(cells: list[str], encoded: bool) -> None:
    column = pa.array(cells, pa.string())
    problems = problems_of(column)
    found = numbers(problems, "n", column.dictionary_encode() if encoded else column)
    expected = [plain_number(cell) for cell in cells]
    assert problems.refused.tolist() == [value is None for value in expected]
    kept = [(a, b) for a, b in zip(found.tolist(), expected, strict=True) if b is not None]
    np.testing.assert_array_equal(*np.array(kept, np.float64).reshape(-1, 2).T)


@pytest.mark.parametrize("type_", [pa.int8(), pa.uint64(), pa.float32(), pa.decimal128(5, 1)])
def test_typed_numbers_with_gaps(type_: pa.DataType) -> None:
    column = pa.array([1, None, 3], pa.int8()).cast(type_)
    problems = problems_of(column)
    np.testing.assert_array_equal(numbers(problems, "n", column), [1.0, np.nan, 3.0])
    assert not problems.refused.any()


def test_infinite_is_refused_and_absent_is_not() -> None:
    column = pa.array([np.inf, None, np.nan, 0.5])
    problems = problems_of(column)
    numbers(problems, "n", column)
    assert problems.refused.tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a| b ||c|", None, "", "d"]),
        pa.array([["a", " b ", None, "c"], None, [], ["d"]], pa.list_(pa.string())),
        pa.array([["a", "b", "", "c"], [], [" "], ["d "]], pa.large_list(pa.large_string())),
    ],
)
def test_lists_are_the_same_however_they_are_written(column: pa.Array) -> None:
    problems = problems_of(column)
    assert lists(problems, "l", column).to_pylist() == [["a", "b", "c"], [], [], ["d"]]
    assert lists(problems_of(column[1:]), "l", column[1:]).to_pylist() == [[], [], ["d"]]
    assert not problems.refused.any()


def test_an_item_that_cannot_be_stored_refuses_its_own_row() -> None:
    column = pa.array(["ok", "x" * (MAX_ID_CHARS + 1), "a|\0", "x" * MAX_ID_CHARS])
    problems = problems_of(column)
    lists(problems, "l", column)
    assert problems.refused.tolist() == [False, True, True, False]


def test_ids_are_trimmed_and_measured_in_characters() -> None:
    column = pa.array([" a ", "ü" * MAX_ID_CHARS, "x" * (MAX_ID_CHARS + 1), " ", None, "a\0"])
    problems = problems_of(column)
    assert ids(problems, "id", column).to_pylist()[:2] == ["a", "ü" * MAX_ID_CHARS]
    assert problems.refused.tolist() == [False, False, True, True, True, True]
    assert as_text(pa.array([7, None])).to_pylist() == ["7", ""]


@pytest.mark.parametrize(
    ("cell", "us"),
    [
        ("1990-01-01", MIN_US),
        ("2099-12-31T23:59:59.999999Z", MAX_US),
        ("1989-12-31T23:59:59.999999Z", None),
        ("2100-01-01", None),
        ("1e11", None),
        ("0.5", None),
        ("2026-03-01T00:00:00+23:59", int(datetime(2026, 2, 28, 0, 1, tzinfo=UTC).timestamp()) * 10**6),
        ("2026-02-29", None),
        ("nan", None),
        ("0001-01-01T00:00+23:59", None),
    ],
)
def test_instants_lie_in_their_years(cell: str, us: int | None) -> None:
    column = pa.array([cell, ""])
    problems = problems_of(column)
    values, present = instants(problems, "at", column)
    assert problems.refused.tolist() == [us is None, False]
    assert not present[1]
    if us is not None:
        assert (values[0], present[0]) == (us, True)


@pytest.mark.parametrize(
    ("type_", "text", "number"),
    [
        (pa.string(), True, True),
        (pa.dictionary(pa.int8(), pa.large_string()), True, True),
        (pa.int32(), True, True),
        (pa.float64(), False, True),
        (pa.decimal128(4, 2), False, True),
        (pa.bool_(), False, False),
        (pa.list_(pa.string()), False, False),
        (pa.null(), True, True),
    ],
)
def test_types_of_columns(type_: pa.DataType, text: bool, number: bool) -> None:
    schema = pa.schema([("c", type_)])
    check: Any
    for check, accepted in ((require_text, text), (require_numbers, number)):
        if accepted:
            check(schema, "c")
        else:
            with pytest.raises(ImportFileError, match="column 'c' holds") as caught:
                check(schema, "c")
            assert caught.value.field == "c"
