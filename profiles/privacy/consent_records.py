"""Consents and objections as they were stated, each with source, time and proof, and what holds after all of them.

Of each purpose and channel the newest consent (given, or withdrawn) and the newest objection (given, or lifted) count,
by the time at which they were stated and whatever the order in which they arrive. A consent holds if it is given, has
not expired, and is newer than the objection to its channel and than one to all channels. Of two at the same time the
one that allows less counts. A consent that is withdrawn for one channel while one for all channels holds is kept as
an objection to this channel.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from profiles.consents import OBJECTION_TO_ALL
from profiles.customer import ANY_CHANNEL, OBJECTION, Entries

StatementKind = Literal["consent", "objection"]
KINDS: tuple[StatementKind, ...] = ("consent", "objection")

MAX_SOURCE_CHARS = 200
MAX_PROOF_CHARS = 1000
MAX_AHEAD = timedelta(minutes=5)
"""How far a clock elsewhere may be ahead: what was stated later still would outlast what a person says now."""

IN_THE_FUTURE = "lies in the future: what was not said yet is no statement"
ENDS_BEFORE = "is not after the time of the consent"
ENDS_NOTHING = "is the end of a consent that is given: leave it out here"

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Statement:
    """One consent or objection. ``given`` false: a consent that is withdrawn, an objection that is lifted.

    ``at``: when it was stated; ``None``: now. ``expires_at``: when a consent ends. ``source`` and ``proof`` are the
    company's own words: where it was said, and where that can be looked up.
    """

    kind: StatementKind
    purpose: str
    channel: str
    given: bool
    at: datetime | None = None
    source: str = ""
    proof: str = ""
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Stated:
    """The part of a record that decides what holds. ``at`` is never unknown: of an old record its worst case."""

    kind: str
    channel: str
    given: bool
    at: datetime
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class End:
    """The end of a consent that holds. ``objected``: an objection that is older than the consent holds again then."""

    at: datetime
    objected: bool


def statement_problem(statement: Statement, now: datetime) -> tuple[str, str] | None:
    """Find what is wrong with the times of a statement: the field and the reason, or ``None``."""
    if statement.at is not None and statement.at > now + MAX_AHEAD:
        return "at", IN_THE_FUTURE
    if statement.expires_at is None:
        return None
    if statement.kind != "consent" or not statement.given:
        return "expires_at", ENDS_NOTHING
    return ("expires_at", ENDS_BEFORE) if statement.expires_at <= (statement.at or now) else None


@dataclass(frozen=True, slots=True)
class _Newest:
    """The newest consent and the newest objection of one channel."""

    consent: Stated | None = None
    objection: Stated | None = None

    @property
    def objected(self) -> bool:
        return self.objection is not None and self.objection.given

    @property
    def withdrawn(self) -> bool:
        return self.consent is not None and not self.consent.given

    def stops(self, consent: Stated) -> bool:
        """Return whether a consent is not newer than what is stated here against it."""
        return any(
            one is not None and one.given is allows_less and one.at >= consent.at
            for one, allows_less in ((self.consent, False), (self.objection, True))
        )


def entries_after(
    before: Entries | None, stated: Iterable[Stated], changed: Iterable[str], now: datetime
) -> tuple[Entries | None, dict[str, End | None]]:
    """Return the entries of a purpose (see ``profiles.consents``) after statements, and when consents of them end.

    ``stated``: all that was ever stated for the purpose. ``changed``: the channels of which something new is said; with
    ``*`` among them all channels are looked at. Entries of other channels stay. The ends are those of all channels that
    were looked at, ``None`` where a consent does not end or does not hold.
    """
    newest = _newest(stated)
    existing = () if before is None else before or OBJECTION_TO_ALL
    channels = dict.fromkeys(changed)
    if ANY_CHANNEL in channels:
        channels |= dict.fromkeys((*newest, *(entry.removeprefix(OBJECTION) for entry in existing)))
    left = [entry for entry in existing if entry.removeprefix(OBJECTION) not in channels]
    ends: dict[str, End | None] = {}
    for channel in channels:
        entry, ends[channel] = _entry(channel, newest, now)
        left += [] if entry is None else [entry]
    return tuple(left) or None, ends


def _entry(channel: str, newest: Mapping[str, _Newest], now: datetime) -> tuple[str | None, End | None]:
    here, everywhere = newest.get(channel, _Newest()), newest.get(ANY_CHANNEL, _Newest())
    consent = _consent(here, everywhere, now)
    if consent is not None:
        return channel, None if consent.expires_at is None else End(consent.expires_at, here.objected)
    # A consent to all channels would cover the one that it is withdrawn for.
    uncovered = here.withdrawn and _consent(everywhere, everywhere, now) is not None
    return (OBJECTION + channel if here.objected or uncovered else None), None


def _consent(here: _Newest, everywhere: _Newest, now: datetime) -> Stated | None:
    """Return the consent of a channel if it holds."""
    consent = here.consent
    if consent is None or not consent.given or here.stops(consent) or everywhere.stops(consent):
        return None
    return consent if consent.expires_at is None or consent.expires_at > now else None


def _newest(stated: Iterable[Stated]) -> dict[str, _Newest]:
    consents: dict[str, Stated] = {}
    objections: dict[str, Stated] = {}
    for one in stated:
        kept = consents if one.kind == "consent" else objections
        if one.channel not in kept or _rank(one) > _rank(kept[one.channel]):
            kept[one.channel] = one
    names = {**consents, **objections}
    return {name: _Newest(consents.get(name), objections.get(name)) for name in names}


def _rank(one: Stated) -> tuple[datetime, bool, timedelta]:
    """Order statements of a kind and channel: the last counts; of the same time, the one that allows less."""
    allows_less = one.given is (one.kind == "objection")
    return one.at, allows_less, _NEVER - (one.expires_at or _NEVER)
