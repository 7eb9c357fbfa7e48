"""Capacity without any server: periods where clocks change, who counts against what, the size of leases."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisioning.capacity.leasing import TOTAL, grant_units, next_want, period_at
from decisioning.capacity.matching import match_offers, stop_of
from decisioning.errors import Invalid
from decisioning.model.entities import FOREVER_MS, Capacity, Offer
from storage.clock import HOUR_MS

ZONES = (
    "UTC",
    "Europe/Madrid",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Havana",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
)


def ms(year: int, month: int, day: int, hour: int = 0, minute: int = 0, *, tz: str, fold: int = 0) -> int:
    """A local time as Unix milliseconds."""
    local = datetime(year, month, day, hour, minute, tzinfo=ZoneInfo(tz), fold=fold)
    return round(local.timestamp() * 1000)


def capacity(per: str, tz: str = "UTC") -> Capacity:
    """A capacity for every offer."""
    return Capacity("c", "C", 10, per, tz)  # type: ignore[arg-type]  # one of the three


@pytest.mark.parametrize(
    ("day", "hours"), [((2026, 3, 28), 24), ((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 10, 26), 24)]
)
def test_a_day_has_as_many_hours_as_the_clock_shows(day: tuple[int, int, int], hours: int) -> None:
    period = period_at(capacity("day", "Europe/Madrid"), ms(*day, 12, tz="Europe/Madrid"))
    assert period.period_id == f"{day[0]}-{day[1]:02}-{day[2]:02}"
    assert period.starts_ms == ms(*day, tz="Europe/Madrid")
    assert period.ends_ms - period.starts_ms == hours * HOUR_MS


def test_a_day_begins_when_the_clock_skips_midnight() -> None:
    noon = ms(2018, 11, 4, 12, tz="America/Sao_Paulo")
    period = period_at(capacity("day", "America/Sao_Paulo"), noon)
    assert period.period_id == "2018-11-04"
    assert period.starts_ms == ms(2018, 11, 4, 1, tz="America/Sao_Paulo")
    assert period_at(capacity("day", "America/Sao_Paulo"), period.starts_ms - 1).period_id == "2018-11-03"


def test_an_hour_that_comes_twice_is_two_hours() -> None:
    hourly = capacity("hour", "Europe/Madrid")
    first = period_at(hourly, ms(2026, 10, 25, 2, 30, tz="Europe/Madrid"))
    second = period_at(hourly, ms(2026, 10, 25, 2, 30, tz="Europe/Madrid", fold=1))
    assert (first.period_id, second.period_id) == ("2026-10-25T02+0200", "2026-10-25T02+0100")
    assert first.ends_ms == second.starts_ms


def test_an_hour_ends_where_the_clock_goes_back_by_half_an_hour() -> None:
    hourly = capacity("hour", "Australia/Lord_Howe")
    late = period_at(hourly, ms(2026, 4, 5, 1, 45, tz="Australia/Lord_Howe", fold=1))
    assert late.period_id == "2026-04-05T01+1030"
    assert late.ends_ms == ms(2026, 4, 5, 2, tz="Australia/Lord_Howe")


def test_all_time_is_one_period() -> None:
    assert period_at(capacity("total"), 0) == TOTAL == period_at(capacity("total"), FOREVER_MS - 1)


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(Invalid, match="Mars"):
        period_at(capacity("day", "Mars/Olympus"), 0)


@given(
    st.sampled_from(ZONES),
    st.sampled_from(["hour", "day"]),
    st.datetimes(datetime(2009, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001  # made aware below
)
def test_periods_follow_each_other_without_gap_or_overlap(tz: str, per: str, at: datetime) -> None:
    cap = capacity(per, tz)
    at_ms = round(at.replace(tzinfo=UTC).timestamp() * 1000)
    period = period_at(cap, at_ms)
    assert period.holds(at_ms)
    assert period_at(cap, period.ends_ms - 1).period_id == period.period_id
    after = period_at(cap, period.ends_ms)
    assert after.period_id != period.period_id
    assert after.starts_ms <= period.ends_ms
    assert period.ends_ms - period.starts_ms <= (timedelta(hours=48) / timedelta(milliseconds=1))


OFFER = Offer("loan", 1, "Loan", "credit", 1.0, team="branch")


@pytest.mark.parametrize(
    ("scope", "counts"),
    [
        ({}, True),
        ({"offer": "loan"}, True),
        ({"offer": "card"}, False),
        ({"group": "credit", "channel": "web"}, True),
        ({"group": "credit", "channel": "branch"}, False),
        ({"team": "branch"}, True),
        ({"team": "service"}, False),
    ],
)
def test_an_offer_counts_where_all_that_is_named_agrees(scope: dict[str, Any], counts: bool) -> None:
    cap = Capacity("c", "C", 10, **scope)
    assert match_offers([cap], [OFFER], "web") == ({0: (cap,)} if counts else {})


def test_a_capacity_of_a_team_counts_acceptances_and_any_other_decisions_unless_it_says_otherwise() -> None:
    assert Capacity("c", "C", 10).counting == "decided"
    assert Capacity("c", "C", 10, team="branch").counting == "accepted"
    assert Capacity("c", "C", 10, team="branch", counts="decided").counting == "decided"
    assert [Capacity("c", "C", 10, counts=counts).counts_later for counts in ("presented", "accepted")] == [
        True
    ] * 2


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"per": "total"}, "at most 10 in total"),
        ({"team": "branch"}, "at most 10 accepted a day"),
        ({"counts": "presented", "per": "hour"}, "at most 10 presented an hour"),
    ],
)
def test_a_stop_tells_what_is_counted(fields: dict[str, Any], said: str) -> None:
    assert stop_of([Capacity("c", "C", 10, **fields)], OFFER, "web", 0, counted=True).required == said


@given(st.integers(0, 2000), st.integers(-5, 10_000), st.integers(1, 100))
def test_a_lease_is_a_part_of_what_is_left(want: int, remaining: int, holders: int) -> None:
    units = grant_units(want, remaining, holders)
    assert 0 <= units <= max(remaining, 0)
    assert units <= want
    assert (units > 0) == (want > 0 and remaining > 0)
    assert units <= 1 or units * holders <= remaining / 4 + holders


def test_wishes_follow_demand_and_grow_no_faster_than_twofold() -> None:
    assert next_want(1, 0, 10.0) == 1
    assert next_want(1, 1, 0.001) == 2
    assert next_want(64, 64, 0.1) == 128
    assert next_want(64, 5, 5.0) == 1
