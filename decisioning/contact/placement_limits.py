"""The contact policy of one placement, laid out so that a request only touches what its customer's history names."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bandits.policy import BoolArray
from decisioning.contact.history import Contact
from decisioning.contact.limits import (
    NEVER_AGAIN_MS,
    Check,
    limit_checks,
    not_after_check,
    policy_check,
    preference_checks,
    rejection_check,
)
from decisioning.contact.quiet_hours import MINUTE_MS, Quiet, customer_zone, ends_ms, quiet_of, wall_clock
from decisioning.model.decision import DecisionContacts, OfferContact
from decisioning.model.entities import AfterRejection, ContactPolicy, Group, Offer, Placement, QuietHours
from decisioning.model.stop import Stop
from profiles.customer import Customer

Rows = NDArray[np.intp]
Key = tuple[str, str | int]

BINDING_BASES = ("contract", "legal_obligation")
"""Legal bases that stand even for a customer who is on a suppression list, for transactional offers."""


class ContactBook:
    """The contact policy of one placement's ``offers``; ``everything`` are all offers of the catalogue.

    ``history_ms``: how far back contacts matter for any offer of the catalogue; 0 if none do.

    Three kinds of stops, in the order of their strength:

    *Suppression lists.* A customer on one gets transactional offers on the basis of a contract or a legal obligation,
    and nothing else. Where the lists cannot be read, nothing that needs a permission is offered: neither what needs
    consent nor what must not have been objected to.
    *Quiet hours.* Only transactional offers.
    *What happened before.* Contact policies, the offers' own limits and the customer's preferences say how often
    (transactional offers neither count nor are stopped by them); exclusions say what must not follow on what
    (for all offers). A policy of some ``channels`` counts contacts there and is about placements of these channels.
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
    ) -> None:
        self.history_ms = history_ms
        self._offers = offers
        self._goals = [str(groups[o.group].goal) for o in offers]
        explicit = placement.presentation == "explicit"
        self._confirm_ms = placement.confirm_within_s * 1000 if explicit else None
        self._withhold = placement.without_history == "withhold"
        self._transactional = np.array([o.transactional for o in offers], dtype=bool)
        self._binding = np.array(
            [o.transactional and o.legal_basis in BINDING_BASES for o in offers], dtype=bool
        )
        self._unread = np.array(
            [o.requires_consent is None or o.legal_basis in BINDING_BASES for o in offers], dtype=bool
        )
        channel = placement.channel
        self._quiet = [quiet_of(q) for q in quiet if not q.channels or channel in q.channels]
        self._common: dict[str, list[Check]] = defaultdict(list)
        self._special: dict[Key, list[tuple[Check, Rows]]] = defaultdict(list)
        self._rows: list[list[Check]] = [[] for _ in offers]
        self._texts: dict[int, str] = {}
        self._members = self._by_key()
        self._add_policies(p for p in policies if not p.channels or channel in p.channels)
        self._add_limits()
        known = {o.offer_id: o for o in offers} if everything is None else everything
        self._add_exclusions(known)
        self._add_rejections(known.values())
        self._scopes = frozenset(self._common) | {scope for scope, _ in self._special}
        self._limited = np.array([bool(checks) for checks in self._rows], dtype=bool)
        self._counted = ~self._transactional
        self._never = np.array([any(c.max < 1 for c in checks) for checks in self._rows], dtype=bool)
        self._needed = bool(self._limited.any() or self._counted.any())

    @property
    def needed(self) -> bool:
        """Whether the contact history must be read for this placement."""
        return self._needed

    def limited(self, row: int, customer: Customer) -> bool:
        """Whether an offer has limits that must be reserved."""
        return bool(self._limited[row] or (self._counted[row] and preference_checks(customer)))

    def remembered(self, rows: Sequence[int], now_ms: int, until_ms: int) -> DecisionContacts:
        """What the log keeps of the contacts of a decision for ``rows``, so that their history can be rebuilt.

        Reservations are given back not after the end of the reward window, ``until_ms``.
        """
        confirm_ms = None if self._confirm_ms is None else min(now_ms + self._confirm_ms, until_ms)
        offers = (OfferContact(self._offers[r].group, self._goals[r], bool(self._counted[r])) for r in rows)
        return DecisionContacts(self.history_ms, confirm_ms, tuple(offers))

    def checks(self, row: int, customer: Customer) -> str:
        """The binding checks of an offer as ``nb_decide`` takes them, separated by ``;``."""
        offer, goal = self._offers[row], self._goals[row]
        text = self._texts.get(row)
        if text is None:
            text = self._texts[row] = ";".join(check.text(offer, goal) for check in self._rows[row])
        wishes = preference_checks(customer) if self._counted[row] else []
        return ";".join(filter(None, [text, *(check.text(offer, goal) for check in wishes)]))

    def allowed(self, customer: Customer, history: Sequence[Contact] | None, now_ms: int) -> BoolArray:
        """Which rows may be contacted now: shape ``(n,)``, a fresh array.

        ``history`` (in the order of time) is ``None`` when it cannot be read: what has limits or exclusions is then
        withheld, unless the placement says otherwise.
        """
        mask = np.ones(len(self._offers), dtype=bool)
        if customer.suppressions is None:
            mask &= self._unread
        elif customer.suppressions and customer.suppressed(now_ms):
            mask &= self._binding
        if self._quiet and any(
            q.holds(now_ms, customer_zone(q, customer.attributes.get("time_zone"))) for q in self._quiet
        ):
            mask &= self._transactional
        wishes = preference_checks(customer)
        if history is not None:
            mask &= ~self._never
            if history:
                self._apply(mask, history, now_ms)
            if any(wish.blocked_until(history, now_ms) is not None for wish in wishes):
                mask &= self._transactional
        elif self._withhold:
            mask &= ~self._limited
            if wishes:
                mask &= self._transactional
        return mask

    def stops(
        self, row: int, customer: Customer, history: Sequence[Contact] | None, now_ms: int
    ) -> list[Stop]:
        """Everything in the contact policy that stops a row; empty exactly where ``allowed`` is true."""
        stops = self._suppression_stops(row, customer, now_ms)
        if not self._transactional[row]:
            stops += self._quiet_stops(customer, now_ms)
        checks = self._rows[row] + (preference_checks(customer) if self._counted[row] else [])
        if history is None:
            if self._withhold:
                stops += [
                    Stop(c.stage, c.name, "the contact history cannot be read", _required(c)) for c in checks
                ]
            return stops
        offer, goal = self._offers[row], self._goals[row]
        for check in checks:
            times = check.times(check.in_scope(history, offer, goal))
            until = check.blocked_until(check.in_scope(history, offer, goal), now_ms)
            if until is not None:
                inside = sum(at_ms > now_ms - check.window_ms for at_ms in times)
                again = None if until == NEVER_AGAIN_MS else until
                stops.append(Stop(check.stage, check.name, inside, _required(check), again))
        return stops

    def relevant(self, customer: Customer, history: Sequence[Contact]) -> list[Contact]:
        """The contacts that any check of this placement and customer may count."""
        if not history:
            return []
        wishes = preference_checks(customer)
        return [
            contact
            for contact in history
            if (wishes and contact.kind == "d")
            or any(
                contact.kind in check.kinds
                for key in self._keys(contact)
                for check in (
                    *(self._common[key[0]] if key[0] in self._common and key in self._members else ()),
                    *(check for check, _ in self._special.get(key, ())),
                )
            )
        ]

    def _apply(self, mask: BoolArray, history: Sequence[Contact], now_ms: int) -> None:
        found: dict[Key, list[Contact]] = defaultdict(list)
        for contact in history:
            for key in self._keys(contact):
                found[key].append(contact)
        for key, contacts in found.items():
            members = self._members.get(key)
            if members is not None and key[0] in self._common:
                for check in self._common[key[0]]:
                    if check.blocked_until(contacts, now_ms) is not None:
                        mask[members] = False
                        break
            for check, rows in self._special.get(key, ()):
                if check.blocked_until(contacts, now_ms) is not None:
                    mask[rows] = False

    def _keys(self, contact: Contact) -> list[Key]:
        scopes = self._scopes
        keys: list[Key] = []
        if "offer" in scopes:
            keys.append(("offer", contact.offer))
        if "group" in scopes:
            keys.append(("group", contact.group))
        if "goal" in scopes:
            keys.append(("goal", contact.goal))
        if "all" in scopes:
            keys.append(("all", ""))
        return keys

    def _by_key(self) -> dict[Key, Rows]:
        """For each offer, group and goal, and for all: the rows that use up limits."""
        found: dict[Key, list[int]] = defaultdict(list)
        for row, offer in enumerate(self._offers):
            if not offer.transactional:
                keys: list[Key] = [("offer", offer.number), ("group", offer.group)]
                for key in (*keys, ("goal", self._goals[row]), ("all", "")):
                    found[key].append(row)
        return {key: np.array(rows, dtype=np.intp) for key, rows in found.items()}

    def _add_policies(self, policies: Iterable[ContactPolicy]) -> None:
        numbers = {o.offer_id: o.number for o in self._offers}
        for policy in policies:
            check = policy_check(policy)
            if policy.applies_to is None:
                self._common[policy.scope].append(check)
                for row in self._members.get(("all", ""), ()):
                    self._rows[row].append(check)
                continue
            about: str | int | None = policy.applies_to
            if policy.scope == "offer":
                about = numbers.get(policy.applies_to)
            if about is not None:
                self._add(check, [(policy.scope, about)], self._members.get((policy.scope, about), ()))

    def _add_limits(self) -> None:
        for row, offer in enumerate(self._offers):
            if not offer.transactional:
                for check in limit_checks(offer):
                    self._add(check, [("offer", offer.number)], [row])

    def _add_exclusions(self, known: Mapping[str, Offer]) -> None:
        for row, offer in enumerate(self._offers):
            for rule in offer.not_after:
                if rule.offer is not None and rule.offer in known:
                    number = known[rule.offer].number
                    self._add(not_after_check(rule, [str(number)]), [("offer", number)], [row])
                elif rule.group is not None:
                    self._add(not_after_check(rule, []), [("group", rule.group)], [row])

    def _add_rejections(self, known: Iterable[Offer]) -> None:
        """One check for each relation, however many offers bring it about."""
        causes: dict[tuple[str, object, int], list[int]] = defaultdict(list)
        for offer in known:
            for rule in offer.after_rejection:
                about = _related(rule, offer)
                if about is not None:
                    causes[(*about, rule.for_s)].append(offer.number)
        if not causes:
            return
        for (how, value, for_s), numbers in causes.items():
            rows = [row for row, offer in enumerate(self._offers) if _relation(how, offer) == value]
            keys: list[Key] = [("offer", number) for number in numbers]
            self._add(rejection_check(numbers, for_s, _NAMES.get(how, how)), keys, rows)

    def _add(self, check: Check, keys: Sequence[Key], rows: Sequence[int] | Rows) -> None:
        if not len(rows):
            return
        indices = np.array(rows, dtype=np.intp)
        for key in keys:
            self._special[key].append((check, indices))
        for row in rows:
            self._rows[row].append(check)

    def _suppression_stops(self, row: int, customer: Customer, now_ms: int) -> list[Stop]:
        if customer.suppressions is None:
            if self._unread[row]:
                return []
            return [Stop("suppression", "suppression lists", "cannot be read", "must be readable")]
        if self._binding[row]:
            return []
        return [
            Stop("suppression", s.list_id, s.reason, "not on this list", s.until_ms)
            for s in customer.suppressions
            if s.holds(now_ms)
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


_NAMES = {"offer": "same offer", "group": "same group"}


def _related(rule: AfterRejection, offer: Offer) -> tuple[str, object] | None:
    """How offers are related to a rejected one: what they have in common, and its value."""
    how = f"same {rule.attribute}" if rule.scope == "attribute" else rule.scope
    value = _relation(how, offer)
    return None if value is None else (how, value)


def _relation(how: str, offer: Offer) -> object:
    if how == "offer":
        return offer.number
    if how == "group":
        return offer.group
    return offer.attributes.get(how.removeprefix("same "))


def _required(check: Check) -> dict[str, int]:
    if check.stage == "exclusion":
        return {"none_within_s": check.window_ms // 1000}
    required = {"max": check.max, "window_s": check.window_ms // 1000}
    return required | {"suppress_s": check.suppress_ms // 1000} if check.suppress_ms else required


def _outside(quiet: Quiet) -> str:
    start, end = (f"{m // 60:02d}:{m % 60:02d}" for m in (quiet.start, quiet.end))
    return f"outside of {start} to {end}"
