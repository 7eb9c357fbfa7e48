"""The one form of a customer's id, in which it is stored, cached, logged and looked up."""

import unicodedata

from profiles.errors import InvalidCustomer
from profiles.limits import HAS_NUL, id_problem

ZERO_WIDTH = "\u180e\u200b\u2060\ufeff"
BLANKS = (
    "\u0020\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
) + ZERO_WIDTH
"""Cut off at both ends of an id: all blanks of Unicode, no-break ones included."""

HAS_CONTROL = (
    "contains a control character, a line break or a blank without width, which no customer id may have"
)

_REFUSED = frozenset(("Cc", "Zl", "Zp"))


def normal_customer_id(text: str) -> str:
    """Return an id in its one form: composed (NFC), without blanks around it.

    Raises ``ValueError`` with the reason for what cannot be an id: nothing, more than 128 characters then, control
    characters, line breaks, and blanks without width inside.
    """
    if text.isascii() and text.isprintable():  # nearly all ids: printable ASCII has one form, but for blanks
        normal = text.strip(" ")
    else:
        normal = unicodedata.normalize("NFC", text).strip(BLANKS)
        if "\0" in normal:
            raise ValueError(HAS_NUL)
        if any(c in ZERO_WIDTH or unicodedata.category(c) in _REFUSED for c in normal):
            raise ValueError(HAS_CONTROL)
    if problem := id_problem(normal):
        raise ValueError(problem)
    return normal


def checked_id(text: str) -> str:
    """Return ``normal_customer_id(text)``. Raises ``InvalidCustomer`` where that raises ``ValueError``."""
    try:
        return normal_customer_id(text)
    except ValueError as error:
        raise InvalidCustomer("customer_id", str(error)) from None
