"""How many decisions may hold a unit: bounds that hold for any numbers, and days that are lived through."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decisioning.capacity.forecast import RISK, Share, count_holds, expected_most

SHARES = st.floats(0.0, 1.0)


@given(left=st.integers(-5, 2_000), share=SHARES, overbook=st.integers(0, 5_000))
def test_at_least_what_is_left_and_at_most_the_overbooking_more_may_be_held(
    left: int, share: float, overbook: int
) -> None:
    holds = count_holds(left, share, overbook)
    if left <= 0:
        assert holds == 0
        return
    assert left <= holds <= left + overbook
    assert holds == left or expected_most(holds, share) <= left
    assert holds == left + overbook or expected_most(holds + 1, share) > left


@given(left=st.integers(1, 4), share=SHARES, overbook=st.integers(0, 100))
def test_when_few_are_left_each_decision_holds_a_whole_unit(left: int, share: float, overbook: int) -> None:
    assert count_holds(left, max(share, 0.001), overbook) == left


def test_nothing_is_overbooked_before_anything_is_known() -> None:
    assert Share().upper == 1.0
    assert count_holds(300, Share().upper, 10_000) == 300
    assert count_holds(300, Share(20, 1_000).upper, 10_000) > 3_000


@settings(deadline=None)
@given(tried=st.integers(1, 3_000), share=SHARES)
def test_the_forecast_is_above_what_was_seen(tried: int, share: float) -> None:
    used = round(share * tried)
    assert used / tried <= Share(used, tried).upper <= 1.0


@pytest.mark.parametrize(("holds", "share"), [(20, 0.1), (200, 0.02), (3_000, 0.05), (50, 0.9)])
def test_more_than_expected_is_seldom_used_up(holds: int, share: float) -> None:
    chance = random.Random(7)
    most = expected_most(holds, share)
    over = sum(sum(chance.random() < share for _ in range(holds)) > most for _ in range(2_000))
    assert over <= 2_000 * RISK + 3


def live(
    maximum: int, overbook: int, forecast: float, share: float, chance: random.Random, hold: int = 30
) -> int:
    """Let one customer a tick come for a period; what they do is known up to ``hold`` ticks later. Return the used."""
    waiting: list[tuple[int, bool]] = []
    counted, reading = 0, (0, 0, 0)  # counted and held when it was read last, and offered since
    for tick in range(40 * maximum):
        known = [accepted for until, accepted in waiting if until <= tick]
        waiting = [hold for hold in waiting if hold[0] > tick]
        counted += sum(known)
        if tick % 5 == 0:  # readings of the log are late
            reading = (counted, len(waiting), 0)
        allowed = count_holds(maximum - reading[0], forecast, overbook)
        if reading[1] + reading[2] < allowed:
            waiting.append((tick + chance.randint(1, hold), chance.random() < share))
            reading = (*reading[:2], reading[2] + 1)
    return counted + sum(accepted for _, accepted in waiting)


@settings(max_examples=25, deadline=None)
@given(
    maximum=st.integers(0, 40),
    overbook=st.integers(0, 40),
    forecast=SHARES,
    share=SHARES,
    seed=st.integers(0, 2**32),
)
def test_the_cap_is_never_passed_by_more_than_the_overbooking_whatever_was_forecast(
    maximum: int, overbook: int, forecast: float, share: float, seed: int
) -> None:
    assert live(maximum, overbook, forecast, share, random.Random(seed)) <= maximum + overbook


def test_the_cap_is_seldom_passed_and_nearly_reached_where_the_forecast_is_right() -> None:
    chance = random.Random(3)
    used = [live(60, 1_000, 0.2, 0.2, chance, hold=100) for _ in range(150)]
    assert sum(one > 60 for one in used) <= 1
    assert sum(used) >= 0.97 * 60 * len(used)
