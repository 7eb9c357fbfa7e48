"""A change set, its states, and who may take it from one to the next."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from decisioning.catalog.kind import Entry
from decisioning.errors import Conflict, DecisioningError, NotAllowed

State = Literal["draft", "submitted", "approved", "applied", "rolled_back", "rejected", "withdrawn"]
Action = Literal[
    "put_item", "drop_item", "rebase", "submit", "approve", "reject", "withdraw", "apply", "roll_back"
]
EDITS: tuple[Action, ...] = ("put_item", "drop_item", "rebase")
"""What changes the content of a change set: it is a draft then, and whoever does it cannot approve it."""

_EDITABLE: tuple[State, ...] = ("draft", "submitted", "approved", "rejected")
_FROM: Mapping[Action, tuple[State, ...]] = {
    **dict.fromkeys(EDITS, _EDITABLE),
    "submit": ("draft",),
    "approve": ("submitted",),
    "reject": ("submitted", "approved"),
    "withdraw": _EDITABLE,
    "apply": ("approved",),
    "roll_back": ("applied",),
}
_TO: Mapping[Action, State] = {
    **dict.fromkeys(EDITS, "draft"),
    "submit": "submitted",
    "approve": "approved",
    "reject": "rejected",
    "withdraw": "withdrawn",
    "apply": "applied",
    "roll_back": "rolled_back",
}


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody who does something with a change set.

    ``person`` tells people apart, ``author`` is the name in the audit trail. ``is_free``: may change the catalogue
    without the approval of another person. ``may_vouch``: may submit and approve; not with a key where people sign in,
    who would be two persons then.
    """

    person: str
    author: str
    is_free: bool
    may_vouch: bool = True


@dataclass(frozen=True, slots=True)
class Changeset:
    """A change set at one revision, which grows by one with everything that is done with it.

    ``items``: what is to be published, by kind and id; without a body it is to be deleted. ``writers``: the persons of
    the author and of all who edited it; ``submitter``: of who submitted it last. ``inverse_of``: the change set that it
    takes back.
    """

    changeset_id: int
    title: str
    note: str
    author: str
    base_version: int
    revision: int
    state: State
    writers: frozenset[str]
    submitter: str | None
    items: tuple[Entry, ...]
    created_at: datetime
    updated_at: datetime
    inverse_of: int | None = None
    approved_by: str | None = None
    applied_version: int | None = None
    rolled_back_version: int | None = None

    @property
    def is_checked(self) -> bool:
        """False for going back, which is not bound by the life cycle of offers, as it is not for whole versions."""
        return self.inverse_of is None

    @property
    def called(self) -> str:
        """The name in messages."""
        return f"change set {self.changeset_id}"


@dataclass(frozen=True, slots=True)
class Step:
    """Something that was done with a change set: an entry of its audit trail. ``kind`` and ``name``: the item."""

    revision: int
    action: str
    author: str
    note: str
    done_at: datetime
    kind: str | None = None
    name: str | None = None


def next_state(changeset: Changeset, action: Action, actor: Actor, *, approvals: bool) -> State:
    """Return the state after an action. ``approvals``: nothing is applied here without the approval of another person.

    Raises ``Conflict`` if it cannot be done in this state, ``NotAllowed`` if somebody else must do it.
    """
    possible = _FROM[action]
    if action == "apply" and not approvals:
        possible = ("draft", "submitted", "approved")
    if changeset.state not in possible:
        way_out = f"that takes one that is {' or '.join(possible)}".replace("_", " ")
        state, done = changeset.state.replace("_", " "), action.replace("_", " ")
        raise Conflict(f"{changeset.called} is {state}, so {done!r} is not possible: {way_out}")
    if action in EDITS and changeset.inverse_of is not None:
        raise Conflict(
            f"{changeset.called} takes change set {changeset.inverse_of} back, as a whole: it is not edited;"
            " withdraw it, and make another one"
        )
    if action in ("submit", "apply") and not changeset.items:
        raise Conflict(f"{changeset.called} has no items: add some with PUT .../items/KIND/ID")
    if action in ("submit", "approve") and not actor.may_vouch:
        raise NotAllowed(
            f"{changeset.called} is submitted and approved by people who have signed in, not with a key: sign in to the"
            " console, and do it there"
        )
    # Also not by who submitted it: what a key wrote has two persons then, whoever has the key.
    if action == "approve" and actor.person in {*changeset.writers, changeset.submitter}:
        raise NotAllowed(
            f"{changeset.called} is approved by another person than its author, those who edited it, and who"
            " submitted it"
        )
    if action == "roll_back" and approvals and not actor.is_free:
        raise NotAllowed(
            "approvals are required here: make a change set of the inverse, with POST /v1/changesets and"
            f" inverse_of {changeset.changeset_id}, and let another person approve it"
        )
    return _TO[action]


def possible_actions(changeset: Changeset, actor: Actor, *, approvals: bool) -> list[Action]:
    """List what somebody may do with a change set as it is now."""
    found: list[Action] = []
    for action in get_args(Action):
        try:
            next_state(changeset, action, actor, approvals=approvals)
        except DecisioningError:
            continue
        found.append(action)
    return found
