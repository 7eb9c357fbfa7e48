"""A lease's book-keeping at its borders, and the units that a decision logs."""

from dataclasses import replace
from typing import Any

import pytest

from decisioning.capacity.lease import NO_RESERVATION, Lease, Reservation
from decisioning.capacity.leasing import Period
from decisioning.model.decision import CapacityUnit
from decisioning.model.entities import Capacity

CAPACITY = Capacity("calls", "Calls", 10)
PERIOD = Period("2026-03-01", 1_000, 2_000)


def lease(**fields: Any) -> Lease:
    """A lease with three free units, good until second 50."""
    parts: dict[str, Any] = {"spent_s": 0.0, "free": 3, "good_until_s": 50.0}
    return Lease(CAPACITY, PERIOD, "holder", **(parts | fields))


@pytest.mark.parametrize(("at_ms", "covered"), [(999, False), (1_000, True), (1_999, True), (2_000, False)])
def test_a_lease_covers_its_period_and_not_the_end_of_it(at_ms: int, covered: bool) -> None:
    assert lease().covers(replace(CAPACITY), at_ms) == covered
    assert not lease().covers(replace(CAPACITY, max=9), at_ms)  # another version of it


@pytest.mark.parametrize(("free", "now_s", "has"), [(1, 49.999, True), (1, 50.0, False), (0, 0.0, False)])
def test_units_can_be_taken_until_just_before_the_end(free: int, now_s: float, has: bool) -> None:
    assert lease(free=free).has_units(now_s) == has


@pytest.mark.parametrize(("free", "now_s", "low"), [(4, 7.0, True), (5, 7.0, False), (0, 6.9, False)])
def test_a_lease_is_low_below_half_of_what_is_wanted_of_a_pool(free: int, now_s: float, low: bool) -> None:
    assert lease(free=free, want=10, empty_until_s=7.0).is_low(now_s) == low  # empty until 7


def test_a_booked_unit_is_used_and_open_until_it_is_put_back() -> None:
    one = lease(free=2)
    one.book(12.5)
    assert (one.used, one.open, one.spent, one.spent_s) == (1, 1, 1, 12.5)
    assert one.free == 2  # it was taken from there before
    one.unbook()  # its write did not happen
    assert (one.free, one.used) == (3, 0)


def test_units_are_logged_under_the_holder_in_their_order() -> None:
    other = Lease(replace(CAPACITY, capacity_id="visits"), replace(PERIOD, period_id="total"), "another", 0.0)
    assert Reservation(((other, "o2"), (lease(), "o1"))).logged == (
        CapacityUnit("visits", "total", "another", "o2"),
        CapacityUnit("calls", "2026-03-01", "holder", "o1"),
    )
    assert NO_RESERVATION.logged is None  # rather than empty
