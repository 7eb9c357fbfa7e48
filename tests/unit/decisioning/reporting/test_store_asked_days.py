"""Times of a report that are not rolled up."""

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from decisioning.reporting.days.store_each_day import DAY, start_of
from decisioning.reporting.store_asked_days import between_days

FIRST = date(2026, 3, 1)


def test_the_ends_are_read_from_the_log() -> None:
    start, stop = datetime(2026, 3, 1, 9, tzinfo=UTC), datetime(2026, 3, 4, 5, tzinfo=UTC)
    days = [date(2026, 3, 2), date(2026, 3, 3)]
    assert between_days(start, stop, days) == [(start, start_of(days[0])), (start_of(date(2026, 3, 4)), stop)]
    assert between_days(start, stop, []) == [(start, stop)]
    assert between_days(start_of(FIRST), start_of(FIRST + DAY), [FIRST]) == []


@given(
    st.sets(st.integers(1, 8)), st.integers(0, 86_399), st.integers(0, 86_399), st.integers(0, 10 * 86_400)
)
def test_each_time_is_in_one_range_or_in_one_day(
    numbers: set[int], before: int, after: int, at_s: int
) -> None:
    start, stop = (
        start_of(FIRST) + timedelta(seconds=before),
        start_of(FIRST + 9 * DAY) + timedelta(seconds=after),
    )
    days = [FIRST + number * DAY for number in sorted(numbers)]
    at = start_of(FIRST) + timedelta(seconds=at_s)
    ranges = [low <= at < high for low, high in between_days(start, stop, days)]
    assert sum(ranges) + (at.date() in days) == (start <= at < stop)
