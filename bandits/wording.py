"""Words that several messages share."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """``; did you mean ...?`` if something known is near to what was given, else nothing."""
    near = get_close_matches(str(given)[:100], sorted(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
