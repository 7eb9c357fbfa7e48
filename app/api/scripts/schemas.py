"""Search over scripts, as it travels."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from app.api.schemas import Id, Parameters, shown
from app.api.values import form, language

Language = Annotated[str, form(r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", language, max_length=35)]

_FOUND = {
    "offer_id": "gold",
    "offer_name": "Gold card",
    "treatment_id": "call",
    "channel": "agent",
    "language": "en",
    "part": "objection",
    "part_id": "0",
    "text": "The price is too high",
    "answer": "The cashback pays for it within a year.",
    "every_word": True,
    "rank": 0.9,
    "snippet": "The <mark>price</mark> is too <mark>high</mark>",
}


class ScriptQuery(Parameters):
    """The words that an agent types, and the places to look for them."""

    q: str = Field(description="free text; only its first 500 characters count", examples=["price too high"])
    language: Language | None = Field(None, description="a language, of any region; by default all")
    placement: Id | None = Field(None, description="only what is said in this placement's channel")
    limit: int = Field(10, ge=1, le=50)


class FoundText(BaseModel):
    """A text that matches."""

    offer_id: str
    offer_name: str = ""
    treatment_id: str
    channel: str
    language: str
    part: Literal["title", "message", "step", "objection"]
    part_id: str = Field(description="the id of a step, the number of an objection (from 0), else empty")
    text: str = Field(description="with fallbacks in the place of variables")
    answer: str | None = Field(description="to an objection")
    every_word: bool = Field(description="whether all of the words were found, not only some")
    rank: float = Field(description="higher is better")
    snippet: str = Field(description="HTML: the text is escaped, what was found stands in mark elements")


class ScriptResults(BaseModel):
    """The scripts that were found, the best first."""

    model_config = shown({"results": [_FOUND]})

    results: list[FoundText]
