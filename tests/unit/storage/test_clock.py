"""Times in Unix milliseconds and back."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.clock import DAY_MS, SharedClock, floor_ms, to_datetime, to_iso, to_ms

AT_MS = st.integers(-62_135_596_800_000, 253_402_300_799_999)
"""The years 1 to 9999."""


@given(at_ms=AT_MS)
def test_conversions_are_exact_and_invert_each_other(at_ms: int) -> None:
    at = to_datetime(at_ms)
    assert (at.tzinfo, at.microsecond % 1000) == (UTC, 0)
    assert to_ms(at) == floor_ms(at) == at_ms
    assert datetime.fromisoformat(to_iso(at_ms)) == at


@given(at_ms=st.integers(-(10**12), 4 * 10**12), us=st.integers(0, 999))
def test_parts_of_a_millisecond_are_rounded_or_cut_off(at_ms: int, us: int) -> None:
    at = to_datetime(at_ms) + timedelta(microseconds=us)
    assert floor_ms(at) == at_ms
    if us != 500:
        assert to_ms(at) == at_ms + (us > 500)


def test_iso_has_milliseconds_and_a_z() -> None:
    assert to_iso(0) == "1970-01-01T00:00:00.000Z"
    assert to_iso(DAY_MS + 7) == "1970-01-02T00:00:00.007Z"


def test_now_is_the_machines_time() -> None:
    before_s = time.time()
    at_ms = SharedClock().now_ms()  # which has read no server's clock
    assert int(before_s * 1000) <= at_ms <= time.time() * 1000


def test_the_shared_clock_goes_by_the_server_whatever_this_machine_says() -> None:
    wall_ms, ticks_ms = 5_000_000, 100
    clock = SharedClock(lambda: wall_ms * 1_000_000, lambda: ticks_ms * 1_000_000)
    assert clock.now_ms() == wall_ms  # nobody was asked yet
    asked_ns, ticks_ms = 100 * 1_000_000, 110
    clock.follow(1_000_000_000, asked_ns)  # read within these 10 ms
    assert clock.now_ms() == 1_000_005
    assert clock.skew_ms() == wall_ms - 1_000_005
    wall_ms += 7_200_000  # somebody sets this machine's clock
    ticks_ms += 50
    assert clock.now_ms() == 1_000_055


def test_readings_within_their_doubt_move_nothing_and_others_do() -> None:
    ticks_ms = 0
    clock = SharedClock(lambda: 0, lambda: ticks_ms * 1_000_000)
    clock.follow(1_000_000_000, 0)
    ticks_ms = 1000
    clock.follow(1_000_998_000, 996 * 1_000_000)  # 1000.998 to 1001.002 s, by an answer that took 4 ms
    assert clock.now_ms() == 1_001_000
    clock.follow(1_002_000_000, 999 * 1_000_000)
    assert clock.now_ms() == pytest.approx(1_002_000, abs=1)
