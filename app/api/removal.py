"""The query by which a ``PUT`` says what it takes away."""

from collections.abc import Iterable
from typing import Annotated

from fastapi import Query

ConfirmRemoval = Annotated[
    list[str] | None,
    Query(
        max_length=50,
        description="what the new body may take away, such as `rules,consent`; repeatable. Needs `If-Match`",
    ),
]


def confirmed_words(confirm_removal: Iterable[str] | None) -> frozenset[str]:
    """Return the words of the query, which may be separated by commas as well."""
    found = (word.strip() for some in confirm_removal or () for word in some.split(","))
    return frozenset(word for word in found if word)
