"""Contact policies as checks of one form, and the arithmetic by which they are decided here and in ``nb_decide``."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeGuard

from decisioning.contact.history import Contact, letters_of
from decisioning.model.entities import ContactPolicy, NotAfter, Offer, Scope
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
    is checked. ``kinds`` are letters of ``history.KIND_LETTERS``.
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
    )


def limit_checks(offer: Offer) -> list[LimitCheck]:
    """Return the checks of an offer's own contact limits."""
    return [
        LimitCheck("contact", "contact limit", "offer", "d", limit.max, limit.window_s * 1000)
        for limit in offer.contact_limits
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
        found += [limit.window_s * 1000 for limit in offer.contact_limits]
        found += [rule.within_s * 1000 for rule in offer.not_after]
        found += [rule.for_s * 1000 for rule in offer.after_rejection]
        if not offer.transactional:
            found.append(WEEK_MS)
    return max(found, default=0)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
