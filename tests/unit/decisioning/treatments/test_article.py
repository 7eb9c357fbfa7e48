"""Articles: where and when they are found, and what is refused."""

from typing import Any

import pytest

from decisioning.errors import MissingThing
from decisioning.treatments.article import Article, check_article

REASONS = {"reasons": {"too-expensive": None}}


def article(**fields: Any) -> Article:
    """An article with some fields of its own."""
    return Article(**{"article_id": "a", "title": "Cancelling", "body": "At the end of the month."} | fields)


def problems(**fields: Any) -> list[tuple[str, str]]:
    """The fields of an article that are not right, and why."""
    return [(error.field, str(error)) for error in check_article(article(**fields), REASONS)]


def test_it_is_found_from_its_start_until_before_its_end() -> None:
    dated = article(starts_ms=10, ends_ms=20)
    assert [dated.is_found(at_ms) for at_ms in (9, 10, 19, 20)] == [False, True, True, False]


@pytest.mark.parametrize(
    ("channels", "asked", "found"),
    [((), "web", True), (("agent",), "agent", True), (("agent",), "web", False), (("agent",), None, True)],
)
def test_it_is_found_in_its_channels(channels: tuple[str, ...], asked: str | None, found: bool) -> None:
    assert article(channels=channels).is_found(0, asked) is found


@pytest.mark.parametrize(
    ("own", "asked", "found"),
    [("es-MX", "es", True), ("es", "ES-ar", True), ("en", "es", False), ("en", None, True)],
)
def test_it_is_found_in_its_language_of_any_region(own: str, asked: str | None, found: bool) -> None:
    assert article(language=own).is_found(0, None, asked) is found


def test_what_is_right_has_no_problems() -> None:
    assert problems(tags=("leave", "end"), reasons=("too-expensive",), channels=("web", "agent")) == []


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"title": " "}, "title", "write what the agent needs to know"),
        ({"body": "\n\t"}, "body", "write what the agent needs to know"),
        ({"body": "Dear {{ customer.name }}"}, "body", "write it without {{ variables }}"),
        ({"tags": ("end", "leave", "end")}, "tags.2", "'end' is there twice"),
        ({"tags": ("end", " ")}, "tags.1", "leave it out"),
        ({"channels": ("web", "web")}, "channels.1", "is there twice"),
        ({"reasons": ("too-expensive", "too-expensive")}, "reasons.1", "is there twice"),
        ({"reasons": ("to-expensive",)}, "reasons.0", "did you mean 'too-expensive'?"),
        ({"reasons": ("moving",)}, "reasons.0", "PUT /v1/reasons/moving"),
    ],
)
def test_what_is_wrong_is_named_with_a_way_out(fields: dict[str, Any], field: str, words: str) -> None:
    ((found, why),) = problems(**fields)
    assert found == field
    assert words in why


def test_a_reason_that_is_not_there_is_a_missing_thing() -> None:
    (error,) = check_article(article(reasons=("moving",)), REASONS)
    assert isinstance(error, MissingThing)
    assert error.missing == ("reason", "moving")
