"""Times in Unix milliseconds and back."""

import time
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from storage.clock import DAY_MS, floor_ms, now_ms, to_datetime, to_iso, to_ms

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
    at_ms = now_ms()
    assert int(before_s * 1000) <= at_ms <= time.time() * 1000
