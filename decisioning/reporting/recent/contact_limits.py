"""Counts the customers who are at a limit of a contact policy, or of their own preferences, at a time. Pure."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from decisioning.catalog.catalogue import Catalogue
from decisioning.contact.limits import LimitCheck, policy_check, preference_checks
from decisioning.evaluation.simulation import CheckTime, Subject
from decisioning.model.decision import Contact
from decisioning.model.entities import ContactPolicy

ValueOf = Callable[[Contact], str | None]
"""Gives the offer, group or goal of a contact; ``None`` if it is not known."""


@dataclass(frozen=True, slots=True)
class AtLimits:
    """Customers at a limit: by id of the contact policy, by their preferences, and at any of these."""

    looked_at: int
    policies: Mapping[str, int]
    preferences: int
    any: int


def count_at_limits(
    catalogue: Catalogue, subjects: Sequence[Subject], now_ms: int, check_time: CheckTime
) -> AtLimits:
    """Count those whom a limit keeps from at least one more contact now.

    A policy about single offers, groups or goals counts a customer once, for however many of them. A household's limit
    is looked at by the customer's own contacts alone.
    """
    ids = {number: offer_id for offer_id, number in catalogue.numbers.items()}
    values: Mapping[str, ValueOf] = {
        "offer": lambda contact: ids.get(contact.offer),
        "group": lambda contact: contact.group,
        "goal": lambda contact: contact.goal,
    }
    checks = [(policy, policy_check(policy)) for policy in catalogue.contact_policies.values()]
    policies = dict.fromkeys(catalogue.contact_policies, 0)
    preferences = at_any = 0
    for done, subject in enumerate(subjects):
        check_time(done)
        reached = [
            policy.policy_id
            for policy, check in checks
            if _is_reached(policy, check, subject.history, values.get(policy.scope), now_ms)
        ]
        for policy_id in reached:
            policies[policy_id] += 1
        preferred = any(
            check.blocked_until(subject.history, now_ms) is not None
            for check in preference_checks(subject.profile.customer)
        )
        preferences += preferred
        at_any += preferred or bool(reached)
    return AtLimits(len(subjects), policies, preferences, at_any)


def _is_reached(
    policy: ContactPolicy,
    check: LimitCheck,
    contacts: Sequence[Contact],
    value_of: ValueOf | None,
    now_ms: int,
) -> bool:
    if len(contacts) < check.max:
        return False
    if value_of is None:
        return check.blocked_until(contacts, now_ms) is not None
    by_value: dict[str, list[Contact]] = defaultdict(list)
    for contact in contacts:
        value = value_of(contact)
        if value and policy.applies_to in (None, value):
            by_value[value].append(contact)
    return any(check.blocked_until(some, now_ms) is not None for some in by_value.values())
