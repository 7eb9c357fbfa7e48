"""Customers, consent, suppression lists, customers that could not be read, and dense propensities."""

from dataclasses import replace

import numpy as np
import pytest

from profiles.customer import Customer, OfferScope, Profile, Suppression, read_scope
from tests.support.customers import customer

NOW_MS = 1_800_000_000_000
ENDED = Suppression("complaints", "", NOW_MS, 0)
FOREVER = Suppression("register", "", None, 0)


def test_a_suppression_ends_at_its_end() -> None:
    until = (NOW_MS - 1, NOW_MS, NOW_MS + 1, None)
    assert [replace(ENDED, until_ms=end).holds(NOW_MS) for end in until] == [False, False, True, True]


def test_one_entry_in_force_suppresses_whatever_has_ended() -> None:
    customer = Customer.unknown("c")
    assert not replace(customer, suppressions=(ENDED,)).suppressed(NOW_MS)
    assert replace(customer, suppressions=(ENDED, FOREVER)).suppressed(NOW_MS)


def test_of_a_customer_that_could_not_be_read_no_list_is_known() -> None:
    unreadable, unknown = Customer.unreadable("c"), Customer.unknown("c")
    assert unreadable.suppressions is None
    assert not unreadable.suppressed(NOW_MS)
    assert replace(unreadable, suppressions=()) == unknown
    profile = Profile.unreadable("c")
    assert (profile.customer, profile.offer_nos.size, profile.fingerprint) == (unreadable, 0, 0)


def test_dense_is_the_profiles_own_array_only_in_its_own_order() -> None:
    own = np.array([2, 5, 9], np.uint32)
    profile = Profile(Customer.unknown("c"), own, np.array([0.25, 0.5, 0.75], np.float32))
    assert profile.dense(own.copy()) is profile.propensities
    reversed_nos = profile.dense(np.array([9, 5, 2], np.uint32))
    assert (reversed_nos.tolist(), profile.propensities.tolist()) == ([0.75, 0.5, 0.25], [0.25, 0.5, 0.75])
    of_the_same_size = profile.dense(np.array([2, 5, 8], np.uint32))
    np.testing.assert_array_equal(of_the_same_size, np.array([0.25, 0.5, np.nan], np.float32))


@pytest.mark.parametrize(
    ("purpose", "channel", "expected"),
    [
        ("marketing", "email", True),
        ("marketing", "phone", False),
        ("service", "phone", True),
        ("research", "email", False),
        ("profiling", "email", False),
        ("marketing", "*", False),
    ],
)
def test_consent_is_only_what_was_given(purpose: str, channel: str, expected: bool) -> None:
    assert customer().consents_to(purpose, channel) is expected


def test_an_unknown_customer_consents_to_nothing() -> None:
    unknown = Customer.unknown("c9")
    assert not unknown.known
    assert not unknown.consents_to("marketing", "email")
    assert Profile.unknown("c9").customer == unknown


def test_unknown_customers_share_no_state() -> None:
    Customer.unknown("a").attributes["x"] = 1
    assert Customer.unknown("b").attributes == {}
    with pytest.raises(ValueError, match="read-only"):
        Profile.unknown("a").offer_nos[:] = 1


def test_dense_fills_gaps_with_nan() -> None:
    profile = Profile(customer(), np.array([2, 5, 9], np.uint32), np.array([0.25, 0.5, 0.75], np.float32))
    dense = profile.dense(np.array([9, 1, 5, 5, 4294967295], np.uint32))
    assert dense.dtype == np.float32
    np.testing.assert_array_equal(dense, np.array([0.75, np.nan, 0.5, 0.5, np.nan], np.float32))


def test_dense_does_not_change_the_profile() -> None:
    profile = Profile(customer(), np.array([2, 5], np.uint32), np.array([0.25, 0.5], np.float32))
    profile.dense(np.array([2, 3], np.uint32))
    np.testing.assert_array_equal(profile.propensities, np.array([0.25, 0.5], np.float32))


def test_dense_without_propensities_or_offers() -> None:
    offers = np.array([1, 2], np.uint32)
    assert np.isnan(Profile.unknown("c").dense(offers)).all()
    assert Profile.unknown("c").dense(np.empty(0, np.uint32)).shape == (0,)
    profile = Profile(customer(), offers, np.array([0.1, 0.2], np.float32))
    assert profile.dense(np.empty(0, np.uint32)).shape == (0,)


def test_an_entry_about_some_offers_suppresses_no_customer_and_is_read_as_it_was_written() -> None:
    about = OfferScope(except_goals=("serve",))
    entry = Suppression("sales", "angry", None, 0, about)
    assert not replace(Customer.unknown("a"), suppressions=(entry,)).suppressed(NOW_MS)
    assert Suppression.read(*entry.written) == entry
    assert entry.written[-1] == {"except_goals": ["serve"]}
    assert Suppression.read(*FOREVER.written) == FOREVER
    assert len(FOREVER.written) == 4


@pytest.mark.parametrize("scope", [{"planets": ["mars"]}, {"goals": "serve"}, [], "x", {"goals": [1]}])
def test_a_scope_that_cannot_be_read_keeps_everything_from_the_customer(scope: object) -> None:
    entry = Suppression.read("sales", "angry", None, 0, scope)
    assert entry.scope is None
    with pytest.raises(ValueError, match=r"must be|has no"):
        read_scope(scope)
