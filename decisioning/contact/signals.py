"""Signals: what is known or told of a customer that closes some offers, while it holds and maybe for a time after."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bandits.policy import BoolArray
from decisioning.contact.history import SUPPRESSION, signal_cause
from decisioning.contact.limits import LimitCheck
from decisioning.errors import Invalid, MissingThing
from decisioning.model.decision import Contact, LoggedSignal
from decisioning.model.entities import GOALS, Offer
from decisioning.model.outcome import Reason
from decisioning.model.stop import Stop
from profiles.customer import EVERYTHING, OfferScope
from rules.evaluation import RuleSet
from rules.expression import Checker, Expression

_TOLD_ROOTS = ("events", "interests", "history")
"""Roots of what is read from Redis."""
MAX_LASTS_S = 366 * 86_400
"""So long may a signal matter after it last held."""
UNREAD = "what it looks at cannot be read"


@dataclass(frozen=True, slots=True)
class Signal:
    """While ``when`` holds, and ``lasts_s`` seconds after it last did, offers in ``scope`` are not made.

    ``reason``: a declared one. ``unread``: what happens to these offers while what ``when`` looks at cannot be read.
    """

    signal_id: str
    when: str
    reason: str
    scope: OfferScope = EVERYTHING
    lasts_s: int | None = None
    unread: Literal["withhold", "allow"] = "withhold"
    name: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class PreparedSignal:
    """A signal at a placement. ``text``: its reason, for people. ``rows``: offers that it closes, shape ``(n,)``.

    ``roots``: those of what its condition depends on, also by segments.
    """

    signal: Signal
    text: str
    condition: Expression
    roots: frozenset[str]
    rows: BoolArray

    @property
    def lasts_ms(self) -> int:
        """The time that it matters after it last held, in ms; 0 if it does not."""
        return 1000 * (self.signal.lasts_s or 0)

    @property
    def check(self) -> LimitCheck:
        """The check of what is remembered of it: binding, as all that is looked up in the contact history."""
        return LimitCheck(
            stage="signal",
            name=f"signal {self.signal.signal_id}",
            scope="all",
            kinds=SUPPRESSION,
            max=1,
            window_ms=self.lasts_ms,
            channels=(signal_cause(self.signal.signal_id),),
            reason=self.text,
        )


@dataclass(frozen=True, slots=True)
class Unread:
    """True if the customer's record, or what Redis has of events and contacts, cannot be read now.

    ``events`` is false where the placement makes its offers without them.
    """

    customer: bool
    events: bool

    def hides(self, prepared: PreparedSignal) -> bool:
        """Return whether it is not known if a signal holds, so that what it protects is withheld."""
        if prepared.signal.unread == "allow":
            return False
        if self.events and not prepared.roots.isdisjoint(_TOLD_ROOTS):
            return True
        return self.customer and "customer" in prepared.roots


def check_signal(signal: Signal, things: Mapping[str, Mapping[str, Any]]) -> Iterator[Invalid]:
    """Yield what is not right about a signal. ``things``: the sections of the catalogue."""
    if signal.reason not in things["reasons"]:
        yield MissingThing(
            "reason",
            "reason",
            signal.reason,
            f"create it with PUT /v1/reasons/{signal.reason}, or in the file",
        )
    yield from check_offer_scope(signal.scope, things)


def check_offer_scope(scope: OfferScope, things: Mapping[str, Mapping[str, Any]]) -> Iterator[Invalid]:
    """Yield each reference of a scope that leads nowhere, and what is both in it and left out."""
    known: dict[str, tuple[str, Iterable[str]]] = {
        "goals": ("goal", GOALS),
        "groups": ("group", things["groups"]),
        "offers": ("offer", things["offers"]),
        "except_goals": ("goal", GOALS),
        "except_groups": ("group", things["groups"]),
    }
    for field, (kind, names) in known.items():
        for name in getattr(scope, field):
            if name not in names:
                yield MissingThing(f"scope.{field}", kind, name)
    channels = named_channels(things)
    for name in scope.channels:
        if name not in channels:
            others = f"there are {', '.join(sorted(channels))}" if channels else "nothing names one yet"
            yield MissingThing("scope.channels", "channel", name, others)
    for field in ("goals", "groups"):
        both = set(getattr(scope, field)) & set(getattr(scope, f"except_{field}"))
        if both:
            yield Invalid(f"scope.except_{field}", f"{min(both)!r} is among the {field} too: name it once")


def named_channels(things: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """Return all channels that anything in the sections of a catalogue names, but for scopes of signals."""
    found = {placement.channel for placement in things["placements"].values()}
    found.update(treatment.channel for offer in things["offers"].values() for treatment in offer.treatments)
    found.update(e.contact.channel for e in things["event_types"].values() if e.contact is not None)
    found.update(c.channel for c in things["capacities"].values() if c.channel is not None)
    for section in ("contact_policies", "quiet_hours"):
        for one in things[section].values():
            found.update(one.channels)
    return frozenset(found)


def prepare_signals(
    signals: Iterable[Signal],
    reasons: Mapping[str, Reason],
    checker: Checker,
    rules: RuleSet,
    offers: Sequence[Offer],
    goals: Sequence[str],
    channel: str,
) -> tuple[PreparedSignal, ...]:
    """Prepare signals, which have been checked, for the ``offers`` of a placement and their ``goals``.

    Left out are those that close none of them and do not last: nobody asks there whether they hold.
    """
    found = []
    for signal in signals:
        covers = signal.scope.covers
        rows = np.array(
            [
                not o.transactional and covers(o.offer_id, o.group, goal, channel)
                for o, goal in zip(offers, goals, strict=True)
            ],
            dtype=bool,
        )
        if signal.lasts_s or rows.any():
            text = reason_name(reasons, signal.reason)
            condition = checker.check(signal.when)
            found.append(
                PreparedSignal(signal, text, condition, frozenset(rules.depends_on(condition)), rows)
            )
    return tuple(found)


def reason_name(reasons: Mapping[str, Reason], reason_id: str) -> str:
    """Return the name of a reason, for people; its id if it has none."""
    known = reasons.get(reason_id)
    return known.name if known is not None and known.name else reason_id


def holding(
    signals: Sequence[PreparedSignal], holds: Callable[[Expression], bool], unread: Unread
) -> Iterator[tuple[PreparedSignal, bool]]:
    """Yield the signals that hold, and with ``False`` those of which that is not known, so that they count as well."""
    for prepared in signals:
        if unread.hides(prepared):
            yield prepared, False
        elif holds(prepared.condition):
            yield prepared, True


def signal_stop(prepared: PreparedSignal, *, known: bool) -> Stop:
    """Return the stop of an offer that a signal closes now."""
    signal = prepared.signal
    observed = prepared.text if known else UNREAD
    return Stop("signal", f"signal {signal.signal_id}", observed, f"not while {signal.when}")


def logged_signals(
    signals: Sequence[PreparedSignal],
    held: Sequence[PreparedSignal],
    history: Sequence[Contact] | None,
    now_ms: int,
) -> tuple[tuple[LoggedSignal, ...], tuple[str, ...]]:
    """Return the signals that close offers of a placement, and the ids of those that are to be remembered.

    ``held``: those that hold now. Others hold still that did so in the ``history``.
    """
    lasting = {
        id_: until_ms
        for id_, _, until_ms in lasting_signals((p.signal for p in signals), history or (), now_ms)
    }
    logged = []
    for prepared in signals:
        signal = prepared.signal
        until_ms = lasting.get(signal.signal_id)
        if prepared in held:
            until_ms = now_ms + prepared.lasts_ms if prepared.lasts_ms else None
        elif until_ms is None:
            continue
        if prepared.rows.any():
            logged.append(LoggedSignal(signal.signal_id, signal.reason, prepared.text, until_ms))
    return tuple(logged), tuple(p.signal.signal_id for p in held if p.lasts_ms)


def lasting_signals(
    signals: Iterable[Signal], history: Iterable[Contact], now_ms: int
) -> Iterator[tuple[str, int, int]]:
    """Yield what is remembered of signals and counts still: the id, when it last held, and when it ends (Unix ms)."""
    newest: dict[str, int] = {}
    for contact in history:
        if contact.kind == SUPPRESSION:
            newest[contact.channel] = max(contact.at_ms, newest.get(contact.channel, 0))
    for signal in signals:
        at_ms = newest.get(signal_cause(signal.signal_id)) if signal.lasts_s else None
        if at_ms is not None and signal.lasts_s and now_ms < at_ms + 1000 * signal.lasts_s:
            yield signal.signal_id, at_ms, at_ms + 1000 * signal.lasts_s
