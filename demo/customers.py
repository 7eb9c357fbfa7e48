"""Households as customers: the bulk import file that `nextbest import customers` would take."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from demo.features import DEPARTMENTS, habits_before
from demo.journey import CUT_OFF, Floats, Journey
from demo.names import customer_ids

DEMOGRAPHICS = (
    "age", "income", "home_ownership", "marital_status", "household_size", "household_comp", "kids_count",
)  # fmt: skip


def customer_table(journey: Journey) -> pa.Table:
    """Build one row per household, as known at the cut-off.

    Demographics are attributes (known for 801 of 2,469 households). Recency in days, baskets and dollars a week over
    the twelve weeks before the cut-off are indicators; the departments' shares of spend over the same weeks are
    interests. Households that had not shopped yet have no recency and no interests.
    """
    habits = habits_before(journey, CUT_OFF)
    people = [journey.demographics.get(int(number), {}) for number in journey.households]
    columns: dict[str, pa.Array] = {"customer_id": pa.array(customer_ids(journey))}
    for name in DEMOGRAPHICS:
        columns[f"attributes.{name}"] = pa.array([person.get(name) for person in people], pa.string())
    columns["indicators.recency_days"] = _rounded(habits.recency_days, 0)
    columns["indicators.frequency_per_week"] = _rounded(habits.frequency, 3)
    columns["indicators.spend_per_week"] = _rounded(habits.spend, 2)
    for position, department in enumerate(DEPARTMENTS):
        share = habits.shares[:, position]
        columns[f"interests.{slug(department)}"] = _rounded(np.where(share != 0, share, np.nan), 4)
    return pa.table(columns)


def write_customers(journey: Journey, path: Path) -> int:
    """Write the Parquet file; returns the number of rows."""
    table = customer_table(journey)
    pq.write_table(table, path)
    return int(table.num_rows)


def slug(department: str) -> str:
    """Make a key of a department's name: lower case, words joined by underscores."""
    return department.lower().replace("-", "_").replace(" ", "_")


def _rounded(values: Floats, decimals: int) -> pa.Array:
    """Round numbers; NaN becomes absent."""
    return pa.array(np.round(values, decimals), from_pandas=True)
