"""Schemas of articles. Field names are those of the catalogue's model."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from app.api.catalogue.field_types import Language
from app.api.schemas import DatedBody, Id, Name, examples, storable

ArticleText = Annotated[str, StringConstraints(min_length=1, max_length=10_000), AfterValidator(storable)]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=60), AfterValidator(storable)]


class ArticleBody(DatedBody):
    """A general answer for agents, which belongs to no offer. It is found by what they type; no decision reads it."""

    model_config = examples(
        {
            "title": "How to cancel a contract",
            "body": "A contract ends at the end of the month in which it is cancelled.\nAsk for the reason first.",
            "language": "en",
            "tags": ["leave", "terminate"],
            "channels": ["agent"],
        },
        {
            "title": "Cerrado en Navidad",
            "body": "No atendemos el 25 de diciembre.",
            "language": "es",
            "starts_at": "2026-12-01T00:00:00Z",
            "ends_at": "2026-12-26T00:00:00Z",
        },
    )

    title: Name
    body: ArticleText = Field(description="plain text, in lines as they are written; it holds no variables")
    language: Language = "en"
    tags: list[Tag] = Field(
        default_factory=list, max_length=20, description="other words that it is found by"
    )
    reasons: list[Id] = Field(
        default_factory=list,
        max_length=20,
        description="reasons of the catalogue that it answers: found by their names, and shown after a no for one",
    )
    channels: list[Id] = Field(
        default_factory=list, max_length=50, description="where it is found; everywhere if left out"
    )
