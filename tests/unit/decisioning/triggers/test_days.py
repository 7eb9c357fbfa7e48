"""Days on which triggers fire: 29 February, zones, days before and after; and which texts may be due."""

import itertools
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisioning.model.trigger import TriggerOn
from decisioning.triggers.days import DueDay, due_between, held_between, may_be_due
from storage.clock import DAY_MS, HOUR_MS, MINUTE_MS, to_ms

BORN = TriggerOn(date="customer.born", yearly=True)
ENDS = TriggerOn(date="customer.ends", days=-45, time_zone="Europe/Madrid")
ZONES = (
    "UTC",
    "Europe/Madrid",
    "Asia/Kathmandu",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
    "Mars/Base",
    None,
)


def ms(text: str) -> int:
    return to_ms(datetime.fromisoformat(text).replace(tzinfo=UTC))


def days(on: TriggerOn, value: object, first: str, last: str, zone: object = None) -> list[str]:
    found = due_between(on, value, zone, ms(first), ms(last))
    return [datetime.fromtimestamp(one.at_ms / 1000, UTC).isoformat()[:16] for one in found]


@pytest.mark.parametrize(
    ("leap_day", "expected"),
    [
        ("02-28", ["2026-02-28T09:00", "2027-02-28T09:00", "2028-02-29T09:00"]),
        ("03-01", ["2026-03-01T09:00", "2027-03-01T09:00", "2028-02-29T09:00"]),
    ],
)
def test_the_29th_of_february_comes_every_year(leap_day: str, expected: list[str]) -> None:
    on = TriggerOn(date="customer.born", yearly=True, leap_day=leap_day)  # type: ignore[arg-type]
    assert days(on, "1992-02-29", "2026-01-01", "2028-12-31") == expected


def test_it_is_nine_where_the_customer_is() -> None:
    assert days(ENDS, "2026-08-15", "2026-01-01", "2026-12-31") == ["2026-07-01T07:00"]
    assert days(ENDS, "2026-08-15", "2026-01-01", "2026-12-31", "Asia/Tokyo") == ["2026-07-01T00:00"]
    assert days(ENDS, "2026-08-15", "2026-01-01", "2026-12-31", "nowhere") == ["2026-07-01T07:00"]
    assert days(ENDS, "2026-08-14T23:30:00Z", "2026-01-01", "2026-12-31") == ["2026-07-01T07:00"]


def test_each_moment_is_in_one_span_alone() -> None:
    nine = "2026-03-04T09:00:00"
    assert days(BORN, "1990-03-04", "2026-03-04T08:59:00", nine) == ["2026-03-04T09:00"]
    assert days(BORN, "1990-03-04", nine, "2026-03-04T09:01:00") == []


@pytest.mark.parametrize("value", ["soon", "", None, 7, True, "19900304", "1990-13-04", "1990-02-30"])
def test_what_is_no_date_is_passed_over(value: object) -> None:
    assert days(BORN, value, "2026-01-01", "2028-01-01") == []


def test_not_before_the_date_itself() -> None:
    assert days(BORN, "2027-03-04", "2026-01-01", "2028-12-31") == ["2027-03-04T09:00", "2028-03-04T09:00"]
    assert days(TriggerOn(date="c.x", days=3660), "9999-12-31", "2026-01-01", "2028-01-01") == []


@given(
    held=st.dates(date(1900, 1, 1), date(2100, 1, 1)),
    yearly=st.booleans(),
    shift=st.integers(-400, 400),
    zone=st.sampled_from(ZONES),
    at=st.sampled_from(("00:00", "09:00", "23:45")),
    leap_day=st.sampled_from(("02-28", "03-01")),
    behind_days=st.integers(-500, 500),
    span_ms=st.integers(1, 3 * DAY_MS) | st.just(400 * DAY_MS),
    time_of_day=st.sampled_from(("", "T00:00:00+14:00", "T23:59:00-12:00", "T12:00:00")),
)
def test_whatever_is_due_is_among_the_texts_and_at_a_time_that_is_looked_at(
    held: date,
    yearly: bool,
    shift: int,
    zone: str | None,
    at: str,
    leap_day: str,
    behind_days: int,
    span_ms: int,
    time_of_day: str,
) -> None:
    value = held.isoformat() + time_of_day
    on = TriggerOn(date="c.x", days=shift, yearly=yearly, at=at, leap_day=leap_day)  # type: ignore[arg-type]
    target = to_ms(datetime.combine(held + timedelta(days=shift), datetime.min.time(), UTC))
    after_ms = target + (behind_days if yearly else behind_days % 3 - 2) * DAY_MS
    due = list(due_between(on, value, zone, after_ms, after_ms + span_ms))
    if due:
        texts = held_between(on, after_ms, after_ms + span_ms)
        assert held.isoformat()[5 if yearly else 0 :] + ("T" if time_of_day else "") in texts
        assert may_be_due(on, after_ms, after_ms + span_ms)
    halves = [after_ms, after_ms + span_ms // 2, after_ms + span_ms]
    parts = [d for a, b in itertools.pairwise(halves) for d in due_between(on, value, zone, a, b)]
    assert parts == due, "nothing falls between two spans, and nothing is in both"


def test_in_a_quarter_of_an_hour_few_dates_are_looked_for() -> None:
    nine = ms("2026-03-01T09:00:00")
    assert held_between(TriggerOn(date="c.x"), nine - 15 * MINUTE_MS, nine)[0:2] == [
        "2026-02-27T",
        "2026-02-28T",
    ]
    for quarter in range(96):
        until_ms = nine + quarter * 15 * MINUTE_MS
        plain = [one for one in held_between(BORN, until_ms - 15 * MINUTE_MS, until_ms) if one[-1] != "T"]
        assert 1 <= len(plain) <= 3, "two days at most, and 29 February with the day on which it is kept"


def test_nobody_is_looked_for_between_quarters_of_an_hour() -> None:
    nine = ms("2026-03-04T09:00:00")
    assert may_be_due(BORN, nine - MINUTE_MS, nine)
    assert not may_be_due(BORN, nine, nine + 14 * MINUTE_MS)
    assert may_be_due(BORN, nine, nine + HOUR_MS)
    assert list(due_between(BORN, "1990-03-04", None, nine - 1, nine)) == [DueDay(date(2026, 3, 4), nine)]
