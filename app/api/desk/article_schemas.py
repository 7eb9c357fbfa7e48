"""Articles that agents search for, as they travel."""

from pydantic import BaseModel, Field

from app.api.catalogue.field_types import Language
from app.api.schemas import Id, Parameters, shown


class ArticleQuery(Parameters):
    """The words that an agent types, or the reason that a customer gave, and where to look."""

    q: str | None = Field(
        None, description="free text; only its first 500 characters count", examples=["how do I cancel"]
    )
    reason: Id | None = Field(None, description="only articles that answer this reason of the catalogue")
    language: Language | None = Field(None, description="a language, of any region; by default all")
    placement: Id | None = Field(None, description="only what is found in this placement's channel")
    limit: int = Field(10, ge=1, le=50)


class FoundArticle(BaseModel):
    """An article that matches, whole."""

    article_id: str
    title: str
    body: str = Field(description="plain text, in lines as they are written")
    language: str
    tags: list[str]
    reasons: list[str]
    every_word: bool = Field(description="whether all of the words were found, not only some")


class ArticleResults(BaseModel):
    """The articles that were found, the best first."""

    model_config = shown(
        {
            "results": [
                {
                    "article_id": "cancelling",
                    "title": "How to cancel a contract",
                    "body": "A contract ends at the end of the month in which it is cancelled.",
                    "language": "en",
                    "tags": ["leave"],
                    "reasons": [],
                    "every_word": True,
                }
            ]
        }
    )

    results: list[FoundArticle]
