"""Customers on suppression lists, customers that could not be read, and the short cut of dense propensities."""

from dataclasses import replace

import numpy as np

from profiles.customer import Customer, Profile, Suppression

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
