"""Search over articles: which words are found, and in which order."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisioning.treatments.article import Article
from decisioning.treatments.article_search import MAX_WORDS, folded, search_articles

CANCEL = Article(
    "cancel", "How to cancel", "A contract ends with its month. Ask what went wrong.", tags=("leave",)
)
BILL = Article("bill", "What a bill shows", "Prices, and what was paid. One month each.", reasons=("dear",))
MOVE = Article("move", "Moving house", "The line moves along; the price stays as it is.")
FACTURA = Article("factura", "Qué muestra la factura", "La dirección, el año y el número del contrato.", "es")
ALL = (CANCEL, BILL, MOVE, FACTURA)
REASONS = {"dear": "Too expensive"}


def found(words: str, limit: int = 10) -> list[str]:
    """The ids of what is found."""
    return [match.article.article_id for match in search_articles(ALL, words, REASONS, limit)]


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ("cancel", ["cancel"]),
        ("CANCEL", ["cancel"]),
        ("canc", ["cancel"]),
        ("cancelling", ["cancel"]),
        ("cancellation", []),  # an ending of six letters
        ("ca", []),
        ("leave", ["cancel"]),
        ("expensive", ["bill"]),
        ("direccion", ["factura"]),
        ("DIRECCIÓN", ["factura"]),
        ("facturas", ["factura"]),
        ("ano", ["factura"]),
        ("año", ["factura"]),
        ("nothing", []),
        ("?!", []),
        ("", []),
    ],
)
def test_a_word_is_found_without_case_and_accents_by_its_beginning_and_with_another_ending(
    words: str, ids: list[str]
) -> None:
    assert found(words) == ids


def test_articles_with_all_words_come_first_then_those_with_half_of_them() -> None:
    matches = search_articles(ALL, "price of the line", REASONS)
    assert [(m.article.article_id, m.every_word) for m in matches] == [("move", True), ("bill", False)]
    assert found("price line zebra giraffe") == ["move"], "one of four words is not enough"


def test_words_of_titles_tags_and_reasons_count_more_than_those_of_the_body() -> None:
    assert found("month") == ["cancel", "bill"], "in both bodies: by title"
    assert found("moving month") == ["move", "cancel", "bill"]


def test_small_words_are_passed_over_unless_there_are_no_others() -> None:
    assert found("how do I cancel the") == ["cancel"]
    assert search_articles(ALL, "how do I cancel", REASONS)[0].every_word
    assert found("el") == ["factura"]
    assert found("what") == ["bill", "cancel"]


def test_only_so_many_are_returned_of_those_that_are_wanted() -> None:
    assert found("month", limit=1) == ["cancel"]
    matches = search_articles(ALL, "month", REASONS, 1, lambda article: article is not CANCEL)
    assert [match.article for match in matches] == [BILL]


def test_a_word_counts_once_however_often_it_is_found() -> None:
    often = Article("often", "Bills", "bill billing billed, prices")
    assert [m.every_word for m in search_articles([often], "bill zebra", {})] == [False]


def test_an_article_that_is_changed_is_found_by_its_new_words_alone() -> None:
    changed = Article("cancel", "How to leave us", "At any time.")
    assert [m.article for m in search_articles([changed], "cancel", {})] == []
    assert [m.article for m in search_articles([changed], "leave", {})] == [changed]
    assert search_articles([BILL], "expensive", {"dear": "Costs too much"}) == []


def test_long_queries_are_cut() -> None:
    words = [a + b + a for a in string.ascii_lowercase for b in string.ascii_lowercase]
    assert found(" ".join([*words[:MAX_WORDS], "cancel"])) == []


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("CANCEL", "cancel"),
        ("Málaga", "malaga"),
        ("Straße", "strasse"),
        ("ﬁbre", "fibre"),
        ("İ", "i"),
        ("Ñ", "n"),
    ],
)
def test_folding(text: str, plain: str) -> None:
    assert folded(text) == plain


@given(st.text(max_size=60))
def test_whatever_is_typed_is_taken_and_an_article_is_found_by_its_own_title(text: str) -> None:
    own = Article("own", text, "x")
    matches = search_articles([own, *ALL], text, REASONS)
    if any(c.isalnum() for c in folded(text)):
        assert (own, True) in [(m.article, m.every_word) for m in matches]
    assert folded(folded(text)) == folded(text)
