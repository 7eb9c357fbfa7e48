"""The contact history of a customer, and how it is rebuilt from the log.

Each kind of contact has one letter; contacts with transactional offers have capital ones: they do not use up limits.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from decisioning.model.decision import Contact, Decision
from decisioning.model.outcome import ENDINGS
from decisioning.model.position import StreamPosition

KIND_LETTERS: Mapping[str, str] = {
    "decided": "d",
    "presented": "p",
    "clicked": "c",
    "accepted": "a",
    "rejected": "r",
}


DECLARED = "o"
"""The letter of a contact by an outcome that the catalogue declares: the outcome stands in the place of its channel."""
SUPPRESSION = "s"
"""The letter of a contact that suppresses: its channel is the cause, or ``<cause>@<channel>``."""


def letters_of(kinds: Iterable[str], *, all_offers: bool = False) -> str:
    """Return the letters of kinds, sorted; those of transactional offers too if ``all_offers``."""
    found = "".join(sorted({KIND_LETTERS[kind] for kind in kinds}))
    return found + found.upper() if all_offers else found


@dataclass(frozen=True, slots=True)
class LoggedOutcome:
    """One outcome of a decision, as logged. ``at_ms`` is when it happened, ``recorded_ms`` when it was received."""

    offer_id: str
    outcome: str
    at_ms: int
    recorded_ms: int
    position: StreamPosition
    causes: tuple[str, ...] = ()

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


def outcome_contact(outcome: str, channel: str, *, counts: bool) -> tuple[str, str]:
    """Return the letter of the contact that an outcome is, and what stands in the place of its channel."""
    letter, slot = (KIND_LETTERS[outcome], channel) if outcome in KIND_LETTERS else (DECLARED, outcome)
    return letter if counts else letter.upper(), slot


def suppressing(causes: Iterable[str], channel: str, *, counts: bool) -> Iterator[tuple[str, str]]:
    """Yield the letter, and what stands in the place of the channel, of contacts that suppress: two for each cause.

    One is looked at everywhere, the other in the same channel.
    """
    for cause in causes:
        yield from (
            (SUPPRESSION if counts else SUPPRESSION.upper(), slot) for slot in (cause, f"{cause}@{channel}")
        )


def signal_contact(signal_id: str, at_ms: int) -> Contact:
    """Return the contact by which it is remembered that a signal held at a time: with no offer."""
    return Contact(0, at_ms, kind=SUPPRESSION, channel=signal_cause(signal_id))


def signal_cause(signal_id: str) -> str:
    """Return what stands in the place of the channel of such a contact."""
    return f"signal/{signal_id}"


def contacts_of_decision(
    decision: Decision, told: Iterable[LoggedOutcome], *, lifted: Collection[str] = ()
) -> Iterator[KeptContact]:
    """The contacts of a decision that was not withdrawn, given everything that was told of it.

    ``lifted``: signals that were lifted since.
    """
    in_order = sorted(told, key=lambda t: t.position.parts)
    channel = decision.channel or ""
    for signal_id in decision.noted:
        if signal_id not in lifted:
            yield KeptContact("", signal_contact(signal_id, decision.decided_at_ms))
    offers = zip(decision.offers, decision.numbers, decision.offer_contacts(), strict=True)
    for offer, number, contact in offers:
        offer_id, group, goal, counts = offer.offer_id, contact.group, contact.goal, contact.counts
        mine = [t for t in in_order if t.offer_id == offer_id]
        outcomes = [t for t in mine if t.outcome not in ENDINGS]
        if counts:
            if not any(t.outcome == "released" for t in mine):
                at_ms = decision.decided_at_ms
                yield KeptContact(offer_id, Contact(number, at_ms, group, goal, "d", channel), reserved=True)
            elif told_of := [t for t in mine if t.outcome != "released"]:  # presented after all
                yield KeptContact(offer_id, Contact(number, told_of[0].contact_ms, group, goal, "d", channel))
        for one in mine:
            for letter, slot in suppressing(one.causes, channel, counts=counts):
                yield KeptContact(offer_id, Contact(number, one.contact_ms, group, goal, letter, slot))
        for outcome in outcomes:
            letter, slot = outcome_contact(outcome.outcome, channel, counts=counts)
            yield KeptContact(offer_id, Contact(number, outcome.contact_ms, group, goal, letter, slot))
