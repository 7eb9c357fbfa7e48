"""Consents and objections: the form they are kept in, and what a statement about them changes.

Of each purpose a list of entries is kept. ``email`` stands for consent to be contacted by e-mail, ``!sms`` for an
objection to text messages; ``*`` and ``!*`` are about all channels. An entry that names a channel is stronger than one
about all of them, and of two equally strong ones the objection holds. A list without any entry is an objection to all
channels, and no list is neither consent nor objection.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from profiles.customer import ANY_CHANNEL, OBJECTION, Entries

NONE = "none"
"""An item that withdraws all consents of a purpose, and leaves its objections."""
OBJECTION_TO_ALL = (OBJECTION + ANY_CHANNEL,)

NOT_CHANNELS = (
    "names no channels: write them separated by |, * for all of them, !email for an objection to one, !* for an "
    "objection to all, none to withdraw consent; an empty cell changes nothing"
)
CONTRADICTS = "says of one channel both that there is consent and that there is an objection"
NONE_AND_MORE = "says none and more than that: write none alone, or with objections"

_YES_OR_NO = frozenset(("true", "false", "yes", "no", "y", "n", "t", "f", "0", "1"))


def join_entries(
    consents: Mapping[str, Collection[str]], objections: Mapping[str, Collection[str]]
) -> dict[str, Entries]:
    """Make the entries of each purpose from the channels of its consents and of its objections."""
    joined = {purpose: tuple(channels) for purpose, channels in consents.items()}
    for purpose, channels in objections.items():
        # An empty list of consents was an objection to all channels before there were others.
        before = OBJECTION_TO_ALL if joined.get(purpose) == () else joined.get(purpose, ())
        joined[purpose] = tuple(dict.fromkeys((*before, *(OBJECTION + channel for channel in channels))))
    return joined


def split_entries(entries: Mapping[str, Entries]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the channels of consents and those of objections, by purpose: what ``join_entries`` joined.

    A purpose without entries is among both, as it was stored and as what it means.
    """
    consents: dict[str, list[str]] = {}
    objections: dict[str, list[str]] = {}
    for purpose, some in entries.items():
        agreed = [entry for entry in some if not entry.startswith(OBJECTION)]
        objected = [
            entry.removeprefix(OBJECTION) for entry in some or OBJECTION_TO_ALL if entry not in agreed
        ]
        if agreed or not some:
            consents[purpose] = agreed
        if objected:
            objections[purpose] = objected
    return consents, objections


@dataclass(frozen=True, slots=True)
class Change:
    """The change that a statement makes to the entries of a purpose.

    First all consents are withdrawn if ``withdraw_all``, then the entries ``drop`` are taken away, then ``add`` added.
    """

    add: Entries = ()
    drop: Entries = ()
    withdraw_all: bool = False

    def apply(self, entries: Entries | None) -> Entries | None:
        """Return the entries after the change; ``None`` if none is left. Migration 0014 has the same in SQL."""
        before = () if entries is None else entries or OBJECTION_TO_ALL
        gone = {*self.drop, *self.add}
        left = [
            entry
            for entry in before
            if entry not in gone and not (self.withdraw_all and not entry.startswith(OBJECTION))
        ]
        return (*left, *self.add) or None

    def then(self, later: "Change") -> "Change":
        """Return the change that this one and a ``later`` one make together."""
        left = [
            entry
            for entry in self.add
            if entry not in {*later.drop, *later.add}
            and not (later.withdraw_all and not entry.startswith(OBJECTION))
        ]
        return Change(
            (*left, *later.add),
            tuple(dict.fromkeys((*self.drop, *later.drop))),
            self.withdraw_all or later.withdraw_all,
        )


def read_statement(items: Sequence[str], channels: Collection[str] | None) -> Change | str | None:
    """Read what a file says about one purpose: its change, the reason why it is refused, or ``None`` for nothing said.

    ``items``: channels, objections (``!sms``), or ``none``. ``channels``: those that exist; ``None``: any.

    Consents that are named replace all earlier ones of the purpose, and lift objections to the same channels (``*``
    lifts ``!*`` alone). Objections that are named come to the others, and take away consents to the same channels
    (``!*`` takes away all). Objections that are not named stay.
    """
    stated = tuple(dict.fromkeys(items))
    if not stated:
        return None
    objected = tuple(item for item in stated if item.startswith(OBJECTION))
    agreed = tuple(item for item in stated if item not in objected and item != NONE)
    named = [*agreed, *(item.removeprefix(OBJECTION) for item in objected)]
    if channels is not None and not all(name == ANY_CHANNEL or name in channels for name in named):
        return unknown_channel(channels)
    if any(not name or name.lower() in _YES_OR_NO or name.startswith(OBJECTION) for name in named):
        return NOT_CHANNELS
    if any(OBJECTION + channel in objected for channel in agreed):
        return CONTRADICTS
    if NONE in stated and agreed:
        return NONE_AND_MORE
    withdraw_all = bool(agreed) or NONE in stated or OBJECTION_TO_ALL[0] in objected
    drop = (
        *(OBJECTION + channel for channel in agreed),
        *(entry.removeprefix(OBJECTION) for entry in objected),
    )
    return Change((*agreed, *objected), drop, withdraw_all)


def unknown_channel(channels: Collection[str]) -> str:
    """Give the reason against a channel that is not among ``channels``."""
    known = ", ".join(sorted(channels)) or "none yet"
    return f"names something that is not a channel of the catalogue ({known}): correct it, or create the channel first"
