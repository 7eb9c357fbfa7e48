"""Phrases that several error messages share."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """Return ``; did you mean ...?`` if a known name is near to the given one, else nothing."""
    near = get_close_matches(str(given)[:100], sorted(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
