"""The contact policy of one placement: suppression lists, quiet hours, limits and exclusions."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from bandits.policy import BoolArray
from decisioning.contact.history import SUPPRESSION
from decisioning.contact.limits import (
    NEVER_AGAIN_MS,
    LimitCheck,
    LimitIndex,
    preference_checks,
    suppression_check,
)
from decisioning.contact.own_history import OwnHistory
from decisioning.contact.quiet_hours import (
    PreparedQuietHours,
    customer_zone,
    ends_ms,
    prepare_quiet_hours,
    wall_clock,
)
from decisioning.contact.signals import PreparedSignal, Unread
from decisioning.model.decision import Contact, DecisionContacts, OfferContact
from decisioning.model.entities import ContactPolicy, Group, Offer, Placement, QuietHours
from decisioning.model.outcome import Suppress
from decisioning.model.stop import Stop
from profiles.customer import Customer, OfferScope
from storage.clock import MINUTE_MS

SignalsOf = Callable[[Sequence[Offer], Sequence[str], str], tuple[PreparedSignal, ...]]
"""Prepares the signals for offers, with their goals, in a channel."""

BINDING_BASES = ("contract", "legal_obligation")
"""Legal bases that stand even for a customer who is on a suppression list, for transactional offers."""


MAX_SCOPES = 256
"""Rows are remembered of so many scopes of entries in suppression lists."""


class PlacementLimits:
    """The contact policy of one placement's ``offers``; ``everything`` are all offers of the catalogue.

    ``history_ms``: how far back contacts matter for any offer of the catalogue; 0 if none do. ``suppressions``: what is
    not offered after which outcome or reason. ``signals``: prepares those that close any of the offers, or last.

    Three kinds of stops, in the order of their strength:

    *Suppression lists.* A customer on one gets transactional offers on the basis of a contract or a legal obligation,
    and nothing else; if the entry has a scope, nothing else that is in it. Where the lists cannot be read, nothing that
    needs a permission is offered: neither what needs consent nor what must not have been objected to.
    *Quiet hours.* Only transactional offers.
    *What happened before.* Contact policies, the offers' own limits and the customer's preferences say how often
    (transactional offers neither count nor are stopped by them); exclusions say what must not follow on what
    (for all offers), and what must not follow on an outcome or a reason (not for transactional ones). A policy of
    some ``channels`` counts contacts there and is about placements of these channels. Policies per household count the
    customer's own contacts, and again those of the ``household``: ``()`` for a customer who has none, ``None`` when
    they cannot be read.
    """

    def __init__(
        self,
        placement: Placement,
        offers: Sequence[Offer],
        groups: Mapping[str, Group],
        policies: Iterable[ContactPolicy],
        quiet: Iterable[QuietHours],
        history_ms: int,
        everything: Mapping[str, Offer] | None = None,
        suppressions: Mapping[str, Sequence[Suppress]] | None = None,
        signals: SignalsOf | None = None,
    ) -> None:
        self.history_ms = history_ms
        self._offers = offers
        self._goals = [str(groups[o.group].goal) for o in offers]
        # Only where presentation has to be confirmed can it fail to be: elsewhere nothing is released.
        explicit = placement.presentation == "explicit"
        self._confirm_ms = placement.confirm_within_s * 1000 if explicit else None
        self._withhold = placement.without_history == "withhold"
        self._transactional = np.array([o.transactional for o in offers], dtype=bool)
        self._binding = np.array(
            [o.transactional and o.legal_basis in BINDING_BASES and _is_binding(o) for o in offers],
            dtype=bool,
        )
        self._allowed_unread = np.array([_is_binding(o) for o in offers], dtype=bool)
        channel = self._channel = placement.channel
        self._quiet = [prepare_quiet_hours(q) for q in quiet if not q.channels or channel in q.channels]
        self._texts: dict[int, str] = {}
        self._scopes: dict[OfferScope, BoolArray] = {}
        self.signals = () if signals is None else signals(offers, self._goals, channel)
        here = [p for p in policies if not p.channels or channel in p.channels]
        self._index = LimitIndex(
            offers,
            self._goals,
            here,
            {o.offer_id: o for o in offers} if everything is None else everything,
            [
                suppression_check(cause, rule, channel)
                for cause, rules in sorted((suppressions or {}).items())
                for rule in rules
            ],
            [(one.check, one.rows) for one in self.signals if one.lasts_ms],
        )
        together = [p for p in here if p.per == "household"]
        self._together = LimitIndex(offers, self._goals, together, None) if together else None
        # Nothing that is offered uses up a suppression, so it is looked at, and nothing has to be reserved for it.
        self._limited = np.array(
            [any(SUPPRESSION not in check.kinds for check in checks) for checks in self._index.rows],
            dtype=bool,
        )
        self._looked_at = np.array([bool(checks) for checks in self._index.rows], dtype=bool)
        self.suppresses = bool(suppressions or self.signals)
        self._counted = ~self._transactional
        # A limit of 0 blocks customers without any contact too, for whom nothing is looked up.
        self._never = np.array([any(c.max < 1 for c in checks) for checks in self._index.rows], dtype=bool)
        self._needed = bool(self._looked_at.any() or self._counted.any())

    @property
    def needed(self) -> bool:
        """True if the contact history must be read for this placement."""
        return self._needed

    @property
    def counts_households(self) -> bool:
        """True if there are limits per household, so that the contacts of the customer's are read and reserved."""
        return self._together is not None

    def limited_together(self, row: int) -> bool:
        """Return whether an offer has limits per household."""
        return self._together is not None and bool(self._together.rows[row])

    def unread(self, customer: Customer, history: Sequence[Contact] | None) -> Unread:
        """Return what cannot be read of a customer, as far as offers are to be withheld for it."""
        return Unread(customer.suppressions is None, history is None and self._withhold)

    def limited(self, row: int, customer: Customer) -> bool:
        """Return whether an offer has limits that must be reserved for this customer."""
        return bool(self._limited[row] or (self._counted[row] and preference_checks(customer)))

    def is_shared(self, customer: Customer) -> bool:
        """Return whether an offer of an answer may use up a limit of another one for this customer."""
        return self._index.is_shared or bool(preference_checks(customer))

    def block_after(
        self,
        chosen: Sequence[int],
        customer: Customer,
        history: Sequence[Contact],
        now_ms: int,
        left: BoolArray,
        household: Sequence[Contact] = (),
    ) -> None:
        """Clear in ``left``, shape ``(n,)``, what the last of the rows ``chosen`` for one answer leaves no room for.

        The same as ``nb_decide`` does with the offers of a decision, one after the other.
        """
        if not self._counted[chosen[-1]]:
            return
        made = [
            Contact(
                self._offers[row].number,
                now_ms,
                self._offers[row].group,
                self._goals[row],
                "d",
                self._channel,
            )
            for row in chosen
            if self._counted[row]
        ]
        contacts = [*history, *made]
        self._index.block(left, contacts, now_ms, made[-1])
        if self._together is not None:
            self._together.block(left, [*household, *made], now_ms, made[-1])
        if any(check.blocked_until(contacts, now_ms) is not None for check in preference_checks(customer)):
            left &= self._transactional

    def log_record(self, rows: Sequence[int], now_ms: int, until_ms: int) -> DecisionContacts:
        """Return what is logged of the contacts of a decision for ``rows``, so that their history can be rebuilt.

        Reservations are given back not after the end of the reward window, ``until_ms``.
        """
        confirm_ms = None if self._confirm_ms is None else min(now_ms + self._confirm_ms, until_ms)
        offers = (OfferContact(self._offers[r].group, self._goals[r], bool(self._counted[r])) for r in rows)
        return DecisionContacts(self.history_ms, confirm_ms, tuple(offers))

    def checks(self, row: int, customer: Customer) -> str:
        """Return the binding checks of an offer as ``nb_decide`` takes them, separated by ``;``."""
        offer, goal = self._offers[row], self._goals[row]
        text = self._texts.get(row)
        if text is None:
            # The checks of a row do not depend on the customer: they are written out once.
            text = self._texts[row] = ";".join(check.encode(offer, goal) for check in self._index.rows[row])
        preferences = preference_checks(customer) if self._counted[row] else []
        return ";".join(filter(None, [text, *(check.encode(offer, goal) for check in preferences)]))

    def checks_together(self, row: int) -> str:
        """Return the checks of an offer per household, in the same form."""
        rows = [] if self._together is None else self._together.rows[row]
        return ";".join(check.encode(self._offers[row], self._goals[row]) for check in rows)

    def allowed(
        self,
        customer: Customer,
        history: Sequence[Contact] | None,
        now_ms: int,
        household: Sequence[Contact] | None = (),
    ) -> BoolArray:
        """Return the rows that may be contacted now: shape ``(n,)``, a fresh array.

        ``history`` (in the order of time) is ``None`` when it cannot be read: what has limits or exclusions is then
        withheld, unless the placement says otherwise. So is, without that of the ``household``, what has limits there.
        """
        mask = np.ones(len(self._offers), dtype=bool)
        # Fails closed: while the lists cannot be read, only what needs no permission is left.
        if customer.suppressions is None:
            mask &= self._allowed_unread
        elif customer.suppressions:
            if customer.suppressed(now_ms):
                mask &= self._binding
            for entry in customer.suppressions:
                if entry.scope is not None and entry.holds(now_ms):
                    mask &= self._binding | ~self._covered(entry.scope)
        if self._quiet and any(
            q.holds(now_ms, customer_zone(q, customer.attributes.get("time_zone"))) for q in self._quiet
        ):
            mask &= self._transactional
        preferences = preference_checks(customer)
        if history is not None:
            mask &= ~self._never
            if history:
                self._index.block(mask, history, now_ms)
            if any(preference.blocked_until(history, now_ms) is not None for preference in preferences):
                mask &= self._transactional
        elif self._withhold:
            mask &= ~self._looked_at
            if preferences:
                mask &= self._transactional
        if self._together is not None:
            if household is not None:
                self._together.block(mask, household, now_ms)
            elif self._withhold:
                mask &= np.array([not checks for checks in self._together.rows], dtype=bool)
        return mask

    def stops(
        self,
        row: int,
        customer: Customer,
        history: Sequence[Contact] | None,
        now_ms: int,
        household: Sequence[Contact] | None = (),
    ) -> list[Stop]:
        """Return everything in the contact policy that stops a row; empty exactly where ``allowed`` is true."""
        stops = self._suppression_stops(row, customer, now_ms)
        if not self._transactional[row]:
            stops += self._quiet_stops(customer, now_ms)
        checks = self._index.rows[row] + (preference_checks(customer) if self._counted[row] else [])
        for check in checks:
            # The household's contacts tell more than those of the customer alone, which are most often among them.
            together = self._stop_of(check, row, household, now_ms) if check.per == "household" else None
            if stop := together or self._stop_of(check, row, history, now_ms):
                stops.append(stop)
        return stops

    def _stop_of(
        self, check: LimitCheck, row: int, history: Sequence[Contact] | None, now_ms: int
    ) -> Stop | None:
        """Return what stops a row if a check does, by the contacts in ``history``."""
        if history is None:
            if not self._withhold:
                return None
            unread = "the contact history cannot be read"
            return Stop(
                check.stage, check.name, unread, _required(check), inherited_from=check.inherited_from
            )
        contacts = check.in_scope(history, self._offers[row], self._goals[row])
        until = check.blocked_until(contacts, now_ms)
        if until is None:
            return None
        inside = sum(at_ms > now_ms - check.window_ms for at_ms in check.times(contacts))
        again = None if until == NEVER_AGAIN_MS else until
        observed = inside if check.reason is None else check.reason
        return Stop(check.stage, check.name, observed, _required(check), again, check.inherited_from)

    def relevant(
        self,
        customer: Customer,
        history: Sequence[Contact],
        own: OwnHistory | None = None,
        now_ms: int = 0,
    ) -> list[Contact]:
        """Return the contacts that any check of this placement and customer may count, or ``own`` looks at."""
        if not history:
            return []
        preferences = preference_checks(customer)
        return [
            contact
            for contact in history
            if (preferences and contact.kind == "d")
            or self._index.counts(contact)
            or (own is not None and own.looks_at(contact, now_ms))
        ]

    def relevant_together(self, household: Sequence[Contact]) -> list[Contact]:
        """Return those of a household's contacts that any limit per household may count."""
        together = self._together
        return [] if together is None else [contact for contact in household if together.counts(contact)]

    def _covered(self, scope: OfferScope) -> BoolArray:
        """Return the rows in a scope: shape ``(n,)``. Remembered, since many customers have the same."""
        rows = self._scopes.get(scope)
        if rows is None:
            offers = zip(self._offers, self._goals, strict=True)
            covers, channel = scope.covers, self._channel
            rows = np.array([covers(o.offer_id, o.group, goal, channel) for o, goal in offers], dtype=bool)
            if len(self._scopes) >= MAX_SCOPES:
                self._scopes.clear()
            self._scopes[scope] = rows
        return rows

    def _suppression_stops(self, row: int, customer: Customer, now_ms: int) -> list[Stop]:
        if customer.suppressions is None:
            if self._allowed_unread[row]:
                return []
            return [Stop("suppression", "suppression lists", "cannot be read", "must be readable")]
        if self._binding[row]:
            return []
        return [
            Stop("suppression", s.list_id, s.reason, "not on this list", s.until_ms)
            for s in customer.suppressions
            if s.holds(now_ms) and (s.scope is None or self._covered(s.scope)[row])
        ]

    def _quiet_stops(self, customer: Customer, now_ms: int) -> list[Stop]:
        stops = []
        for quiet in self._quiet:
            zone = customer_zone(quiet, customer.attributes.get("time_zone"))
            if quiet.holds(now_ms, zone):
                again = ends_ms(quiet, zone, now_ms - now_ms % MINUTE_MS)
                stops.append(
                    Stop("quiet_hours", quiet.quiet_id, wall_clock(now_ms, zone), _outside(quiet), again)
                )
        return stops


def _is_binding(offer: Offer) -> bool:
    """Return whether nothing that an offer needs can be refused by the customer: all its purposes are binding."""
    return all(d.requires_consent is None or d.legal_basis in BINDING_BASES for d in offer.demands)


def _required(check: LimitCheck) -> dict[str, int | str]:
    if check.stage != "contact":
        return {"none_within_s": check.window_ms // 1000}
    required: dict[str, int | str] = {"max": check.max, "window_s": check.window_ms // 1000}
    if check.suppress_ms:
        required["suppress_s"] = check.suppress_ms // 1000
    return required | {"per": check.per} if check.per == "household" else required


def _outside(quiet: PreparedQuietHours) -> str:
    start, end = (f"{m // 60:02d}:{m % 60:02d}" for m in (quiet.start, quiet.end))
    return f"outside of {start} to {end}"
