"""Records in place of earlier ones: their versions, and what is lost."""

from typing import Any

import pytest

from profiles.errors import UnconfirmedErasure
from profiles.replacing import changes_between, check_erasures, erasures_between, record_version
from tests.support.customers import customer


def test_a_version_is_that_of_all_that_is_known() -> None:
    one = customer()
    again = customer(attributes=dict(reversed(one.attributes.items())))
    assert record_version(one) == record_version(again)
    others: list[dict[str, Any]] = [
        {"attributes": one.attributes | {"age": 42}},
        {"indicators": {}},
        {"holdings": ("loan", "card")},
        {"interests": {"golf": 0.8}},
        {"consents": one.consents | {"research": ("!*",)}},
        {"household_id": "H-1"},
        {"household_id": "H-2"},
    ]
    assert len({record_version(customer(**other)) for other in ({}, *others)}) == 8


def test_changes_are_counted_by_field() -> None:
    one = customer()
    assert changes_between(one, one) == {}
    other = customer(
        attributes=one.attributes | {"age": 42, "new": 1},
        indicators={},
        holdings=("loan", "boat"),
        consents=one.consents | {"research": ("!*",)},
        household_id="H-1",
    )
    found = changes_between(one, other)
    lost = set(one.holdings) ^ {"loan", "boat"}
    assert found == {
        "attributes": 2,
        "indicators": len(one.indicators),
        "holdings": len(lost),
        "consents": 1,
        "household_id": 1,
    }
    assert changes_between(None, customer(attributes={"age": 1}))["records"] == 1


@pytest.mark.parametrize(
    ("changes", "lost"),
    [
        ({}, {}),
        ({"attributes": {"age": 1, "city": "Bonn", "score": 2.0, "member": False, "new": 1}}, {}),
        ({"attributes": {"age": 41}}, {"attributes": ("city", "score", "member")}),
        ({"indicators": {}, "interests": {}}, {"indicators": ("clv",), "interests": ("golf",)}),
        ({"holdings": ("card",)}, {}),
        ({"holdings": ()}, {"holdings": ("loan",)}),
        (
            {"consents": {"marketing": ("!email",)}},
            {"consents": ("service", "research"), "objections": ("research in *",)},
        ),
        ({"consents": {"marketing": (), "service": ("email",), "research": ("!*", "web")}}, {}),
    ],
)
def test_what_is_not_named_any_more_is_lost(changes: dict[str, Any], lost: dict[str, Any]) -> None:
    assert dict(erasures_between(customer(), customer(**changes))) == lost


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        (("!sms",), ("email",), ("ads in sms",)),
        (("*", "!sms"), ("*",), ("ads in sms",)),
        (("!sms",), ("sms",), ()),
        (("!sms",), ("!*",), ()),
        (("!*", "!sms"), ("!sms", "email"), ("ads in *",)),
        ((), ("email",), ("ads in *",)),
        (("!sms",), (), ()),
    ],
)
def test_objections_are_lost_by_channel(before: Any, after: Any, lost: Any) -> None:
    found = erasures_between(customer(consents={"ads": before}), customer(consents={"ads": after}))
    assert [items for field, items in found if field == "objections"] == ([lost] if lost else [])


def test_all_that_is_lost_must_be_confirmed_of_a_version_that_is_known() -> None:
    before, after = customer(), customer(attributes={}, holdings=())
    check_erasures(before, before, (), version_is_known=False)
    check_erasures(before, after, {"attributes", "holdings", "consents"}, version_is_known=True)
    for confirmed, known, fields in (
        ((), True, ["attributes", "holdings"]),
        (("attributes",), True, ["holdings"]),
        (("attributes", "holdings"), False, ["attributes", "holdings"]),
    ):
        with pytest.raises(UnconfirmedErasure, match="confirm_removal=attributes,holdings") as caught:
            check_erasures(before, after, confirmed, version_is_known=known)
        assert [field for field, _ in caught.value.lost] == fields


def test_many_are_not_all_named() -> None:
    before = customer(attributes={f"a{n}": n for n in range(25)})
    with pytest.raises(UnconfirmedErasure, match="a9 and 15 more"):
        check_erasures(before, customer(attributes={}), (), version_is_known=True)
