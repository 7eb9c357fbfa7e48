"""Contact policies as checks of one form, and the arithmetic that decides them here and in ``nb_decide``."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeGuard

from decisioning.contact.history import Contact, letters
from decisioning.model.entities import ContactPolicy, NotAfter, Offer, Scope
from profiles.customer import Customer
from storage.clock import DAY_MS

WEEK_MS = 7 * DAY_MS
NEVER_AGAIN_MS = 2**53
"""An end that never comes; Lua still counts that far."""

PREFERENCES = ("time_zone", "max_contacts_per_day", "max_contacts_per_week", "min_gap_s")
"""Attributes of a customer that the contact policy looks at. ``min_gap_s`` counts up to a week."""

_LETTER = {"offer": "o", "group": "g", "goal": "l", "all": "a"}


def blocked_until(
    times_ms: Iterable[int], max: int, window_ms: int, suppress_ms: int, now_ms: int
) -> int | None:
    """Until when contacts at ``times_ms`` block another one; ``None`` if they do not block it at ``now_ms``.

    Blocked while ``max`` contacts lie inside of the window that ends now, ``(now - window, now]`` (contacts of a clock
    that is ahead count too), and for ``suppress_ms`` after a contact with which a window was full.
    """
    if max < 1:
        return NEVER_AGAIN_MS
    times = sorted(times_ms)
    if len(times) < max:
        return None
    until = times[-max] + window_ms
    if suppress_ms:
        for last in range(len(times) - 1, max - 2, -1):
            if times[last] - times[last - max + 1] < window_ms:
                until = times[last] + suppress_ms if times[last] + suppress_ms > until else until
                break
    return until if until > now_ms else None


@dataclass(frozen=True, slots=True)
class Check:
    """At most ``max`` contacts of ``kinds`` in ``channels`` (all if empty) within any window.

    Counted are contacts with the offers, groups or goals in ``values``; ``None`` stands for those of the offer that
    is checked. ``kinds`` are letters of ``history.KINDS``.
    """

    stage: Literal["contact", "exclusion"]
    name: str
    scope: Scope
    kinds: str
    max: int
    window_ms: int
    suppress_ms: int = 0
    channels: tuple[str, ...] = ()
    values: tuple[str, ...] | None = None

    @property
    def history_ms(self) -> int:
        """How far back contacts matter."""
        return self.window_ms + self.suppress_ms

    def times(self, contacts: Iterable[Contact]) -> list[int]:
        """When those of ``contacts`` that are counted took place. Their scope is not looked at."""
        kinds, channels = self.kinds, self.channels
        return [c.at_ms for c in contacts if c.kind in kinds and (not channels or c.channel in channels)]

    def blocked_until(self, contacts: Sequence[Contact], now_ms: int) -> int | None:
        """See ``blocked_until``, for contacts that are all in scope."""
        if len(contacts) < self.max:
            return None
        return blocked_until(self.times(contacts), self.max, self.window_ms, self.suppress_ms, now_ms)

    def in_scope(self, contacts: Iterable[Contact], offer: Offer, goal: str) -> list[Contact]:
        """The contacts that this check is about when it is made for ``offer``."""
        if self.scope == "all":
            return list(contacts)
        values = self._values(offer, goal)
        if self.scope == "offer":
            return [c for c in contacts if str(c.offer) in values]
        if self.scope == "group":
            return [c for c in contacts if c.group in values]
        return [c for c in contacts if c.goal in values]

    def text(self, offer: Offer, goal: str) -> str:
        """The check of ``offer`` as ``nb_decide`` takes it: ``scope values|kinds|max|window|suppress|channels``."""
        values = "" if self.scope == "all" else ",".join(self._values(offer, goal))
        channels = ",".join(self.channels)
        return f"{_LETTER[self.scope]}{values}|{self.kinds}|{self.max}|{self.window_ms}|{self.suppress_ms}|{channels}"

    def _values(self, offer: Offer, goal: str) -> tuple[str, ...]:
        if self.values is not None:
            return self.values
        return (
            str(offer.number) if self.scope == "offer" else offer.group if self.scope == "group" else goal,
        )


def policy_check(policy: ContactPolicy) -> Check:
    """The check of a contact policy, relative to the offer."""
    return Check(
        stage="contact",
        name=policy.name,
        scope=policy.scope,
        kinds=letters(policy.outcomes),
        max=policy.max,
        window_ms=policy.window_s * 1000,
        suppress_ms=policy.suppress_s * 1000,
        channels=policy.channels,
    )


def limit_checks(offer: Offer) -> list[Check]:
    """The checks of an offer's own contact limits."""
    return [
        Check("contact", "contact limit", "offer", "d", limit.max, limit.window_s * 1000)
        for limit in offer.contact_limits
    ]


def not_after_check(rule: NotAfter, numbers: Sequence[str]) -> Check:
    """The check of an exclusion. ``numbers``: that of ``rule.offer``, if it names one."""
    what = f"offer {rule.offer}" if rule.offer else f"group {rule.group}"
    return Check(
        stage="exclusion",
        name=f"not after {what}",
        scope="offer" if rule.offer else "group",
        kinds=letters(rule.outcomes, all_offers=True),
        max=1,
        window_ms=rule.within_s * 1000,
        values=tuple(numbers) if rule.offer else (rule.group or "",),
    )


def rejection_check(numbers: Sequence[int], for_s: int, related: str) -> Check:
    """Suppressed for ``for_s`` after a rejection of one of ``numbers``. ``related`` says how they are related."""
    return Check(
        stage="exclusion",
        name=f"after a rejection ({related})",
        scope="offer",
        kinds=letters(("rejected",), all_offers=True),
        max=1,
        window_ms=for_s * 1000,
        values=tuple(map(str, numbers)),
    )


def preference_checks(customer: Customer) -> list[Check]:
    """The checks of a customer's own frequency preferences. An attribute that is no number says nothing."""
    attributes = customer.attributes
    found = []
    for name, window_ms in (("max_contacts_per_day", DAY_MS), ("max_contacts_per_week", WEEK_MS)):
        most = attributes.get(name)
        if _is_number(most):
            whole = math.floor(min(max(float(most), 0.0), 1e9))
            found.append(Check("contact", f"preference {name}", "all", "d", whole, window_ms))
    gap = attributes.get("min_gap_s")
    if _is_number(gap) and gap > 0:
        window_ms = math.ceil(min(gap * 1000.0, WEEK_MS))
        found.append(Check("contact", "preference min_gap_s", "all", "d", 1, window_ms))
    return found


def longest_ms(offers: Iterable[Offer], policies: Iterable[ContactPolicy]) -> int:
    """How far back contacts matter to any of these: what has to be kept.

    Where there is an offer that can use up a customer's preferences, that is a week at least.
    """
    found = [policy_check(policy).history_ms for policy in policies]
    for offer in offers:
        found += [limit.window_s * 1000 for limit in offer.contact_limits]
        found += [rule.within_s * 1000 for rule in offer.not_after]
        found += [rule.for_s * 1000 for rule in offer.after_rejection]
        if not offer.transactional:
            found.append(WEEK_MS)
    return max(found, default=0)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
