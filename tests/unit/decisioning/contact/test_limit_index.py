"""The index of checks: what it finds by a customer's history is what each check says about each offer."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decisioning.contact.limits import LimitIndex
from decisioning.model.decision import Contact
from decisioning.model.entities import AfterRejection, ContactPolicy, NotAfter, Offer, Scope
from tests.support import contact_world as world

NOW_MS = 1_800_000_000_000
OFFERS = tuple(world.OFFERS.values())
ABOUT = {
    "offer": (None, "gold", "news", "gone"),
    "group": (None, "cards", "service"),
    "goal": (None, "grow", "acquire"),
    "all": (None,),
}
POLICIES = st.lists(
    st.sampled_from(("offer", "group", "goal", "all")).flatmap(
        lambda scope: st.builds(
            ContactPolicy,
            policy_id=st.just("p"),
            name=st.just("p"),
            max=st.integers(1, 2),
            window_s=st.integers(20, 60),
            outcomes=st.sampled_from((("decided",), ("decided", "presented"))),
            scope=st.just(scope),
            channels=st.sampled_from(((), ("web",))),
            suppress_s=st.integers(0, 20),
            applies_to=st.sampled_from(ABOUT[scope]),
        )
    ),
    max_size=3,
)
HISTORIES = st.lists(
    st.builds(
        Contact,
        st.integers(1, 7),
        st.integers(NOW_MS - 70_000, NOW_MS),
        st.sampled_from(("cards", "loans", "service")),
        st.sampled_from(("grow", "acquire", "serve")),
        st.sampled_from("ddpDr"),
        st.sampled_from(("web", "phone")),
    ),
    max_size=6,
).map(lambda found: sorted(found, key=lambda contact: contact.at_ms))


BARE = [replace(offer, contact_limits=(), not_after=(), after_rejection=()) for offer in OFFERS]


def goal_of(offer: Offer) -> str:
    """The goal of an offer's group."""
    return world.GROUPS[offer.group].goal


def index_of(offers: Sequence[Offer], policies: Sequence[ContactPolicy] = ()) -> LimitIndex:
    """The index of some offers, where those of the small catalogue are known."""
    everything = world.OFFERS | {o.offer_id: o for o in offers}
    return LimitIndex(offers, [goal_of(o) for o in offers], policies, everything)


def blocked(index: LimitIndex, rows: int, history: Sequence[Contact]) -> list[int]:
    """The rows that are blocked."""
    mask = np.ones(rows, dtype=bool)
    index.block(mask, history, NOW_MS)
    return np.flatnonzero(~mask).tolist()


@settings(max_examples=40)
@given(POLICIES, HISTORIES, st.sets(st.sampled_from(range(len(OFFERS))), min_size=1))
def test_a_row_is_blocked_exactly_if_one_of_its_checks_blocks(
    policies: list[ContactPolicy], history: list[Contact], some: set[int]
) -> None:
    offers = [OFFERS[row] for row in sorted(some)]
    index = index_of(offers, policies)
    expected = [
        row
        for row, offer in enumerate(offers)
        if any(
            check.blocked_until(check.in_scope(history, offer, goal_of(offer)), NOW_MS) is not None
            for check in index.rows[row]
        )
    ]
    assert blocked(index, len(offers), history) == expected
    counted = [contact for contact in history if index.counts(contact)]
    assert blocked(index, len(offers), counted) == expected


@pytest.mark.parametrize(
    ("scope", "rows"), [("offer", [1]), ("group", [0, 1]), ("goal", [0, 1]), ("all", [0, 1, 2, 3, 5])]
)
def test_a_contact_blocks_what_is_in_the_scope_of_the_policy(scope: Scope, rows: list[int]) -> None:
    index = index_of(BARE, [ContactPolicy("p", "p", 1, 60, scope=scope)])
    assert blocked(index, len(BARE), [Contact(2, NOW_MS, "cards", "grow", "d", "web")]) == rows
    if scope in ("group", "goal"):  # they are those that the offer had at the time of the contact
        assert blocked(index, len(BARE), [Contact(2, NOW_MS, "loans", "acquire", "d", "web")]) == [2, 3]


def test_a_policy_about_something_concerns_its_members_alone() -> None:
    def concerned(policy: ContactPolicy) -> list[str]:
        index = index_of(BARE, [policy])
        return [offer.offer_id for offer, checks in zip(BARE, index.rows, strict=True) for _ in checks]

    policy = ContactPolicy("p", "p", 1, 60)
    assert concerned(policy) == ["gold", "blue", "home", "car", "news"]  # a bill uses up nothing
    assert concerned(replace(policy, applies_to="blue")) == ["blue"]
    assert concerned(replace(policy, applies_to="bill")) == []
    assert concerned(replace(policy, applies_to="elsewhere")) == []
    assert concerned(replace(policy, scope="group", applies_to="loans")) == ["home", "car"]
    assert concerned(replace(policy, scope="goal", applies_to="serve")) == ["news"]


def test_many_causes_of_the_same_relation_make_one_check() -> None:
    rejected = (AfterRejection(60, "group"), AfterRejection(60, "attribute", "brand"))
    offers = [
        replace(world.offer(n, f"x{n}", "cards"), attributes={"brand": "x"}, after_rejection=rejected)
        for n in range(11, 15)
    ]
    index = LimitIndex(offers, ["grow"] * 4, (), {o.offer_id: o for o in offers})
    assert [len(checks) for checks in index.rows] == [2] * 4
    names = {check.name for check in index.rows[0]}
    assert names == {"after a rejection (same group)", "after a rejection (same brand)"}
    assert blocked(index, 4, [Contact(13, NOW_MS, "cards", "grow", "r")]) == [0, 1, 2, 3]


def test_what_refers_to_nothing_is_no_check() -> None:
    lonely = replace(
        world.offer(11, "x", "cards"),
        not_after=(NotAfter(60, offer="gone"),),
        after_rejection=(AfterRejection(60, "attribute", "brand"),),
    )
    index = LimitIndex([lonely], ["grow"], (), {"x": lonely})
    assert index.rows == [[]]
    assert not index.counts(Contact(11, NOW_MS, "cards", "grow", "r"))
