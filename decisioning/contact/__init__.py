"""Contact policy: how often, when and after what a customer may be offered something.

What is read here only narrows the candidates; the binding check is the atomic one in Redis (``nb_decide``).
"""

from decisioning.contact.book import ContactBook
from decisioning.contact.history import KINDS, Contact, letters, member, parse_history
from decisioning.contact.policies import PREFERENCES, blocked_until, longest_ms
from decisioning.contact.quiet import quiet_of

__all__ = [
    "KINDS",
    "PREFERENCES",
    "Contact",
    "ContactBook",
    "blocked_until",
    "letters",
    "longest_ms",
    "member",
    "parse_history",
    "quiet_of",
]
