"""The price of a unit, and what it earns: periods that are lived through with and without it."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisioning.capacity.leasing import Period
from decisioning.capacity.pricing import Demand, bid_price, what_was_earned

HOUR = Period("hour", 0, 3_600_000)
DEMAND = st.lists(
    st.builds(Demand, st.integers(0, 1_799_999), st.floats(0, 100), st.floats(0, 1), st.booleans()),
    max_size=40,
)


def offers(*worth: float, units: float = 1.0) -> list[Demand]:
    """Offers that came one a minute from the beginning on."""
    return [Demand(60_000 * minute, each, units, given=True) for minute, each in enumerate(worth)]


def test_a_price_is_where_the_demand_that_is_expected_equals_what_is_left() -> None:
    seen = offers(1, 2, 3, 4, 5, 6)
    half = Period("half", 0, 720_000)  # as much is still to come, in as long a time
    assert bid_price(seen, 6, 360_000, half) == 0.0
    assert bid_price(seen, 3, 360_000, half) == 3.0
    assert bid_price(seen, 2.5, 360_000, half) == 4.0
    assert bid_price(seen, 1, 360_000, half) == 5.0


def test_without_demand_time_or_units_there_is_no_price() -> None:
    assert bid_price([], 3, 1_000, HOUR) == 0.0
    assert bid_price(offers(1, 2, 3), 1, HOUR.ends_ms, HOUR) == 0.0
    assert bid_price(offers(1, 2, 3), 0, 600_000, HOUR) == 0.0


def test_of_offers_that_are_all_worth_the_same_none_is_withheld() -> None:
    assert bid_price(offers(*[4.0] * 30), 3, 1_800_000, HOUR) == 4.0


@given(demand=DEMAND, left=st.floats(0, 50), less=st.floats(0, 50))
def test_the_fewer_are_left_the_higher_is_the_price(demand: list[Demand], left: float, less: float) -> None:
    fewer = left - min(less, left)
    if fewer > 0:
        assert bid_price(demand, fewer, 1_800_000, HOUR) >= bid_price(demand, left, 1_800_000, HOUR)


def test_only_acceptances_use_up_units_where_these_are_counted() -> None:
    parts = {"given": True, "accepted": True}
    assert Demand.of(7, 0.25, 8.0, by_acceptance=False, **parts) == Demand(7, 2.0, 1.0, True, 8.0)
    assert Demand.of(7, 0.25, 8.0, by_acceptance=True, **parts) == Demand(7, 8.0, 0.25, True, 8.0)


def test_what_was_earned_is_compared_with_the_first_to_come() -> None:
    demand = [
        Demand(1, 1.0, 1.0, False),
        Demand(2, 5.0, 1.0, True, 6.0),
        Demand(3, 2.0, 1.0, False),
        Demand(4, 7.0, 1.0, True),
    ]
    earned = what_was_earned(demand, 2)
    assert (earned.given, earned.withheld, earned.units) == (2, 2, 2.0)
    assert (earned.value, earned.first_come_value, earned.accepted) == (12.0, 6.0, 6.0)


@pytest.mark.parametrize("maximum", [30, 120])
def test_a_period_with_prices_earns_more_than_the_first_to_come(maximum: int) -> None:
    """An offer comes every ten seconds, and is worth anything from 0 to 10; the price is set once a minute."""
    chance = random.Random(11)
    demand: list[Demand] = []
    price, left = 0.0, maximum
    for at_ms in range(0, HOUR.ends_ms, 10_000):
        if at_ms % 60_000 == 0:
            price = bid_price(demand, left, at_ms, HOUR)
        worth = 10 * chance.random()
        is_given = left > 0 and worth >= price
        left -= is_given
        if is_given or left > 0:
            demand.append(Demand(at_ms, worth, 1.0, is_given))
    earned = what_was_earned(demand, maximum)
    assert earned.given <= maximum
    assert earned.given >= 0.9 * maximum
    assert earned.value > 1.25 * earned.first_come_value
