"""Schemas of signals, and of the scope of what is not offered. Field names are those of the catalogue's model."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from app.api.catalogue.field_types import Goal
from app.api.schemas import Body, Cel, Id, Text, examples
from app.api.values import seconds
from decisioning.contact.signals import MAX_LASTS_S


class ScopeBody(Body):
    """The offers that are not made: those of the goals, groups and offers that are named; all if none is."""

    # Not strict: they are read with tuples for lists.

    goals: list[Goal] = Field(default_factory=list, strict=False, max_length=4)
    groups: list[Id] = Field(default_factory=list, strict=False, max_length=1000)
    offers: list[Id] = Field(default_factory=list, strict=False, max_length=1000)
    channels: list[Id] = Field(
        default_factory=list, strict=False, max_length=100, description="in these alone; in all if empty"
    )
    except_goals: list[Goal] = Field(
        default_factory=list, strict=False, max_length=4, description="offers of these are made"
    )
    except_groups: list[Id] = Field(
        default_factory=list, strict=False, max_length=1000, description="offers of these are made"
    )


class ClosingSignalBody(Body):
    """A condition that closes some offers while it holds, and for `lasts_s` after it last held in a decision."""

    model_config = examples(
        {
            "name": "Leave in peace",
            "when": "context.mood == 'angry'",
            "reason": "in-peace",
            "scope": {"except_goals": ["serve", "retain"]},
            "lasts_s": 86_400,
        }
    )

    when: Cel
    reason: Id = Field(description="a reason of the catalogue: desks and explanations show its name")
    scope: ScopeBody = Field(default_factory=ScopeBody)
    lasts_s: Annotated[int, Field(ge=1, le=MAX_LASTS_S), BeforeValidator(seconds)] | None = Field(
        None,
        description="how long it is remembered for the customer, in all channels; not at all if left out",
    )
    unread: Literal["withhold", "allow"] = Field(
        "withhold",
        description="what happens to offers in its scope while what `when` looks at cannot be read",
    )
    name: Text = ""
    description: Text = ""
