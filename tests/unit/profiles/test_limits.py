"""What can be stored of a customer."""

import pytest

from profiles.errors import InvalidCustomer, ProfilesError
from profiles.limits import MAX_ENTRIES, check_customer
from tests.support.customers import customer


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
