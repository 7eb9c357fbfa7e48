"""Problems of a batch: each cell is refused once, and what follows from another cell is not told."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from profiles.importing.problems import Problems, Refusal, shown

ROWS = np.array([4, 5, 9])
VALUES = pa.array(["a", "b", None])


def mask(*rows: int) -> NDArray[np.bool_]:
    """A mask of the rows of the batch, from 0."""
    return np.isin(np.arange(3), rows)


def test_each_cell_has_the_first_reason_and_a_row_may_have_several() -> None:
    problems = Problems(ROWS, 10, lambda at: f"customers.{at}")
    problems.refuse(mask(1, 2), "age", "is odd", VALUES)
    problems.refuse(mask(0, 1), "town", "is far", VALUES)
    problems.refuse(mask(0, 1), "age", "is old", VALUES)
    assert problems.first() == [
        Refusal(4, "town", "is far", "a", "customers.0"),
        Refusal(4, "age", "is old", "a", "customers.0"),
        Refusal(5, "age", "is odd", "b", "customers.1"),
        Refusal(5, "town", "is far", "b", "customers.1"),
        Refusal(9, "age", "is odd", "", "customers.2"),
    ]
    assert problems.refused.tolist() == [True, True, True]


def test_what_follows_from_another_cell_is_refused_and_not_told() -> None:
    problems = Problems(ROWS, 10)
    problems.refuse(mask(0), "reason_id", "is none", VALUES)
    problems.refuse(mask(0, 1), "reason", "is empty", VALUES, unless=("reason_id", "other"))
    assert [(one.row, one.field) for one in problems.first()] == [(4, "reason_id"), (5, "reason")]
    assert problems.refused.tolist() == [True, True, False]


def test_the_first_rows_are_described_and_all_refused() -> None:
    problems = Problems(ROWS, 2)
    problems.refuse(mask(2), "age", "is odd", VALUES)
    problems.refuse(mask(0, 1, 2), "town", "is far", VALUES)
    assert [(one.row, one.field) for one in problems.first()] == [(4, "town"), (5, "town")]
    assert problems.refused.all()


def test_values_are_cut() -> None:
    assert (shown(None), shown(1.5), len(shown("x" * 101)), shown("x" * 101)[-1]) == ("", "1.5", 100, "…")
