"""The states of change sets, and who may do what in each."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast, get_args

import pytest

from decisioning.changesets.changeset import Action, Actor, Changeset, State, next_state, possible_actions
from decisioning.errors import Conflict, NotAllowed

AT = datetime(2026, 5, 1, tzinfo=UTC)
ADA, BEA, EVA = Actor("key:ada", "Ada", False), Actor("key:bea", "Bea", False), Actor("key:eva", "Eva", True)
ITEM = ("group", "cards", {"name": "Cards", "goal": "grow"})


def changeset(state: State = "draft", **fields: Any) -> Changeset:
    parts: dict[str, Any] = {
        "writers": frozenset({ADA.person}),
        "items": (ITEM,),
        "submitter": None,
        "state": state,
    } | fields
    return Changeset(7, "Title", "", "Ada", 3, 1, created_at=AT, updated_at=AT, **parts)


@pytest.mark.parametrize(
    ("state", "possible"),
    [
        ("draft", {"put_item", "drop_item", "rebase", "submit", "withdraw"}),
        ("submitted", {"put_item", "drop_item", "rebase", "approve", "reject", "withdraw"}),
        ("approved", {"put_item", "drop_item", "rebase", "reject", "withdraw", "apply"}),
        ("rejected", {"put_item", "drop_item", "rebase", "withdraw"}),
        ("applied", set()),
        ("rolled_back", set()),
        ("withdrawn", set()),
    ],
)
def test_what_another_person_may_do(state: State, possible: set[str]) -> None:
    assert set(possible_actions(changeset(state), BEA, approvals=True)) == possible
    alone = possible | ({"apply"} if state in ("draft", "submitted") else set())
    alone |= {"roll_back"} if state == "applied" else set()
    assert set(possible_actions(changeset(state), BEA, approvals=False)) == alone


def test_writers_do_not_approve() -> None:
    with pytest.raises(NotAllowed, match="another person"):
        next_state(changeset("submitted"), "approve", ADA, approvals=False)
    both = changeset("submitted", writers=frozenset({ADA.person, EVA.person}))
    with pytest.raises(NotAllowed):
        next_state(both, "approve", EVA, approvals=True)
    assert next_state(both, "approve", BEA, approvals=True) == "approved"


def test_who_submitted_it_does_not_approve_it() -> None:
    submitted = changeset("submitted", submitter=BEA.person)
    with pytest.raises(NotAllowed, match="who submitted it"):
        next_state(submitted, "approve", BEA, approvals=True)
    assert next_state(submitted, "approve", EVA, approvals=True) == "approved"


def test_only_who_may_vouch_submits_and_approves() -> None:
    with_key = replace(BEA, may_vouch=False)
    for state, action in (("draft", "submit"), ("submitted", "approve")):
        with pytest.raises(NotAllowed, match="sign in to the console"):
            next_state(changeset(cast(State, state)), cast(Action, action), with_key, approvals=True)
    assert set(possible_actions(changeset("approved"), with_key, approvals=True)) == set(
        possible_actions(changeset("approved"), BEA, approvals=True)
    )


def test_an_edit_takes_the_approval_away() -> None:
    states = [
        next_state(changeset("approved"), action, BEA, approvals=True)
        for action in get_args(Action)
        if action in ("put_item", "drop_item", "rebase")
    ]
    assert states == ["draft"] * 3


def test_one_without_items_goes_nowhere() -> None:
    empty = changeset(items=())
    assert set(possible_actions(empty, BEA, approvals=False)) == {
        "put_item",
        "drop_item",
        "rebase",
        "withdraw",
    }
    with pytest.raises(Conflict, match="has no items"):
        next_state(empty, "submit", ADA, approvals=True)


def test_an_inverse_is_not_edited() -> None:
    with pytest.raises(Conflict, match="takes change set 5 back"):
        next_state(changeset(inverse_of=5), "put_item", ADA, approvals=True)
    assert next_state(changeset(inverse_of=5), "submit", ADA, approvals=True) == "submitted"


def test_only_an_admin_takes_back_without_approval() -> None:
    applied = changeset("applied", applied_version=9)
    with pytest.raises(NotAllowed, match="inverse_of 7"):
        next_state(applied, "roll_back", BEA, approvals=True)
    assert next_state(applied, "roll_back", EVA, approvals=True) == "rolled_back"
    assert next_state(applied, "roll_back", BEA, approvals=False) == "rolled_back"


def test_a_message_says_what_it_takes() -> None:
    with pytest.raises(Conflict, match="change set 7 is draft, so 'approve' is not possible: that takes one"):
        next_state(changeset(), "approve", BEA, approvals=True)
