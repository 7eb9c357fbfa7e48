"""Windows move by whole days and end today; history is in order, complete and says what it leaves out."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.customers import customer_table, slug
from demo.history import write_history
from demo.journey import CUT_OFF, DATA_END, Floats, Journey
from demo.offers import THEMES, acceptance_sales, build_offers, moved, offer_values, shift_to
from tests.support.demo_service import TODAY


@given(st.dates(date(2018, 1, 1), date(2100, 1, 1)))
def test_the_data_ends_today_whatever_day_it_is(today: date) -> None:
    shift = shift_to(today)
    assert shift % timedelta(days=1) == timedelta(0)
    assert moved(DATA_END, shift) == datetime(today.year, today.month, today.day, tzinfo=UTC)


@pytest.mark.parametrize("hour", [0, 12, 23])
def test_five_campaigns_are_live_today(journey: Journey, hour: int) -> None:
    now = datetime(TODAY.year, TODAY.month, TODAY.day, hour, tzinfo=UTC)
    live = [offer.id for offer in build_offers(journey, TODAY) if offer.live_at(now)]
    assert live == ["campaign-15", "campaign-20", "campaign-21", "campaign-22", "campaign-23"]


def test_windows_keep_their_lengths_and_distances(journey: Journey) -> None:
    offers = build_offers(journey, TODAY)
    assert len({offer.id for offer in offers}) == 27
    for offer, start, end in zip(offers, journey.campaigns.start, journey.campaigns.end, strict=True):
        assert offer.ends_at - offer.starts_at == timedelta(days=int((end - start).astype(int)) + 1)
        assert offer.starts_at - offers[0].starts_at == timedelta(
            days=int((start - journey.campaigns.start[0]).astype(int))
        )


def test_every_offer_has_wording_for_each_channel(journey: Journey) -> None:
    offers = build_offers(journey, TODAY)
    assert set(THEMES) == set(journey.campaigns.id.tolist())
    assert len({offer.name for offer in offers}) == 27
    for offer in offers:
        assert [treatment.channel for treatment in offer.treatments] == ["web", "agent", "mail"]
        assert offer.group in {"type-a", "type-b", "type-c"}


def test_values_without_redemptions_are_their_types_mean(journey: Journey) -> None:
    values = offer_values(journey)
    redeemed = np.unique(journey.redemptions.campaign[journey.redemptions.day < CUT_OFF])
    kinds = np.array(journey.campaigns.type)
    for kind in "ABC":
        silent = (kinds == kind) & ~np.isin(np.arange(27), redeemed)
        assert len(np.unique(values[silent])) == 1
    assert (values > 0).all()


def test_sales_of_one_acceptance_by_hand(journey: Journey) -> None:
    redeemed, lines = journey.redemptions, journey.transactions
    household, campaign = int(redeemed.household[0]), int(redeemed.campaign[0])
    expected = 0.0
    mine = (redeemed.household == household) & (redeemed.campaign == campaign)
    for day in np.unique(redeemed.day[mine]):
        used = redeemed.coupon[mine & (redeemed.day == day)]
        coupons = journey.coupons
        good_for = coupons.product[(coupons.campaign == campaign) & np.isin(coupons.coupon, used)]
        bought = (lines.household == household) & (lines.day == day) & np.isin(lines.product, good_for)
        expected += float(lines.sales_value[bought].sum())
    assert expected > 0
    assert acceptance_sales(journey, redeemed)[household, campaign] == pytest.approx(expected)


def test_history_holds_what_it_says(journey: Journey, scores: Floats, tmp_path: Path) -> None:
    path = tmp_path / "history.parquet"
    counts = write_history(journey, scores, TODAY, path)
    assert (counts.rows, counts.accepted, counts.expired) == (3940, 527, 3413)
    assert (counts.cut_short, counts.too_young, counts.too_young_accepted) == (572, 183, 3)
    assert counts.rows + counts.too_young == 4123
    table = pq.read_table(path)
    rows = table.to_pylist()
    decided = [datetime.fromisoformat(row["decided_at"]) for row in rows]
    occurred = [datetime.fromisoformat(row["occurred_at"]) for row in rows]
    assert decided == sorted(decided)
    assert all(then <= later for then, later in zip(decided, occurred, strict=True))
    assert max(occurred) == datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC)
    assert min(decided) >= moved(CUT_OFF, shift_to(TODAY))
    assert len({(row["customer_id"], row["offer_id"]) for row in rows}) == len(rows) == 3940
    assert {row["offer_id"] for row in rows}.isdisjoint({"campaign-23", "campaign-10"})
    assert all(row["value"] is None for row in rows if row["outcome"] == "expired")
    worth = [row["value"] for row in rows if row["value"] is not None]
    assert len(worth) > 450
    assert min(worth) > 0
    where = {int(number): position for position, number in enumerate(journey.households)}
    for row in rows[::400]:
        who, what = where[int(row["customer_id"].split("-")[1])], int(row["offer_id"].split("-")[1]) - 1
        assert row["propensity"] == scores[who, what]


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
