"""Quiet hours by the customer's own clock, on days on which clocks are changed too."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisioning.contact.quiet_hours import customer_zone, ends_ms, prepare_quiet_hours, zone_of
from decisioning.errors import Invalid
from decisioning.model.entities import QuietHours
from storage.clock import MINUTE_MS
from tests.support import contact_world as world

ZONES = ("UTC", "Europe/Madrid", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia")
clocks = st.integers(0, 1439).map(lambda m: f"{m // 60:02}:{m % 60:02}")


def ms(text: str, tz: str = "UTC", fold: int = 0) -> int:
    """A local time as Unix milliseconds."""
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(tz), fold=fold)
    return round(local.timestamp() * 1000)


def allowed(hours: QuietHours, at_ms: int, channel: str = "web", **attributes: str) -> dict[str, bool]:
    """Return, for each offer, whether it may be made to a customer with these attributes."""
    book = world.catalogue(policies={}, quiet={"q": hours}).view(channel).contact
    mask = book.allowed(world.customer("ann", attributes=attributes), [], at_ms)
    return {name: bool(mask[o.number - 1]) for name, o in world.OFFERS.items()}


NIGHT = QuietHours("q", "21:00", "08:00", time_zone="Europe/Madrid")


@pytest.mark.parametrize(
    ("at", "quiet"),
    [("20:59", False), ("21:00", True), ("23:59", True), ("00:00", True), ("07:59", True), ("08:00", False)],
)
def test_over_midnight(at: str, quiet: bool) -> None:
    found = allowed(NIGHT, ms(f"2026-06-10 {at}", "Europe/Madrid"))
    assert found.pop("bill")  # transactional
    assert set(found.values()) == {not quiet}


def test_the_customers_own_clock_counts() -> None:
    at_ms = ms("2026-06-10 12:00")
    assert allowed(NIGHT, at_ms)["news"]
    assert not allowed(NIGHT, at_ms, time_zone="Asia/Tokyo")["news"]  # 21:00
    assert allowed(NIGHT, at_ms, time_zone="Asia/Kolkata")["news"]


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "", "..", "/etc/passwd", "Europe", "a\x00b", "x" * 5000, 7, True]
)
def test_an_unknown_zone_falls_back_to_that_of_the_policy(zone: object) -> None:
    quiet = prepare_quiet_hours(NIGHT)
    assert customer_zone(quiet, zone).key == "Europe/Madrid"


def test_only_in_their_channels() -> None:
    hours = QuietHours("q", "00:00", "24:00", ("phone",))
    assert not allowed(hours, 0, "phone")["news"]
    assert allowed(hours, 0, "web")["news"]


@pytest.mark.parametrize(
    ("start", "end"), [("21", "08:00"), ("25:00", "08:00"), ("21:00", "24:01"), ("", ""), ("21:60", "1")]
)
def test_times_that_are_none_are_refused(start: str, end: str) -> None:
    with pytest.raises(Invalid, match="is not a time"):
        world.catalogue(quiet={"q": QuietHours("q", start, end)})


def test_a_policy_in_an_unknown_zone_is_refused() -> None:
    with pytest.raises(Invalid, match="no time zone"):
        world.catalogue(quiet={"q": QuietHours("q", "21:00", "08:00", time_zone="Europe/Nowhere")})


def test_the_hour_that_is_skipped() -> None:
    """Madrid, 29 March 2026: after 01:59 comes 03:00, which is after the end of these quiet hours."""
    hours = QuietHours("q", "22:00", "02:30", time_zone="Europe/Madrid")
    quiet, zone = prepare_quiet_hours(hours), ZoneInfo("Europe/Madrid")
    eve = ms("2026-03-28 23:00", "Europe/Madrid")
    assert ends_ms(quiet, zone, eve) == ms("2026-03-29 01:00") == ms("2026-03-29 03:00", "Europe/Madrid")
    assert not allowed(hours, ms("2026-03-29 03:00", "Europe/Madrid") - 1)["news"]
    assert allowed(hours, ms("2026-03-29 03:00", "Europe/Madrid"))["news"]


def test_the_hour_that_comes_twice() -> None:
    """Madrid, 25 October 2026: 02:30 comes twice, and the clock on the wall shows quiet hours again in between."""
    hours = QuietHours("q", "22:00", "02:30", time_zone="Europe/Madrid")
    first = ms("2026-10-25 02:30", "Europe/Madrid")
    second = ms("2026-10-25 02:30", "Europe/Madrid", fold=1)
    assert second - first == 3_600_000
    assert (
        ends_ms(
            prepare_quiet_hours(hours), ZoneInfo("Europe/Madrid"), ms("2026-10-24 23:00", "Europe/Madrid")
        )
        == first
    )
    assert allowed(hours, first)["news"]
    assert not allowed(hours, first + 30 * MINUTE_MS)["news"]
    assert allowed(hours, second)["news"]


@given(clocks, clocks, st.sampled_from(ZONES), st.integers(0, 365 * 1440), st.integers(0, 59_999))
def test_the_end_is_the_first_moment_that_is_not_quiet(
    start: str, end: str, zone: str, minute: int, offset_ms: int
) -> None:
    quiet = prepare_quiet_hours(QuietHours("q", start, end, time_zone=zone))
    at_ms = ms("2026-01-01 00:00") + minute * MINUTE_MS
    if not quiet.holds(at_ms + offset_ms, quiet.zone):
        return
    until = ends_ms(quiet, quiet.zone, at_ms)
    if until is None:
        assert start == end
        return
    assert not quiet.holds(until, quiet.zone)
    assert all(quiet.holds(moment, quiet.zone) for moment in range(at_ms, until, MINUTE_MS))


def test_a_stop_says_when_it_ends() -> None:
    book = world.catalogue(policies={}, quiet={"q": NIGHT}).view("web").contact
    at_ms = ms("2026-06-10 22:15", "Europe/Madrid")
    (stop,) = book.stops(0, world.customer("ann"), [], at_ms)
    assert (stop.stage, stop.name, stop.observed) == ("quiet_hours", "q", "22:15 Europe/Madrid")
    assert stop.required == "outside of 21:00 to 08:00"
    assert stop.allowed_again_ms == ms("2026-06-11 08:00", "Europe/Madrid")


def test_zones_are_known_by_their_names() -> None:
    zone = zone_of("Europe/Madrid")
    assert zone is not None
    assert datetime(2026, 7, 1, tzinfo=UTC).astimezone(zone).hour == 2
