"""Customers, consent, and dense propensities."""

import numpy as np
import pytest

from profiles.customer import Customer, Profile
from profiles.errors import InvalidCustomer, ProfilesError
from profiles.limits import MAX_ENTRIES, check_customer


def customer(**changes: object) -> Customer:
    fields: dict[str, object] = {
        "customer_id": "c1",
        "attributes": {"age": 41, "city": "Köln", "score": 0.5, "member": True},
        "indicators": {"clv": 120.0},
        "holdings": ("loan",),
        "interests": {"golf": 0.7},
        "consents": {"marketing": ("email", "web"), "service": ("*",), "research": ()},
    }
    return Customer(**(fields | changes))  # type: ignore[arg-type]  # tests give wrong types on purpose


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


def test_a_proper_customer_can_be_stored() -> None:
    check_customer(customer(customer_id="ü" * 128))


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"customer_id": ""}, "customer_id", "is empty"),
        ({"customer_id": "x" * 129}, "customer_id", "longer than 128"),
        ({"customer_id": "a\0"}, "customer_id", "NUL"),
        ({"customer_id": "a\ud800"}, "customer_id", "surrogate"),
        ({"attributes": {"note": "x" * 4097}}, "attributes.note", "longer than 4096"),
        ({"attributes": {"note": "\0"}}, "attributes.note", "NUL"),
        ({"attributes": {"": 1}}, "attributes", "is empty"),
        ({"attributes": {"a\0b": 1}}, "attributes", "NUL"),
        ({"attributes": {"x": float("inf")}}, "attributes.x", "finite"),
        ({"attributes": {"x": 2**63}}, "attributes.x", "beyond 64 bits"),
        ({"attributes": {f"a{i}": 1 for i in range(MAX_ENTRIES + 1)}}, "attributes", "more than 1000"),
        ({"indicators": {"x": float("nan")}}, "indicators.x", "finite"),
        ({"interests": {"x": float("-inf")}}, "interests.x", "finite"),
        ({"holdings": ("",)}, "holdings", "is empty"),
        ({"holdings": ("a\0",)}, "holdings", "NUL"),
        ({"holdings": ("a",) * (MAX_ENTRIES + 1)}, "holdings", "more than 1000"),
        ({"consents": {"p": ("x" * 129,)}}, "consents.p", "longer than 128"),
        ({"consents": {"x" * 129: ()}}, "consents", "longer than 128"),
    ],
)
def test_what_cannot_be_stored_is_named(changes: dict[str, object], field: str, reason: str) -> None:
    with pytest.raises(InvalidCustomer, match=reason) as caught:
        check_customer(customer(**changes))
    assert caught.value.field == field
    assert isinstance(caught.value, ProfilesError)
