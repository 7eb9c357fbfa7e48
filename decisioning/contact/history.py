"""A customer's contacts: what is kept in Redis, and how it is read.

One sorted set for each customer. Scores are times in ms, members
``<number>:<group>:<goal>:<kind>:<channel>:<decision>`` with one letter for the kind. Contacts with transactional offers
have capital letters: they do not use up limits.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

KINDS: Mapping[str, str] = {
    "decided": "d",
    "presented": "p",
    "clicked": "c",
    "accepted": "a",
    "rejected": "r",
}


@dataclass(frozen=True, slots=True)
class Contact:
    """One earlier contact: the offer's number, group and goal then, the time (Unix ms), the letter of its kind."""

    offer: int
    at_ms: int
    group: str = ""
    goal: str = ""
    kind: str = "d"
    channel: str = ""


def letters(kinds: Iterable[str], *, all_offers: bool = False) -> str:
    """The letters of kinds; those of transactional offers too if ``all_offers``."""
    found = "".join(sorted({KINDS[kind] for kind in kinds}))
    return found + found.upper() if all_offers else found


def member(contact: Contact, decision_id: str) -> str:
    """A contact as it stands in the sorted set."""
    return ":".join(
        (str(contact.offer), contact.group, contact.goal, contact.kind, contact.channel, decision_id)
    )


def parse_history(reply: Sequence[bytes]) -> list[Contact]:
    """Read ``ZRANGE key 0 -1 WITHSCORES``: alternating members and scores, the oldest contact first.

    Members of another form, as earlier versions wrote them, are left out.
    """
    found = []
    for name, score in zip(reply[::2], reply[1::2], strict=True):
        number, *parts = name.decode().split(":", 5)
        if len(parts) == 5:
            group, goal, kind, channel, _ = parts
            found.append(Contact(int(number), int(float(score)), group, goal, kind, channel))
    return found
