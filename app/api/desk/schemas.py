"""The vocabulary of a desk, as it travels."""

from typing import Literal

from pydantic import BaseModel, Field

from app.api.schemas import shown


class DeskPlacement(BaseModel):
    """A placement that can be asked."""

    placement_id: str
    channel: str
    presentation: Literal["implicit", "explicit"]
    slots: int


class DeskQuestion(BaseModel):
    """An attribute of the context that the vocabulary declares: a question that an agent may answer."""

    name: str = Field(description="its name in the context of a request")
    type: Literal["string", "number", "int", "bool", "list", "timestamp"]
    description: str
    values: list[str | float | int | bool] = Field(description="the answers that there are; any if empty")


class DeskReason(BaseModel):
    """A reason that the catalogue declares: feedback may tell it, such as why an offer was rejected."""

    reason_id: str
    name: str = Field(description="for people; may be empty")


class DeskOut(BaseModel):
    """The placements, attributes and reasons that a desk can ask with."""

    model_config = shown(
        {
            "placements": [
                {"placement_id": "call-centre", "channel": "agent", "presentation": "explicit", "slots": 3}
            ],
            "questions": [
                {
                    "name": "reason",
                    "type": "string",
                    "description": "why they call",
                    "values": ["question", "cancel"],
                }
            ],
            "reasons": [{"reason_id": "too-expensive", "name": "Too expensive"}],
        }
    )

    placements: list[DeskPlacement]
    questions: list[DeskQuestion]
    reasons: list[DeskReason]
