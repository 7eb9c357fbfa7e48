"""The customers file has a row for every household, and says nothing of what is not known."""

import pytest

from demo.customers import customer_table, slug
from demo.journey import Journey


def test_customers_file(journey: Journey) -> None:
    table = customer_table(journey)
    assert table.num_rows == 2469
    assert table["attributes.age"].null_count == 2469 - 801
    assert table["indicators.recency_days"].null_count == 75
    shares = [name for name in table.column_names if name.startswith("interests.")]
    assert len(shares) == 15
    assert slug("MEAT-PCKGD") == "meat_pckgd"
    by_name = table.slice(0, 1).to_pylist()[0]
    assert sum(by_name[name] or 0 for name in shares) == pytest.approx(1, abs=0.001)
