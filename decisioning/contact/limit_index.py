"""The checks of a placement's offers against the contact history, found by what a contact names."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bandits.policy import BoolArray
from decisioning.contact.history import Contact
from decisioning.contact.limits import (
    LimitCheck,
    limit_checks,
    not_after_check,
    policy_check,
    rejection_check,
)
from decisioning.model.entities import AfterRejection, ContactPolicy, Offer

Rows = NDArray[np.intp]
Key = tuple[str, str | int]
"""A scope and an offer's number, a group, a goal, or nothing: what a contact may be counted under."""


class LimitIndex:
    """The checks of ``offers`` by row, and by what a contact names.

    A request touches only the checks that its customer's history can concern, however many offers there are. Checks
    that are made for every offer in a scope are held once for the scope (``_common``), all others with the rows that
    they are about (``_special``).

    ``goals``: the goal of each offer. ``everything``: all offers of the catalogue by id; exclusions may name any.
    """

    def __init__(
        self,
        offers: Sequence[Offer],
        goals: Sequence[str],
        policies: Iterable[ContactPolicy],
        everything: Mapping[str, Offer],
    ) -> None:
        self.rows: list[list[LimitCheck]] = [[] for _ in offers]
        self._offers = offers
        self._goals = goals
        self._common: dict[str, list[LimitCheck]] = defaultdict(list)
        self._special: dict[Key, list[tuple[LimitCheck, Rows]]] = defaultdict(list)
        self._members = self._counted_rows()
        self._add_policies(policies)
        self._add_limits()
        self._add_exclusions(everything)
        self._add_rejections(everything.values())
        self._scopes = frozenset(self._common) | {scope for scope, _ in self._special}

    def counts(self, contact: Contact) -> bool:
        """Return whether any check may count a contact."""
        for key in self._keys(contact):
            common = self._common.get(key[0], ()) if key in self._members else ()
            if any(contact.kind in check.kinds for check in common):
                return True
            if any(contact.kind in check.kinds for check, _ in self._special.get(key, ())):
                return True
        return False

    def block(self, mask: BoolArray, history: Sequence[Contact], now_ms: int) -> None:
        """Set ``mask`` (shape ``(n,)``) to false where a check blocks. ``history`` in the order of time."""
        found: dict[Key, list[Contact]] = defaultdict(list)
        for contact in history:
            for key in self._keys(contact):
                found[key].append(contact)
        for key, contacts in found.items():
            members = self._members.get(key)
            if members is not None and key[0] in self._common:
                for check in self._common[key[0]]:
                    if check.blocked_until(contacts, now_ms) is not None:
                        # The other checks of this key would block the same rows.
                        mask[members] = False
                        break
            for check, rows in self._special.get(key, ()):
                if check.blocked_until(contacts, now_ms) is not None:
                    mask[rows] = False

    def _keys(self, contact: Contact) -> list[Key]:
        # Scopes without any check are left out: most histories then touch nothing.
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

    def _counted_rows(self) -> dict[Key, Rows]:
        """Return the rows that use up limits for each offer, group and goal, and for all."""
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
                    self.rows[row].append(check)
                continue
            # Contacts name offers by number; a policy about an offer that is not here concerns no row.
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
        """Add one check for each relation, however many offers bring it about."""
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

    def _add(self, check: LimitCheck, keys: Sequence[Key], rows: Sequence[int] | Rows) -> None:
        if not len(rows):
            return
        indices = np.array(rows, dtype=np.intp)
        for key in keys:
            self._special[key].append((check, indices))
        for row in rows:
            self.rows[row].append(check)


_NAMES = {"offer": "same offer", "group": "same group"}


def _related(rule: AfterRejection, offer: Offer) -> tuple[str, object] | None:
    """Return how offers are related to a rejected one: what they have in common, and its value."""
    how = f"same {rule.attribute}" if rule.scope == "attribute" else rule.scope
    value = _relation(how, offer)
    return None if value is None else (how, value)


def _relation(how: str, offer: Offer) -> object:
    if how == "offer":
        return offer.number
    if how == "group":
        return offer.group
    return offer.attributes.get(how.removeprefix("same "))
