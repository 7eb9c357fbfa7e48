"""Change sets, as they travel."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from app.api.catalogue.history_routes import DifferenceOut, SummaryOut
from app.api.rules.schemas import SimulationAnswer
from app.api.schemas import Body, FieldProblem, Name, Parameters, Text, WarningOut, examples, shown
from decisioning.changesets.changeset import Action, State
from decisioning.changesets.overlap import Keep

ChangesetId = Annotated[int, Field(ge=1, le=2**53)]
_EXAMPLE = {
    "changeset_id": 12,
    "title": "Dearer in May",
    "note": "as agreed with sales",
    "author": "Ada",
    "state": "approved",
    "revision": 5,
    "base_version": 41,
    "inverse_of": None,
    "approved_by": "Bea",
    "applied_version": None,
    "rolled_back_version": None,
    "created_at": "2026-04-28T09:00:00Z",
    "updated_at": "2026-04-28T10:12:00Z",
    "items": [{"kind": "offer", "id": "gold", "removal": False}],
    "possible": ["apply", "withdraw"],
}


class ChangesetBody(Body):
    """A new change set: its title, and a note for those who look at it; or what takes another one back."""

    model_config = examples({"title": "Dearer in May", "note": "as agreed with sales"})

    title: Name
    note: Text = ""
    inverse_of: ChangesetId | None = Field(
        None, description="make the draft of what takes this applied change set back, as a whole"
    )
    force: bool = Field(
        False, description="with `inverse_of`: also what others have changed since; otherwise that is refused"
    )


class ItemBody(Body):
    """The new body of a thing, as a `PUT` of it would have it, or its removal from the catalogue."""

    model_config = examples({"body": {"name": "Gold card", "group": "cards", "value": 45}}, {"removal": True})

    body: dict[str, Any] | None = None
    removal: bool = False

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.body is None) != self.removal:
            raise ValueError("send the new 'body' of the thing, or 'removal': true")
        return self


class StepBody(Body):
    """A note for the trail."""

    model_config = examples({"note": "prices are as agreed"}, {})

    note: Text = ""


class RejectBody(Body):
    """The reason why a change set is not approved."""

    model_config = examples({"reason": "the rule on age is missing"})

    reason: Name


class RebaseBody(Body):
    """The side whose values count where both have changed something: the change set, or the catalogue."""

    model_config = examples({}, {"keep": "mine"})

    keep: Keep | None = Field(None, description="without it such values are refused, by name")


class RollBackBody(Body):
    """The reason for taking a change set back."""

    model_config = examples({"reason": "wrong prices"})

    reason: Text = ""
    force: bool = Field(
        False, description="also what others have changed since; otherwise that is refused by name"
    )


class ChangesetsQuery(Parameters):
    """A page of change sets."""

    state: State | None = None
    mine: bool = Field(False, description="only those whose author is the owner of the key that asks")
    before: ChangesetId | None = Field(None, description="only older ones: `next` of the page before")
    limit: int = Field(50, ge=1, le=200)


class ItemOut(BaseModel):
    """A thing that a change set publishes, or removes."""

    kind: str
    id: str
    removal: bool


class ItemDetail(ItemOut):
    """An item with its body, as it is stored but for times."""

    body: dict[str, Any] | None


class StepOut(BaseModel):
    """Something that was done with a change set, the revision that it made, and the item that it was about."""

    revision: int
    action: Literal["create"] | Action
    author: str
    note: str
    done_at: datetime
    kind: str | None
    id: str | None


class ChangesetOut(BaseModel):
    """A change set. `possible`: what the key that asks may do with it now."""

    model_config = shown(_EXAMPLE)

    changeset_id: int
    title: str
    note: str
    author: str
    state: State
    revision: int = Field(description="grows with everything that is done; it is the ETag")
    base_version: int = Field(description="the version of the catalogue that it is made on")
    inverse_of: int | None
    approved_by: str | None
    applied_version: int | None = Field(description="the version of the catalogue that it became")
    rolled_back_version: int | None
    created_at: datetime
    updated_at: datetime
    items: list[ItemOut]
    possible: list[Action]


class ChangesetDetail(ChangesetOut):
    """A change set with the bodies of its items, and all that was done with it, the oldest first."""

    model_config = shown(
        _EXAMPLE
        | {
            "items": [
                {
                    "kind": "offer",
                    "id": "gold",
                    "removal": False,
                    "body": {"name": "Gold card", "group": "cards", "value": 45},
                }
            ],
            "trail": [
                {
                    "revision": 1,
                    "action": "create",
                    "author": "Ada",
                    "note": "as agreed with sales",
                    "done_at": "2026-04-28T09:00:00Z",
                    "kind": None,
                    "id": None,
                }
            ],
        }
    )

    items: list[ItemDetail]  # type: ignore[assignment] # each is an ItemOut
    trail: list[StepOut]


class ChangesetsOut(BaseModel):
    """A page of change sets, the newest first. `approvals`: whether they take the approval of another person here."""

    model_config = shown({"changesets": [_EXAMPLE], "next": None, "approvals": "required"})

    changesets: list[ChangesetOut]
    next: int | None = Field(description="`before` of the next page; null if this is the last")
    approvals: Literal["off", "required"]


class OverlapOut(BaseModel):
    """A thing of the change set that others have changed since its base, and how."""

    path: str
    theirs: list[DifferenceOut]


class DiffOut(BaseModel):
    """The changes that a change set makes, or made: value by value, by paths, and in words.

    `catalog_version`: the version that it is compared with, or that it became. `revision`: of the change set.
    """

    revision: int
    catalog_version: int
    differences: list[DifferenceOut]
    summary: SummaryOut
    words: list[str]
    overlaps: list[OverlapOut] = Field(description="what must be rebased before it can be applied")


class CheckOut(BaseModel):
    """All that stands against a change set, what was probably not meant, and what it would do to customers.

    `ok`: it could be applied as it is, but for the approval.
    """

    catalog_version: int
    ok: bool
    errors: list[FieldProblem]
    overlaps: list[OverlapOut]
    warnings: list[WarningOut]
    simulation: SimulationAnswer | None = Field(
        description="of a sample of customers, with those whom nobody serves; null without `placement`, or with errors"
    )


class AppliedOut(BaseModel):
    """A change set that became a version of the catalogue, or was taken back by one."""

    catalog_version: int
    changeset: ChangesetOut
    warnings: list[WarningOut]
