"""Articles as they are declared: general answers for agents, which belong to no offer. No decision reads them. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from decisioning.errors import Invalid, MissingThing
from decisioning.model.entities import FOREVER_MS

VARIABLE = "{{"
"""Variables of treatments begin like that; articles have none."""


@dataclass(frozen=True, slots=True)
class Article:
    """A text that answers a question of a customer, whatever is offered.

    ``tags``: other words that it is found by. ``reasons``: ids of reasons of the catalogue that it answers.
    ``channels``: where it is found; everywhere if there are none.
    """

    article_id: str
    title: str
    body: str
    language: str = "en"
    tags: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    starts_ms: int = 0
    ends_ms: int = FOREVER_MS

    def is_found(self, at_ms: int, channel: str | None = None, language: str | None = None) -> bool:
        """Return whether it is found at a time, in a channel and a language (of any region) if these are given."""
        return (
            self.starts_ms <= at_ms < self.ends_ms
            and (channel is None or not self.channels or channel in self.channels)
            and (language is None or _base(self.language) == _base(language))
        )


def check_article(article: Article, things: Mapping[str, Mapping[str, Any]]) -> Iterator[Invalid]:
    """Yield what is not right about an article. ``things``: the sections of the catalogue."""
    for field, text in (("title", article.title), ("body", article.body)):
        if not text.strip():
            yield Invalid(field, "is empty: write what the agent needs to know")
        elif VARIABLE in text:
            yield Invalid(
                field,
                f"an article is plain text, the same for every customer: write it without {VARIABLE} variables }}}}",
            )
    yield from _twice("tags", article.tags)
    for place, tag in enumerate(article.tags):
        if not tag.strip():
            yield Invalid(f"tags.{place}", "is empty: leave it out")
    yield from _twice("channels", article.channels)
    yield from _twice("reasons", article.reasons)
    reasons = things["reasons"]
    for place, reason_id in enumerate(article.reasons):
        if reason_id not in reasons:
            near = get_close_matches(reason_id, reasons, n=1, cutoff=0.6)
            way_out = f"did you mean {near[0]!r}?" if near else f"create it with PUT /v1/reasons/{reason_id}"
            yield MissingThing(f"reasons.{place}", "reason", reason_id, way_out)


def _twice(field: str, names: Sequence[str]) -> Iterator[Invalid]:
    for place, name in enumerate(names):
        if name in names[:place]:
            yield Invalid(f"{field}.{place}", f"{name!r} is there twice")


def _base(language: str) -> str:
    return language.partition("-")[0].lower()
