"""Nothing after the cut-off reaches the customers, the offers' values or the propensities."""

from dataclasses import replace
from datetime import date

import numpy as np

from demo.customers import customer_table
from demo.features import habits_before
from demo.journey import CUT_OFF, Floats, Journey, Redemptions, first_redemptions
from demo.offers import build_offers, offer_values
from demo.propensity import Fitted, fit_propensity, propensities


def with_redemptions(journey: Journey, redemptions: Redemptions) -> Journey:
    """The same panel with other redemptions; the exposures' outcomes follow."""
    accepted = first_redemptions(journey.exposures.household, journey.exposures.campaign, redemptions)
    return replace(journey, redemptions=redemptions, exposures=replace(journey.exposures, accepted=accepted))


def test_removing_later_transactions_changes_no_customer(journey: Journey) -> None:
    past = journey.with_transactions(journey.transactions.before(CUT_OFF))
    assert len(past.transactions.day) < 0.6 * len(journey.transactions.day)
    assert customer_table(past).equals(customer_table(journey))


def test_removing_later_transactions_changes_no_propensity_and_no_value(
    journey: Journey, fitted: Fitted, scores: Floats
) -> None:
    past = journey.with_transactions(journey.transactions.before(CUT_OFF))
    refitted = fit_propensity(past)
    np.testing.assert_array_equal(refitted.model.weights, fitted.model.weights)
    np.testing.assert_array_equal(propensities(past, refitted), scores)
    np.testing.assert_array_equal(offer_values(past), offer_values(journey))


def test_changing_later_redemptions_changes_no_propensity_and_no_value(
    journey: Journey, scores: Floats
) -> None:
    # One world in which nobody redeems after the cut-off, one in which everybody exposed then does.
    redeemed = journey.redemptions
    without = with_redemptions(journey, redeemed.where(redeemed.day < CUT_OFF))
    late = redeemed.day >= CUT_OFF
    moved = np.where(late, redeemed.household[::-1], redeemed.household)
    other = with_redemptions(journey, type(redeemed)(moved, redeemed.campaign, redeemed.coupon, redeemed.day))
    for world in (without, other):
        assert not np.array_equal(world.exposures.accepted, journey.exposures.accepted, equal_nan=True)
        np.testing.assert_array_equal(propensities(world, fit_propensity(world)), scores)
        np.testing.assert_array_equal(offer_values(world), offer_values(journey))


def test_earlier_redemptions_do_change_them(journey: Journey, scores: Floats) -> None:
    # Guards the tests above: they would pass on a model that looks at nothing.
    redeemed = journey.redemptions
    fewer = with_redemptions(journey, redeemed.where(redeemed.day >= np.datetime64("2017-05-20")))
    assert not np.allclose(propensities(fewer, fit_propensity(fewer)), scores)
    assert not np.allclose(offer_values(fewer), offer_values(journey))


def test_habits_stop_before_the_day(journey: Journey) -> None:
    day = np.datetime64("2017-03-01")
    habits = habits_before(journey, day)
    assert habits.lines.day.max() < day
    assert np.nanmin(habits.recency_days) == 1
    assert habits.weeks == 59 / 7


def test_values_do_not_depend_on_today(journey: Journey) -> None:
    one, other = (build_offers(journey, day) for day in (date(2020, 2, 29), date(2031, 3, 9)))
    assert [offer.value for offer in one] == [offer.value for offer in other]
