"""Schemas of hold-outs. Field names are those of the catalogue's model."""

from typing import Annotated

from pydantic import Field

from app.api.schemas import Body, DatedBody, Id, Name, Text, examples
from decisioning.holdouts.holdout import MAX_EVENTS, MAX_SHARE
from decisioning.model.entities import Goal


class HoldoutEventBody(Body):
    """Events of a type, counted for each customer, or a number in them, summed up."""

    event: Id
    property: Name | None = Field(
        None, description="a number that the type declares; events are counted if left out"
    )


class HoldoutBody(DatedBody):
    """A sticky share of all customers to whom nothing, or nothing of one goal, is offered in any placement."""

    model_config = examples(
        {"name": "No contact", "share": 0.05, "exempt_goals": ["serve"], "events": [{"event": "call"}]},
        {"name": "No retention", "share": 0.1, "goal": "retain", "ends_at": "2027-01-01T00:00:00Z"},
    )

    name: Text = ""
    share: Annotated[float, Field(gt=0, le=MAX_SHARE, allow_inf_nan=False)] = Field(
        description="of all customers; one that grows keeps those that it has"
    )
    goal: Goal | None = Field(None, description="offers of this goal are withheld; all offers if left out")
    exempt_goals: list[Goal] = Field(
        default_factory=list, max_length=4, description="goals whose offers are made nevertheless"
    )
    exempt_groups: list[Id] = Field(
        default_factory=list, max_length=100, description="groups whose offers are made nevertheless"
    )
    events: list[HoldoutEventBody] = Field(
        default_factory=list,
        max_length=MAX_EVENTS,
        description="what the report compares of that which customers do by themselves",
    )
    description: Text = ""
