"""The arithmetic of limits: windows counted moment by moment, and checks made of policies, exclusions and wishes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisioning.contact.limits import (
    blocked_until,
    limit_checks,
    longest_window_ms,
    not_after_check,
    policy_check,
    preference_checks,
    rejection_check,
)
from decisioning.model.decision import Contact
from decisioning.model.entities import AfterRejection, ContactLimit, ContactPolicy, NotAfter, Offer, Scope
from storage.clock import DAY_MS
from tests.support import contact_world as world

times = st.lists(st.integers(0, 60), max_size=8)


limits = st.tuples(st.integers(0, 4), st.integers(1, 25), st.integers(0, 25))


def in_words(at: Sequence[int], most: int, window: int, suppress: int, now: int) -> bool:
    """True if it is blocked, counted moment by moment."""
    if sum(t > now - window for t in at) >= most:
        return True
    return any(sum(s - window < t <= s for t in at) >= most and now < s + suppress for s in at)


@given(times, limits, st.integers(0, 120))
def test_it_is_blocked_when_the_words_say_so(at: list[int], limit: tuple[int, int, int], now: int) -> None:
    most, window, suppress = limit
    until = blocked_until(at, most, window, suppress, now)
    assert (until is not None) == in_words(at, most, window, suppress, now)
    if until is not None and most > 0:
        assert all(in_words(at, most, window, suppress, moment) for moment in range(now, until))
        assert not in_words(at, most, window, suppress, until)


@given(times, limits, st.integers(0, 60))
def test_a_contact_never_makes_anything_allowed(
    at: list[int], limit: tuple[int, int, int], more: int
) -> None:
    before = blocked_until(at, *limit, 60) or 0
    assert (blocked_until([*at, more], *limit, 60) or 0) >= before


DAY_S = 86_400
GOLD = Offer("gold", 7, "Gold", "cards", 1.0)
HISTORY = [
    Contact(7, 1, "cards", "grow", "d", "web"),
    Contact(8, 2, "cards", "grow", "a", "phone"),
    Contact(9, 3, "loans", "grow", "d", "web"),
    Contact(7, 4, "old-group", "serve", "r", "web"),
    Contact(5, 5, "bills", "serve", "D", "web"),
]


@pytest.mark.parametrize(
    ("scope", "at_ms"), [("offer", [1, 4]), ("group", [1, 2]), ("goal", [1, 2, 3]), ("all", [1, 2, 3, 4, 5])]
)
def test_a_policy_is_about_the_scope_of_the_offer_at_hand(scope: Scope, at_ms: list[int]) -> None:
    check = policy_check(ContactPolicy("p", "p", 1, 1, scope=scope))
    assert [c.at_ms for c in check.in_scope(HISTORY, GOLD, "grow")] == at_ms


def test_only_contacts_of_its_kinds_and_channels_count() -> None:
    policy = ContactPolicy("p", "two a day", 2, DAY_S, ("rejected", "decided"), "all", suppress_s=3)
    check = policy_check(policy)
    assert (check.kinds, check.history_ms) == ("dr", (DAY_S + 3) * 1000)
    assert check.times(HISTORY) == [1, 3, 4]
    assert policy_check(replace(policy, channels=("phone", "desk"))).times(HISTORY) == []
    assert check.blocked_until(HISTORY, 10) == blocked_until([1, 3, 4], 2, DAY_S * 1000, 3000, 10)


def test_a_check_is_written_as_the_function_in_redis_reads_it() -> None:
    policy = ContactPolicy("p", "p", 2, 5, ("accepted", "decided"), "goal", ("web", "phone"), 7)
    assert policy_check(policy).encode(GOLD, "grow") == "lgrow|ad|2|5000|7000|web,phone"
    everywhere = policy_check(replace(policy, scope="all", channels=()))
    assert everywhere.encode(GOLD, "grow") == "a|ad|2|5000|7000|"
    (own,) = limit_checks(replace(GOLD, contact_limits=(ContactLimit(3, 60),)))
    assert own.encode(GOLD, "grow") == "o7|d|3|60000|0|"
    assert rejection_check([3, 12], 9, "same offer").encode(GOLD, "grow") == "o3,12|rR|1|9000|0|"


def test_exclusions_count_transactional_offers_too() -> None:
    after_offer = not_after_check(NotAfter(9, offer="gold", outcomes=("accepted", "clicked")), ["7"])
    assert (after_offer.encode(GOLD, "grow"), after_offer.name) == (
        "o7|acAC|1|9000|0|",
        "not after offer gold",
    )
    after_group = not_after_check(NotAfter(9, group="loans", outcomes=("decided",)), [])
    assert [c.at_ms for c in after_group.in_scope(HISTORY, GOLD, "grow")] == [3]
    assert after_group.stage == "exclusion"


@pytest.mark.parametrize(
    ("wishes", "limits"),
    [
        ({"max_contacts_per_day": 2, "max_contacts_per_week": 3.9}, [(2, DAY_MS), (3, 7 * DAY_MS)]),
        ({"max_contacts_per_day": -1}, [(0, DAY_MS)]),
        ({"max_contacts_per_day": float("inf")}, [(10**9, DAY_MS)]),
        ({"min_gap_s": 0.0001}, [(1, 1)]),
        ({"min_gap_s": float("inf")}, [(1, 7 * DAY_MS)]),
        ({"min_gap_s": 0}, []),
        ({"max_contacts_per_day": True, "max_contacts_per_week": "2", "min_gap_s": False}, []),
    ],
)
def test_wishes_of_the_customer(wishes: dict[str, Any], limits: list[tuple[int, int]]) -> None:
    checks = preference_checks(world.customer(attributes=wishes))
    assert [(check.max, check.window_ms) for check in checks] == limits
    assert {(check.scope, check.kinds) for check in checks} <= {("all", "d")}


def test_contacts_are_kept_for_the_longest_window() -> None:
    policy = ContactPolicy("p", "p", 1, 8 * DAY_S, suppress_s=DAY_S)
    bill = replace(GOLD, transactional=True)
    assert longest_window_ms([], []) == longest_window_ms([bill], []) == 0
    assert longest_window_ms([GOLD], []) == 7 * DAY_MS
    assert longest_window_ms([GOLD], [policy]) == 9 * DAY_MS
    for rule in ({"not_after": (NotAfter(60, group="loans"),)}, {"after_rejection": (AfterRejection(60),)}):
        assert longest_window_ms([replace(bill, **rule)], []) == 60_000
