"""Search over articles, in memory: it goes on while the stores are away. Pure.

Texts and what is typed are compared by words, without accents and in small letters. A word is found by its beginning,
and by itself with another ending, so that neither stems nor languages have to be known.
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
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
_PERHAPS_MARKS = re.compile("[\u0300-\U0010ffff]")
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


class _Index(NamedTuple):
    """All words of articles, sorted, and by word the places of the articles that have it, with its weight there."""

    words: list[str]
    places: Mapping[str, Mapping[int, int]]


def search_articles(
    articles: Iterable[Article],
    words: str,
    reasons: Mapping[str, str],
    limit: int = 10,
    wanted: Callable[[Article], bool] = lambda article: True,
) -> list[ArticleMatch]:
    """Search for ``words``, the best matches first: articles with all of the words before those with half of them.

    Of equally many, words of title, tags and reasons count more than those of the body. ``reasons``: the names of
    reasons by id; articles are found by the names of what they answer. ``wanted``: only such articles are returned.
    An index is made once for the same articles and names, so give all that there are.
    """
    typed = _typed(words)
    if not typed:
        return []
    there = tuple(articles)
    index = _index_of(there, tuple(reasons.items()))
    weights: dict[int, list[int]] = {}
    for word in typed:
        found_in: dict[int, int] = {}
        for known in _meant(index.words, word):
            for place, weight in index.places[known].items():
                found_in[place] = max(weight, found_in.get(place, 0))
        for place, weight in found_in.items():
            weights.setdefault(place, []).append(weight)
    found = [
        (-len(hits), -sum(hits), *by_title(there[place]), place)
        for place, hits in weights.items()
        if 2 * len(hits) >= len(typed) and wanted(there[place])
    ]
    return [ArticleMatch(there[row[-1]], every_word=-row[0] == len(typed)) for row in sorted(found)[:limit]]


def by_title(article: Article) -> tuple[str, str]:
    """Return the key by which articles are sorted that are equally good."""
    return folded(article.title), article.article_id


def folded(text: str) -> str:
    """Return a text in small letters, without accents, and with letters in place of their forms (``ﬁ``, ``ß``)."""
    if text.isascii():
        return text.lower()
    return _PERHAPS_MARKS.sub(_unless_mark, unicodedata.normalize("NFKD", text)).casefold()


def _unless_mark(match: re.Match[str]) -> str:
    return "" if unicodedata.category(match[0]).startswith("M") else match[0]


def _typed(words: str) -> list[str]:
    """Return the distinct words to look for; small ones only if there are no others."""
    found = list(dict.fromkeys(_WORD.findall(folded(words))))
    return ([word for word in found if word not in _SMALL_WORDS] or found)[:MAX_WORDS]


def _meant(words: list[str], typed: str) -> Iterator[str]:
    """Yield those of the sorted ``words`` that are what was typed, begin with it, or are it without its ending."""
    place = bisect_left(words, typed)
    if len(typed) < MIN_BEGINNING_CHARS:
        yield from (word for word in words[place : place + 1] if word == typed)
    else:
        while place < len(words) and words[place].startswith(typed):
            yield words[place]
            place += 1
    for length in range(max(MIN_STEM_CHARS, len(typed) - MAX_ENDING_CHARS), len(typed)):
        place = bisect_left(words, typed[:length])
        yield from (word for word in words[place : place + 1] if word == typed[:length])


# Articles are compared by value, so changes of anything else leave the index as it is.
@lru_cache(maxsize=2)
def _index_of(articles: tuple[Article, ...], reasons: tuple[tuple[str, str], ...]) -> _Index:
    names = dict(reasons)
    places: dict[str, dict[int, int]] = {}
    for place, article in enumerate(articles):
        for word, weight in _words_of(article, tuple(names.get(one, "") for one in article.reasons)):
            places.setdefault(word, {})[place] = weight
    return _Index(sorted(places), places)


# Those that a change of the catalogue leaves alone are not taken apart again.
@lru_cache(maxsize=8192)
def _words_of(article: Article, reasons: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """Return the distinct words of an article, folded, with their weights."""
    weights = dict.fromkeys(_WORD.findall(folded(article.body)), IN_BODY)
    head = " ".join((article.title, *article.tags, *reasons))
    return tuple((weights | dict.fromkeys(_WORD.findall(folded(head)), IN_HEAD)).items())
