"""The propensities that are loaded, and the quality that the documentation reports."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from demo.features import COLUMNS, DEPARTMENTS, campaign_mix, design_matrix, habits_before
from demo.journey import CUT_OFF, Floats, Journey
from demo.propensity import Fitted, quality, write_propensities


def test_measured_quality_is_what_the_documentation_says(
    journey: Journey, fitted: Fitted, scores: Floats
) -> None:
    found = quality(journey, fitted, scores)
    assert (found.judged_on, found.judged_accepted) == (4123, 530)
    assert found.auc == pytest.approx(0.778, abs=0.002)
    assert found.log_loss == pytest.approx(0.320, abs=0.002)
    assert found.base_log_loss == pytest.approx(0.386, abs=0.002)
    assert found.mean_propensity == pytest.approx(0.153, abs=0.002)
    assert found.acceptance == pytest.approx(0.129, abs=0.001)
    assert set(found.auc_by_type) == set("ABC")


def test_the_file_holds_every_household_and_offer(journey: Journey, scores: Floats, tmp_path: Path) -> None:
    path = tmp_path / "propensities.parquet"
    assert write_propensities(journey, scores, path) == 2469 * 27
    table = pq.read_table(path)
    assert table.column_names == ["customer_id", "offer_id", "propensity"]
    pairs = set(zip(table["customer_id"].to_pylist(), table["offer_id"].to_pylist(), strict=True))
    assert len(pairs) == 2469 * 27
    values = np.asarray(table["propensity"])
    assert values.min() > 0
    assert values.max() < 1
    row = table.slice(27 * 4 + 7, 1).to_pylist()[0]
    assert row["customer_id"] == f"household-{journey.households[4]}"
    assert row["offer_id"] == "campaign-08"
    assert row["propensity"] == scores[4, 7]


def test_columns_of_one_household_by_hand(journey: Journey) -> None:
    who, campaign = 0, 14
    lines = journey.transactions
    mine = (lines.household == who) & (lines.day < CUT_OFF)
    recent = mine & (lines.day >= CUT_OFF - np.timedelta64(84, "D"))
    habits = habits_before(journey, CUT_OFF)
    row = dict(zip(COLUMNS, design_matrix(journey, habits, CUT_OFF, campaign)[who].tolist(), strict=True))
    last = int((CUT_OFF - lines.day[mine].max()).astype(int))
    assert row["log_recency"] == pytest.approx(np.log1p(last))
    assert row["log_frequency"] == pytest.approx(np.log1p(len(np.unique(lines.basket[recent])) / 12))
    assert row["log_spend"] == pytest.approx(np.log1p(lines.sales_value[recent].sum() / 12))
    covered = journey.coupons.product[journey.coupons.campaign == campaign]
    on_coupons = lines.sales_value[recent & np.isin(lines.product, covered)].sum() / 12
    assert row["log_coupon_spend"] == pytest.approx(np.log1p(on_coupons))
    assert (row["type_a"], row["type_c"], row["demographics_known"]) == (0, 1, 1)


def test_shares_and_mixes_are_distributions(journey: Journey) -> None:
    habits = habits_before(journey, CUT_OFF)
    total = habits.shares.sum(axis=1)
    assert np.all(np.isclose(total, 1) | (total == 0))
    assert habits.shares.shape == (2469, len(DEPARTMENTS))
    np.testing.assert_allclose(campaign_mix(journey).sum(axis=1), 1)


def test_no_habits_before_the_data_begins(journey: Journey) -> None:
    with pytest.raises(ValueError, match="no transactions before 2017-01-01"):
        habits_before(journey, np.datetime64("2017-01-01"))
