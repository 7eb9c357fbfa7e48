"""Limits of what can be stored, and the reasons given when something cannot."""

import math
from collections.abc import Collection, Mapping

from profiles.customer import Customer
from profiles.errors import InvalidCustomer

MAX_ID_CHARS = 128
MAX_NAME_CHARS = 128
MAX_TEXT_CHARS = 4096
MAX_ENTRIES = 1000
MIN_INT, MAX_INT = -(2**63), 2**63 - 1

EMPTY = "is empty"
HAS_NUL = "contains the character NUL, which cannot be stored"
NOT_FINITE = "is not a finite number"
NOT_A_NUMBER = "is not a number"
BEYOND_64_BITS = "is a whole number beyond 64 bits"

VISITOR_PREFIX = "visitor:"
"""Ids of visitors whom nobody knows begin with it, so no customer's id may."""
IS_VISITOR = "begins with 'visitor:', as ids of unknown visitors do: no customer may have it"


def too_long(limit: int) -> str:
    """Give the reason against text of more than ``limit`` characters."""
    return f"is longer than {limit} characters"


def text_problem(text: str, limit: int = MAX_TEXT_CHARS) -> str | None:
    """Find the reason why ``text`` cannot be stored, or ``None``."""
    if len(text) > limit:
        return too_long(limit)
    if "\0" in text:
        return HAS_NUL
    if not text.isascii():  # most text is, and needs no trial
        try:
            text.encode()
        except UnicodeEncodeError:
            return "contains half of a surrogate pair, which is not a character"
    return None


def id_problem(text: str) -> str | None:
    """Find the reason why ``text`` cannot be the id of a customer or an offer, or ``None``."""
    return text_problem(text, MAX_ID_CHARS) if text else EMPTY


def is_visitor(customer_id: str) -> bool:
    """Return whether an id, in its one form, stands for a visitor whom nobody knows."""
    return customer_id.casefold().startswith(VISITOR_PREFIX)


def check_customer(customer: Customer) -> None:
    """Raise ``InvalidCustomer`` naming the first field that cannot be stored."""
    _refuse("customer_id", id_problem(customer.customer_id))
    if is_visitor(customer.customer_id):
        raise InvalidCustomer("customer_id", IS_VISITOR)
    if customer.household_id is not None:
        _refuse("household_id", id_problem(customer.household_id))
    for kind in ("attributes", "indicators", "interests", "consents"):
        _check_names(kind, getattr(customer, kind))
    for name, value in customer.attributes.items():
        field = f"attributes.{name}"
        _refuse(field, text_problem(value) if isinstance(value, str) else _number_problem(value))
    for kind, numbers in (("indicators", customer.indicators), ("interests", customer.interests)):
        for name, number in numbers.items():
            _refuse(f"{kind}.{name}", _number_problem(number))
    _check_list("holdings", customer.holdings)
    for purpose, channels in customer.consents.items():
        _check_list(f"consents.{purpose}", channels)


def _check_names(kind: str, entries: Mapping[str, object]) -> None:
    if len(entries) > MAX_ENTRIES:
        raise InvalidCustomer(kind, f"has more than {MAX_ENTRIES} entries")
    for name in entries:
        problem = text_problem(name, MAX_NAME_CHARS) if name else EMPTY
        if problem:
            raise InvalidCustomer(kind, f"the name {name[:100]!a} {problem}")


def _check_list(field: str, items: Collection[str]) -> None:
    for item in items:
        _refuse(field, id_problem(item))
    if len(items) > MAX_ENTRIES:
        raise InvalidCustomer(field, f"has more than {MAX_ENTRIES} entries")


def _number_problem(value: float) -> str | None:
    if isinstance(value, int):
        return None if MIN_INT <= value <= MAX_INT else BEYOND_64_BITS
    return None if math.isfinite(value) else NOT_FINITE


def _refuse(field: str, problem: str | None) -> None:
    if problem:
        raise InvalidCustomer(field, problem)
