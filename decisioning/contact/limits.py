"""Contact policies as checks of one form, and the arithmetic by which they are decided here and in ``nb_decide``."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

from bandits.policy import BoolArray
from decisioning.contact.history import SUPPRESSION, letters_of
from decisioning.model.decision import Contact
from decisioning.model.entities import AfterRejection, ContactPolicy, NotAfter, Offer, Per, Scope
from decisioning.model.outcome import Suppress
from profiles.customer import Customer
from storage.clock import DAY_MS

WEEK_MS = 7 * DAY_MS
NEVER_AGAIN_MS = 2**53
"""An end that never comes; the largest whole number up to which Lua counts exactly."""

PREFERENCES = ("time_zone", "max_contacts_per_day", "max_contacts_per_week", "min_gap_s")
"""Attributes of a customer that the contact policy looks at. ``min_gap_s`` counts up to a week."""

_LETTER = {"offer": "o", "group": "g", "goal": "l", "all": "a"}


def blocked_until(
    times_ms: Iterable[int], max: int, window_ms: int, suppress_ms: int, now_ms: int
) -> int | None:
    """Return until when contacts at ``times_ms`` block another one; ``None`` if they do not block it at ``now_ms``.

    Blocked while ``max`` contacts lie inside of the window that ends now, ``(now - window, now]`` (contacts of a clock
    that is ahead count too), and for ``suppress_ms`` after a contact with which a window was full.
    """
    if max < 1:
        return NEVER_AGAIN_MS
    times = sorted(times_ms)
    if len(times) < max:
        return None
    # One more is possible when the first of the last ``max`` contacts has left the window.
    until = times[-max] + window_ms
    if suppress_ms:
        # Backwards: the first full window that is found is the latest, and suppresses the longest.
        for last in range(len(times) - 1, max - 2, -1):
            if times[last] - times[last - max + 1] < window_ms:
                until = times[last] + suppress_ms if times[last] + suppress_ms > until else until
                break
    return until if until > now_ms else None


@dataclass(frozen=True, slots=True)
class LimitCheck:
    """At most ``max`` contacts of ``kinds`` in ``channels`` (all if empty) within any window.

    Counted are contacts with the offers, groups or goals in ``values``; ``None`` stands for those of the offer that
    is checked. ``kinds`` are letters of ``history.KIND_LETTERS``. ``inherited_from``: the group or goal whose limit it
    is. ``reason``: why offers are not made, for people, if it is known. ``per``: whose contacts count together. Those
    of a household count for its member alone, too, so that the limit holds for who has none, or had another one before.
    """

    stage: Literal["contact", "exclusion", "signal"]
    name: str
    scope: Scope
    kinds: str
    max: int
    window_ms: int
    suppress_ms: int = 0
    channels: tuple[str, ...] = ()
    values: tuple[str, ...] | None = None
    inherited_from: str | None = None
    reason: str | None = None
    per: Per = "customer"

    @property
    def history_ms(self) -> int:
        """The time for which contacts matter, in ms."""
        return self.window_ms + self.suppress_ms

    def times(self, contacts: Iterable[Contact]) -> list[int]:
        """Return the times (Unix ms) of those ``contacts`` that are counted. Their scope is not looked at."""
        kinds, channels = self.kinds, self.channels
        return [c.at_ms for c in contacts if c.kind in kinds and (not channels or c.channel in channels)]

    def blocked_until(self, contacts: Sequence[Contact], now_ms: int) -> int | None:
        """Apply ``blocked_until`` to contacts that are all in scope."""
        if len(contacts) < self.max:
            return None
        return blocked_until(self.times(contacts), self.max, self.window_ms, self.suppress_ms, now_ms)

    def in_scope(self, contacts: Iterable[Contact], offer: Offer, goal: str) -> list[Contact]:
        """Return the contacts that this check is about when it is made for ``offer``."""
        if self.scope == "all":
            return list(contacts)
        values = self._values(offer, goal)
        if self.scope == "offer":
            return [c for c in contacts if str(c.offer) in values]
        if self.scope == "group":
            return [c for c in contacts if c.group in values]
        return [c for c in contacts if c.goal in values]

    def encode(self, offer: Offer, goal: str) -> str:
        """Write the check of ``offer`` for ``nb_decide``: ``scope values|kinds|max|window|suppress|channels``."""
        values = "" if self.scope == "all" else ",".join(self._values(offer, goal))
        channels = ",".join(self.channels)
        return f"{_LETTER[self.scope]}{values}|{self.kinds}|{self.max}|{self.window_ms}|{self.suppress_ms}|{channels}"

    def _values(self, offer: Offer, goal: str) -> tuple[str, ...]:
        if self.values is not None:
            return self.values
        return (
            str(offer.number) if self.scope == "offer" else offer.group if self.scope == "group" else goal,
        )


def policy_check(policy: ContactPolicy) -> LimitCheck:
    """Return the check of a contact policy, relative to the offer."""
    return LimitCheck(
        stage="contact",
        name=policy.name,
        scope=policy.scope,
        kinds=letters_of(policy.outcomes),
        max=policy.max,
        window_ms=policy.window_s * 1000,
        suppress_ms=policy.suppress_s * 1000,
        channels=policy.channels,
        per=policy.per,
    )


def limit_checks(offer: Offer) -> list[LimitCheck]:
    """Return the checks of an offer's contact limits, also of those that it inherits."""
    return [
        LimitCheck(
            "contact",
            "contact limit",
            "offer",
            "d",
            limit.max,
            limit.window_s * 1000,
            inherited_from=demanded.source,
        )
        for demanded in offer.demands
        for limit in demanded.contact_limits
    ]


def not_after_check(rule: NotAfter, numbers: Sequence[str]) -> LimitCheck:
    """Return the check of an exclusion. ``numbers``: that of ``rule.offer``, if it names one."""
    cause = f"offer {rule.offer}" if rule.offer else f"group {rule.group}"
    return LimitCheck(
        stage="exclusion",
        name=f"not after {cause}",
        scope="offer" if rule.offer else "group",
        kinds=letters_of(rule.outcomes, all_offers=True),
        max=1,
        window_ms=rule.within_s * 1000,
        values=tuple(numbers) if rule.offer else (rule.group or "",),
    )


def rejection_check(numbers: Sequence[int], for_s: int, related: str) -> LimitCheck:
    """Return the check that suppresses for ``for_s`` after a rejection of one of ``numbers``.

    ``related`` names the relation, for people.
    """
    return LimitCheck(
        stage="exclusion",
        name=f"after a rejection ({related})",
        scope="offer",
        kinds=letters_of(("rejected",), all_offers=True),
        max=1,
        window_ms=for_s * 1000,
        values=tuple(map(str, numbers)),
    )


def suppression_check(cause: str, rule: Suppress, channel: str) -> LimitCheck:
    """Return the check of what is not offered after an outcome or a reason, in a placement of ``channel``."""
    is_wide = rule.scope in ("channel", "all")
    return LimitCheck(
        stage="exclusion",
        name=f"after {cause.replace('/', ' ')}",
        scope="all" if is_wide else cast(Scope, rule.scope),
        kinds=SUPPRESSION + SUPPRESSION.upper(),
        max=1,
        window_ms=rule.for_s * 1000,
        channels=(f"{cause}@{channel}" if rule.scope == "channel" else cause,),
    )


def preference_checks(customer: Customer) -> list[LimitCheck]:
    """Return the checks of a customer's own frequency preferences. Attributes that are no numbers are ignored."""
    attributes = customer.attributes
    found = []
    for name, window_ms in (("max_contacts_per_day", DAY_MS), ("max_contacts_per_week", WEEK_MS)):
        preferred = attributes.get(name)
        if _is_number(preferred):
            # Anything may be imported as an attribute: infinities and negative numbers become limits as well.
            limit = math.floor(min(max(float(preferred), 0.0), 1e9))
            found.append(LimitCheck("contact", f"preference {name}", "all", "d", limit, window_ms))
    gap = attributes.get("min_gap_s")
    if _is_number(gap) and gap > 0:
        window_ms = math.ceil(min(gap * 1000.0, WEEK_MS))
        found.append(LimitCheck("contact", "preference min_gap_s", "all", "d", 1, window_ms))
    return found


def longest_window_ms(offers: Iterable[Offer], policies: Iterable[ContactPolicy]) -> int:
    """Return how far back, in ms, contacts matter to any of these, so that they have to be kept.

    Where there is an offer that can use up a customer's preferences, that is a week at least.
    """
    found = [policy_check(policy).history_ms for policy in policies]
    for offer in offers:
        found += [check.window_ms for check in limit_checks(offer)]
        found += [rule.within_s * 1000 for rule in offer.not_after]
        found += [rule.for_s * 1000 for rule in offer.after_rejection]
        if not offer.transactional:
            found.append(WEEK_MS)
    return max(found, default=0)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


Rows = NDArray[np.intp]
Key = tuple[str, str | int]
"""A scope and an offer's number, a group, a goal, or nothing: what a contact may be counted under."""


class LimitIndex:
    """The checks of ``offers`` by row, and by what a contact names.

    A request touches only the checks that its customer's history can concern, however many offers there are. Checks
    that are made for every offer in a scope are held once for the scope (``_common``), all others with the rows that
    they are about (``_special``).

    ``goals``: the goal of each offer. ``everything``: all offers of the catalogue by id; exclusions may name any.
    ``None``: it is an index of ``policies`` alone.
    ``signals``: the checks of what is remembered of signals, with the rows that they close, shape ``(n,)``.
    """

    def __init__(
        self,
        offers: Sequence[Offer],
        goals: Sequence[str],
        policies: Iterable[ContactPolicy],
        everything: Mapping[str, Offer] | None,
        suppressions: Iterable[LimitCheck] = (),
        signals: Iterable[tuple[LimitCheck, BoolArray]] = (),
    ) -> None:
        self.rows: list[list[LimitCheck]] = [[] for _ in offers]
        self._offers = offers
        self._goals = goals
        self._common: dict[str, list[LimitCheck]] = defaultdict(list)
        self._special: dict[Key, list[tuple[LimitCheck, Rows]]] = defaultdict(list)
        self._members = self._counted_rows()
        self._add_policies(policies)
        for check in suppressions:
            self._add_common(check)
        for check, closed in signals:
            self._add(check, [("all", "")], np.flatnonzero(closed))
        if everything is not None:
            self._add_limits()
            self._add_exclusions(everything)
            self._add_rejections(everything.values())
        self._scopes = frozenset(self._common) | {scope for scope, _ in self._special}
        self.is_shared = self._is_shared()

    def _is_shared(self) -> bool:
        """Return whether showing one offer may use up a limit of another."""
        if any(
            "d" in check.kinds for scope in self._common if scope != "offer" for check in self._common[scope]
        ):
            return True
        return any(
            "d" in check.kinds and any((scope, self._offers[row].number) != (scope, about) for row in rows)
            for (scope, about), checks in self._special.items()
            for check, rows in checks
        )

    def counts(self, contact: Contact) -> bool:
        """Return whether any check may count a contact."""
        for key in self._keys(contact):
            common = self._common.get(key[0], ()) if key in self._members else ()
            if any(contact.kind in check.kinds for check in common):
                return True
            if any(contact.kind in check.kinds for check, _ in self._special.get(key, ())):
                return True
        return False

    def block(
        self, mask: BoolArray, history: Sequence[Contact], now_ms: int, newest: Contact | None = None
    ) -> None:
        """Set ``mask`` (shape ``(n,)``) to false where a check blocks.

        ``newest``: only checks that may count this contact of the history are looked at.
        """
        found: dict[Key, list[Contact]] = defaultdict(list)
        concerned = None if newest is None else frozenset(self._keys(newest))
        for contact in history:
            for key in self._keys(contact):
                if concerned is None or key in concerned:
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
                self._add_common(check)
                continue
            # Contacts name offers by number; a policy about an offer that is not here concerns no row.
            about: str | int | None = policy.applies_to
            if policy.scope == "offer":
                about = numbers.get(policy.applies_to)
            if about is not None:
                self._add(check, [(policy.scope, about)], self._members.get((policy.scope, about), ()))

    def _add_common(self, check: LimitCheck) -> None:
        """Add a check that is made for every offer in its scope."""
        self._common[check.scope].append(check)
        for row in self._members.get(("all", ""), ()):
            self.rows[row].append(check)

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
