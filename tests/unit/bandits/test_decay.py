"""Forward decay: identities of weights, borders of periods, limits of exactness."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandits.errors import PolicyParameterError
from bandits.policy import (
    PERIOD_HALF_LIVES,
    PERIODS_KEPT,
    QUANTUM,
    TICKS_PER_HALF_LIFE,
    ForwardDecay,
    quantise,
)

DAY_S = 86_400.0
PERIOD_S = PERIOD_HALF_LIVES * DAY_S
START_S = 2500 * PERIOD_S  # a border of periods, in 2024
DAILY = ForwardDecay(DAY_S)


def test_a_weight_doubles_with_every_half_life() -> None:
    weights = [DAILY.weight(START_S + days * DAY_S) for days in range(PERIOD_HALF_LIVES)]
    assert weights == [2.0**days for days in range(PERIOD_HALF_LIVES)]


def test_each_period_starts_again_at_one() -> None:
    before, at = math.nextafter(START_S, 0.0), START_S
    assert DAILY.period(at) == DAILY.period(before) + 1 == 2500
    assert DAILY.weight(at) == 1.0
    assert 255.99 < DAILY.weight(before) < 256.0


def test_reading_does_not_notice_the_border_of_periods() -> None:
    tick = DAILY.tick(START_S + 3 * DAY_S)
    read = [
        DAILY.weight(t) * DAILY.scale(DAILY.period(t), tick) for t in (math.nextafter(START_S, 0.0), START_S)
    ]
    assert read[0] == pytest.approx(read[1], rel=1e-9)
    assert read[1] == 2.0**-3


@pytest.mark.parametrize("age_days", [0.0, 0.5, 1.0, 7.9, 8.0, 15.0, 23.0])
def test_an_observation_is_read_with_half_its_weight_for_every_half_life(age_days: float) -> None:
    at_s, now_s = START_S + 0.25 * DAY_S, START_S + (0.25 + age_days) * DAY_S
    read = DAILY.weight(at_s) * DAILY.scale(DAILY.period(at_s), DAILY.tick(now_s))
    assert read == pytest.approx(0.5**age_days, rel=2 ** (1 / TICKS_PER_HALF_LIFE) - 1)


def test_the_tick_moves_32_times_a_half_life() -> None:
    step_s = DAY_S / TICKS_PER_HALF_LIFE
    ticks = [DAILY.tick(START_S + step * step_s) for step in range(3)]
    assert ticks == [ticks[0], ticks[0] + 1, ticks[0] + 2]
    assert DAILY.tick(START_S + 0.999 * step_s) == ticks[0]


def test_what_is_forgotten_weighed_next_to_nothing() -> None:
    period = 2500
    last = (period + PERIODS_KEPT) * PERIOD_HALF_LIVES * TICKS_PER_HALF_LIFE
    assert DAILY.scale(period, last) > 0.0
    assert DAILY.scale(period, last + 1) == 0.0
    heaviest = DAILY.weight(math.nextafter(START_S + PERIOD_S, 0.0))
    assert heaviest * DAILY.scale(period, last) < 2.0**-23


def test_a_period_ahead_of_the_clock_is_read_as_if_it_began_now() -> None:
    tick = DAILY.tick(START_S)
    assert DAILY.scale(2500, tick) == DAILY.scale(2501, tick) == DAILY.scale(10**9, tick) == 1.0
    assert DAILY.scale(2500, -(10**9)) == 1.0


def test_without_a_half_life_nothing_is_forgotten() -> None:
    never = ForwardDecay(None)
    for t in (0.0, START_S, 1e12):
        assert (never.period(t), never.tick(t), never.weight(t)) == (0, 0, 1.0)
    assert never.scale(0, 0) == 1.0


@pytest.mark.parametrize("half_life_s", [0.0, -1.0, math.inf, math.nan])
def test_a_half_life_is_positive_and_finite(half_life_s: float) -> None:
    with pytest.raises(PolicyParameterError, match="half_life_s must be positive"):
        ForwardDecay(half_life_s)


def test_quantised_rounds_to_the_nearest_multiple() -> None:
    given = np.array([0.0, 0.4, 0.6, -0.6, 1e6 + 0.2, 2.0**32]) * np.array(
        [1, QUANTUM, QUANTUM, QUANTUM, 1, 1]
    )
    rounded = quantise(given)
    assert (rounded / QUANTUM == np.rint(rounded / QUANTUM)).all()
    assert (np.abs(rounded - given) <= QUANTUM / 2).all()
    assert rounded[:4].tolist() == [0.0, 0.0, QUANTUM, -QUANTUM]


def test_zero_has_one_form() -> None:
    assert quantise(np.array([-0.0, -1e-9])).tobytes() == bytes(16)


def test_sums_are_exact_up_to_their_limit_and_no_further() -> None:
    limit = 2.0**33
    assert (limit - QUANTUM) + QUANTUM == limit
    assert limit - QUANTUM != limit
    assert limit + QUANTUM == limit  # beyond it a quantum is lost, so order would begin to matter
    assert (limit + QUANTUM) + QUANTUM != limit + (QUANTUM + QUANTUM)


@settings(deadline=None)
@given(st.floats(1e-3, 3e9), st.integers(0, 4_000_000_000_000))
def test_a_time_step_ends_with_the_millisecond_in_which_the_next_begins(
    half_life_s: float, now_ms: int
) -> None:
    decay = ForwardDecay(half_life_s)
    tick = decay.tick(now_ms / 1000)
    ends_ms = decay.tick_ends_ms(tick)
    assert now_ms < ends_ms
    assert decay.tick(ends_ms / 1000) > tick >= decay.tick((ends_ms - 1) / 1000)
    assert ForwardDecay(None).tick_ends_ms(0) == math.inf
