"""Rates: so many at once, then one by one, each name for itself, in bounded memory."""

from hypothesis import given
from hypothesis import strategies as st

from app.publishable.limits import RateLimits


def test_a_minutes_worth_at_once_then_one_by_one() -> None:
    now = 100.0
    limits = RateLimits(clock_s=lambda: now)
    assert [limits.take("ann", 3) for _ in range(4)] == [0, 0, 0, 20]
    assert limits.take("bob", 3) == 0
    now = 119.0
    assert limits.take("ann", 3) == 1
    now = 120.0
    assert [limits.take("ann", 3) for _ in range(2)] == [0, 20]


def test_what_is_taken_beyond_the_limit_is_owed() -> None:
    now = 100.0
    limits = RateLimits(clock_s=lambda: now)
    assert limits.take("ann", 3, 5) == 0, "more than the limit: it would never be taken else"
    assert limits.take("ann", 3, 5) == 60, "two are owed, and one is to be left"
    now = 160.0
    assert [limits.take("ann", 3) for _ in range(2)] == [0, 20]


@given(st.integers(1, 200), st.lists(st.floats(0.0, 30.0), max_size=60))
def test_no_minute_has_more_than_twice_the_rate(per_minute: int, pauses: list[float]) -> None:
    now = 0.0
    limits, taken = RateLimits(clock_s=lambda: now), []
    for pause in pauses:
        now += pause
        while (wait_s := limits.take("x", per_minute)) == 0:
            taken.append(now)
        # Who waits as long as was said is let in.
        ahead = RateLimits(clock_s=lambda: now + wait_s)  # noqa: B023
        ahead._full_at.update(limits._full_at)
        assert ahead.take("x", per_minute) == 0
    for start in taken:
        assert sum(start <= at < start + 60.0 for at in taken) <= 2 * per_minute


def test_who_was_longest_away_is_forgotten_first() -> None:
    limits = RateLimits(clock_s=lambda: 0.0, most=2)
    for name in ("a", "b", "a", "c"):
        limits.take(name, 10)
    assert list(limits._full_at) == ["a", "c"]
