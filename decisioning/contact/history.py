"""The contact history of a customer: its form in Redis, and how it is rebuilt from the log.

One sorted set for each customer. Scores are times in ms, members
``<number>:<group>:<goal>:<kind>:<channel>:<decision>`` with one letter for the kind. Contacts with transactional offers
have capital letters: they do not use up limits.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

KIND_LETTERS: Mapping[str, str] = {
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


def letters_of(kinds: Iterable[str], *, all_offers: bool = False) -> str:
    """Return the letters of kinds, sorted; those of transactional offers too if ``all_offers``."""
    found = "".join(sorted({KIND_LETTERS[kind] for kind in kinds}))
    return found + found.upper() if all_offers else found


def history_member(contact: Contact, decision_id: str) -> str:
    """Return a contact as a member of the sorted set."""
    return ":".join(
        (str(contact.offer), contact.group, contact.goal, contact.kind, contact.channel, decision_id)
    )


def parse_history(reply: Sequence[bytes]) -> list[Contact]:
    """Parse the reply of ``ZRANGE key 0 -1 WITHSCORES``: alternating members and scores, the oldest contact first.

    Members of another form, as earlier versions wrote them, are left out.
    """
    found = []
    for name, score in zip(reply[::2], reply[1::2], strict=True):
        # At most five splits: ids of decisions, which come last, may hold colons themselves.
        number, *parts = name.decode().split(":", 5)
        if len(parts) == 5:
            group, goal, kind, channel, _ = parts
            found.append(Contact(int(number), int(float(score)), group, goal, kind, channel))
    return found


@dataclass(frozen=True, slots=True)
class LoggedOutcome:
    """One outcome of a decision, as logged. ``at_ms`` is when it happened, ``recorded_ms`` when it was received."""

    offer_id: str
    outcome: str
    at_ms: int
    recorded_ms: int
    position: tuple[int, int]

    @property
    def contact_ms(self) -> int:
        """The time of the contact: never later than the outcome was received."""
        return min(self.at_ms, self.recorded_ms)


@dataclass(frozen=True, slots=True)
class KeptContact:
    """A contact with an offer. ``reserved``: it is released if nobody confirms that the offer was presented."""

    offer_id: str
    contact: Contact
    reserved: bool = False


def contact_facts(header: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Return group and goal of each decided offer, and whether limits count it.

    Early records hold neither group nor goal; both are empty then.
    """
    logged = header.get("contact")
    if logged is None:
        return [("", "", True) for _ in header["offers"]]
    return [(group, goal, counts) for group, goal, counts in logged["offers"]]


def contacts_of_decision(
    header: Mapping[str, Any], outcomes: Iterable[LoggedOutcome]
) -> Iterator[KeptContact]:
    """Yield the contacts of a decision that was not withdrawn, given all of its logged outcomes."""
    in_order = sorted(outcomes, key=lambda o: o.position)
    offers = zip(header["offers"], header["numbers"], contact_facts(header), strict=True)
    for offer, number, (group, goal, counts) in offers:
        offer_id = offer["offer_id"]
        own = [o for o in in_order if o.offer_id == offer_id]
        answers = [o for o in own if o.outcome in KIND_LETTERS]
        channel = header["channel"] or ""
        if counts:
            if not any(o.outcome == "released" for o in own):
                at_ms = header["decided_at_ms"]
                yield KeptContact(offer_id, Contact(number, at_ms, group, goal, "d", channel), reserved=True)
            elif answers:
                # Released as not presented, but the answer shows that it was: the contact counts from then on.
                yield KeptContact(offer_id, Contact(number, answers[0].contact_ms, group, goal, "d", channel))
        for answer in answers:
            letter = KIND_LETTERS[answer.outcome] if counts else KIND_LETTERS[answer.outcome].upper()
            yield KeptContact(offer_id, Contact(number, answer.contact_ms, group, goal, letter, channel))
