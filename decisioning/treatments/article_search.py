"""Search over articles, in memory: it goes on while the stores are away. Pure.

Texts and what is typed are compared by words, without accents and in small letters. A word is found by its beginning,
and by itself with another ending, so that neither stems nor languages have to be known.
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from decisioning.treatments.article import Article

MAX_WORDS = 20
"""So many of the words that are typed are looked for."""
MIN_BEGINNING_CHARS = 3
"""Shorter words are found as a whole alone."""
MIN_STEM_CHARS, MAX_ENDING_CHARS = 4, 4
"""Words of a text are found by those that are longer by an ending: ``cancel`` by ``cancelling``."""
IN_HEAD, IN_BODY = 3, 1
"""The weight of a word in title, tags and names of reasons, and of one in the body."""

_WORD = re.compile(r"[^\W_]+")
_SMALL_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and are at be by can do does for from has have he how i if in is it me my no not of on or our she so that"
        " the their they this to was we what when where which who why will with you your"
        " al como con cual cuando de del donde el ella en es esta este ha han hay la las le lo los me mi mis muy ni o"
        " para pero por porque que quien se si sin son su sus te tu un una y ya yo",
    )
)
"""Words of English and Spanish, folded, that say nothing about the question."""


@dataclass(frozen=True, slots=True)
class ArticleMatch:
    """An article that was found. ``every_word``: true if all words were found, not only some."""

    article: Article
    every_word: bool


class _Words(NamedTuple):
    """The distinct words of an article, folded and sorted: of title, tags and names of reasons, and of the body."""

    head: tuple[str, ...]
    body: tuple[str, ...]


def search_articles(
    articles: Iterable[Article], words: str, reasons: Mapping[str, str], limit: int = 10
) -> list[ArticleMatch]:
    """Search for ``words``, the best matches first: articles with all of the words before those with half of them.

    Of equally many, words of title, tags and reasons count more than those of the body. ``reasons``: the names of
    reasons by id; articles are found by the names of what they answer.
    """
    typed = _typed(words)
    if not typed:
        return []
    found = []
    for article in articles:
        known = _words_of(article, tuple(reasons.get(reason_id, "") for reason_id in article.reasons))
        weights = [
            IN_HEAD if _holds(known.head, word) else IN_BODY if _holds(known.body, word) else 0
            for word in typed
        ]
        hits = len(typed) - weights.count(0)
        if hits and 2 * hits >= len(typed):
            match = ArticleMatch(article, every_word=hits == len(typed))
            found.append((-hits, -sum(weights), *by_title(article), match))
    return [match for *_, match in sorted(found, key=lambda row: row[:-1])[:limit]]


def by_title(article: Article) -> tuple[str, str]:
    """Return the key by which articles are sorted that are equally good."""
    return folded(article.title), article.article_id


def folded(text: str) -> str:
    """Return a text in small letters, without accents, and with letters in place of their forms (``ﬁ``, ``ß``)."""
    if text.isascii():
        return text.lower()
    spread = unicodedata.normalize("NFKD", text)
    return "".join(c for c in spread if not unicodedata.category(c).startswith("M")).casefold()


def _typed(words: str) -> list[str]:
    """Return the distinct words to look for; small ones only if there are no others."""
    found = list(dict.fromkeys(_WORD.findall(folded(words))))
    return ([word for word in found if word not in _SMALL_WORDS] or found)[:MAX_WORDS]


# Articles are compared by value, so those that a change of the catalogue leaves alone are not taken apart again.
@lru_cache(maxsize=8192)
def _words_of(article: Article, reasons: tuple[str, ...]) -> _Words:
    head = " ".join((article.title, *article.tags, *reasons))
    return _Words(*(tuple(sorted(set(_WORD.findall(folded(text))))) for text in (head, article.body)))


def _holds(words: tuple[str, ...], typed: str) -> bool:
    """Return whether any of the sorted ``words`` is what was typed, begins with it, or is it without its ending."""
    place = bisect_left(words, typed)
    if place < len(words):
        there = words[place]
        if there == typed or (len(typed) >= MIN_BEGINNING_CHARS and there.startswith(typed)):
            return True
    stems = range(max(MIN_STEM_CHARS, len(typed) - MAX_ENDING_CHARS), len(typed))
    return any(_is_among(words, typed[:length]) for length in stems)


def _is_among(words: tuple[str, ...], word: str) -> bool:
    place = bisect_left(words, word)
    return place < len(words) and words[place] == word
