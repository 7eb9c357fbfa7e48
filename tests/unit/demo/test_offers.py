"""Windows move by whole days and end today, and values come from what redemptions brought."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.journey import CUT_OFF, DATA_END, Journey
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
