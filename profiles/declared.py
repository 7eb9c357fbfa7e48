"""Values of attributes by their declared types: converted where nothing is lost, or else refused with the reason.

Types are those of the vocabulary: ``string``, ``number``, ``int``, ``bool``, ``timestamp``, ``list``.
"""

import math
import re
from collections.abc import Mapping
from datetime import datetime

from profiles.customer import Scalar
from profiles.errors import InvalidCustomer
from profiles.limits import BEYOND_64_BITS, MAX_INT, MIN_INT, NOT_A_NUMBER, NOT_FINITE

NOT_TEXT = "is not text, as the vocabulary declares it: write it as text, so that nothing of it is lost"
NOT_WHOLE = "is not a whole number, as the vocabulary declares it"
INEXACT = "is a whole number beyond 2^53 that was not written as one, so that its last digits may be lost"
NOT_TRUE_OR_FALSE = "is neither true nor false, as the vocabulary declares it"
NOT_AN_INSTANT = "is not a date, as the vocabulary declares it: write ISO 8601, such as 2026-03-01T09:30:00Z"
IS_A_LIST = "is declared a list, and attributes hold single values: of lists there are holdings alone"

HIDDEN: Mapping[str, str] = {
    "customer_id": "the id stands in the path",
    "holdings": "what a customer has stands in `holdings`",
    "interests": "interests stand in `interests`",
    "known": "rules know by `customer.known` whether there is a record",
}
"""Names by which rules know something else of a customer, so that an attribute would not be seen."""

WISHES: Mapping[str, str] = {
    "max_contacts_per_day": "number",
    "max_contacts_per_week": "number",
    "min_gap_s": "number",
    "time_zone": "string",
}
"""Attributes by which a customer limits contact, with their types, whatever the vocabulary declares."""
_STRICTEST = {"max_contacts_per_day": 0, "max_contacts_per_week": 0, "min_gap_s": 7 * 86_400}
"""Values that stand for a stored wish that cannot be understood."""

_EXACT = 2**53
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[+-]?[0-9]{1,40}")


def convert(value: Scalar, kind: str) -> Scalar:
    """Return ``value`` as its declared type keeps it. Raises ``ValueError`` with the reason why it cannot be kept.

    Text that reads as a number, a whole number, true or false becomes one; a date stays text. Text stays text, whatever
    it looks like, and whole numbers become text; others do not, since they are not what was meant (``08001``).
    """
    return _CONVERT[kind](value)


def convert_attributes(attributes: Mapping[str, Scalar], types: Mapping[str, str]) -> dict[str, Scalar]:
    """Convert all attributes that ``types`` declares; wishes always.

    Raises ``InvalidCustomer`` for the first that cannot be converted, or whose name stands for something else.
    """
    known = {**types, **WISHES}
    found: dict[str, Scalar] = {}
    for name, value in attributes.items():
        if name in HIDDEN:
            raise InvalidCustomer(
                f"attributes.{name}", f"no rule could see an attribute of this name: {HIDDEN[name]}"
            )
        try:
            found[name] = convert(value, known[name]) if name in known else value
        except ValueError as error:
            raise InvalidCustomer(f"attributes.{name}", str(error)) from None
    return found


def readable_wishes(attributes: dict[str, Scalar]) -> dict[str, Scalar]:
    """Return attributes in which wishes that limit contact are numbers, also where something else was stored once.

    What cannot be understood counts as the strictest wish; blank text says nothing.
    """
    for name, strictest in _STRICTEST.items():
        value = attributes.get(name)
        if value is None or (isinstance(value, float | int) and not isinstance(value, bool)):
            continue
        # A copy: what was decoded may be somebody else's too.
        attributes = dict(attributes)
        if isinstance(value, str) and not value.strip():
            del attributes[name]
            continue
        try:
            attributes[name] = convert(value, "number")
        except ValueError:
            attributes[name] = strictest
    return attributes


def _text(value: Scalar) -> Scalar:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(NOT_TEXT)
    return str(value)


def _number(value: Scalar) -> Scalar:
    if isinstance(value, bool):
        raise ValueError(NOT_A_NUMBER)
    if isinstance(value, str):
        cell = value.strip()
        if _WHOLE.fullmatch(cell) and MIN_INT <= int(cell) <= MAX_INT:
            return int(cell)
        if not _NUMBER.fullmatch(cell):
            raise ValueError(NOT_A_NUMBER)
        value = float(cell)
    if isinstance(value, int):
        return _within_64_bits(value)
    if not math.isfinite(value):
        raise ValueError(NOT_FINITE)
    return value


def _whole(value: Scalar) -> Scalar:
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return _within_64_bits(int(value))
    number = _number(value)
    if isinstance(number, int):
        return number
    if not isinstance(number, float) or not number.is_integer():
        raise ValueError(NOT_WHOLE)
    if abs(number) > _EXACT:
        raise ValueError(INEXACT)
    return int(number)


def _within_64_bits(value: int) -> int:
    if not MIN_INT <= value <= MAX_INT:
        raise ValueError(BEYOND_64_BITS)
    return value


def _truth(value: Scalar) -> Scalar:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise ValueError(NOT_TRUE_OR_FALSE)


def _instant(value: Scalar) -> Scalar:
    if not isinstance(value, str):
        raise ValueError(NOT_AN_INSTANT)
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(NOT_AN_INSTANT) from None
    return value


def _list(value: Scalar) -> Scalar:
    raise ValueError(IS_A_LIST)


_CONVERT = {
    "string": _text,
    "number": _number,
    "int": _whole,
    "bool": _truth,
    "timestamp": _instant,
    "list": _list,
}
