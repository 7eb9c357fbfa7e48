"""The facts of a request that rules and policies may use, and the results of rules that are kept between requests."""

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from msgspec import json

from decisioning.catalog.placement_view import PlacementView
from decisioning.contact.own_history import OwnHistory
from decisioning.decide.told import EVENTS, INTERESTS, NOTHING_TOLD, Told
from decisioning.model.decision import Contact
from decisioning.model.entities import Placement
from profiles.customer import Customer, Profile
from rules.evaluation import Evaluation, Facts, Results, evaluate
from rules.history import HistoryCall, parse_call
from rules.vocabulary import HISTORY
from storage.clock import to_datetime

MAX_TEXT_CHARS = 200
MAX_ITEMS = 64
MAX_CACHED_CUSTOMERS = 20_000
MAX_ASKED_BYTES = 4_096
"""So much a decision logs, as JSON, of the facts that its placement asks for."""

CacheKey = tuple[int, str, str, int]
"""Catalogue version, placement, customer, and the checksum of the profile."""


def facts_of(
    customer: Customer, context: Mapping[str, Any], placement: Placement, told: Told = NOTHING_TOLD
) -> Facts:
    """Return the facts of one request: the customer's at the first level.

    An indicator hides an attribute of its name. ``told``: what the customer's events tell.
    """
    return {
        "customer": {
            **customer.attributes,
            **customer.indicators,
            "interests": customer.interests,
            "holdings": customer.holdings,
            "customer_id": customer.customer_id,
            "known": customer.known,
        },
        "context": {**context, "channel": placement.channel, "placement": placement.placement_id},
        EVENTS: told.events,
        INTERESTS: told.interests,
    }


def history_facts(
    view: PlacementView,
    asked: Sequence[HistoryCall],
    numbers: Mapping[str, int],
    history: Sequence[Contact] | None,
    now_ms: int,
) -> Facts:
    """Return what the placement's rules, and policies (``asked``), want to know of the customer's own history.

    ``numbers``: of all offers, by id. Empty if nothing is asked, or the history cannot be read.
    """
    own = view.own_history
    if history is None or (own is None and not asked):
        return {}
    answers = {} if own is None else own.answers(history, now_ms)
    if asked:
        answers |= OwnHistory(asked, numbers).answers(history, now_ms)
    return {HISTORY: answers}


def offer_facts(view: PlacementView, row: int) -> Mapping[str, Any]:
    """Return what an expression may know of an offer."""
    offer = view.offers[row]
    return {
        **offer.attributes,
        "offer_id": offer.offer_id,
        "group": offer.group,
        "goal": view.goals[row],
        "value": offer.value,
    }


def learnable(facts: Facts, paths: Iterable[str]) -> dict[str, Any]:
    """Select the facts under ``paths`` that are known: they are logged, and policies learn from them.

    As plain JSON: numbers, truth values and texts; lists of texts; mappings of texts to numbers. Long ones are cut,
    others left out.
    """
    found = {}
    for path in paths:
        value: Any = facts
        call = parse_call(path) if path.startswith(f"{HISTORY}.") else None
        for name in (path if call is None else call.path).split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        plain = _plain(value)
        if plain is not None:
            found[path] = plain
    return found


def facts_to_log(facts: Facts, learned: Iterable[str], asked: Sequence[str]) -> dict[str, Any]:
    """Select the facts that are logged: those under the paths ``learned``, and those that a placement ``asked`` for.

    Of the latter, those that would take more than what is left of ``MAX_ASKED_BYTES`` are left out.
    """
    found = learnable(facts, learned)
    if not asked:
        return found
    left = MAX_ASKED_BYTES
    for path, value in learnable(facts, (path for path in asked if path not in found)).items():
        size = len(path) + len(json.encode(value))
        if size <= left:
            left -= size
            found[path] = value
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value[:MAX_TEXT_CHARS]
    if isinstance(value, int):
        if abs(value) < 2**53:
            return value
        # Logged and learned from as the nearest float; beyond 64 bits it is no number that anything was told.
        return float(value) if abs(value) < 2**63 else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [item[:MAX_TEXT_CHARS] for item in value[:MAX_ITEMS] if isinstance(item, str)]
    if isinstance(value, Mapping):
        numbers = (
            (key, number)
            for key, number in sorted(value.items())
            if isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
        )
        return dict(islice(numbers, MAX_ITEMS))
    return None


class RuleResultCache:
    """Results of rules that depend on the customer alone, for the customers seen last.

    They are kept for as long as the profile stays the same. A profile that was not read from the cache of profiles has
    no checksum, so nothing is kept of it.
    """

    def __init__(self, max_customers: int = MAX_CACHED_CUSTOMERS) -> None:
        self._max_customers = max_customers
        self._results: OrderedDict[CacheKey, Results] = OrderedDict()

    def evaluate(
        self, version: int, view: PlacementView, profile: Profile, facts: Facts, now_ms: int, *, explain: bool
    ) -> Evaluation:
        """Evaluate the view's rules on ``facts``, taking what is known of this customer from the cache.

        ``version``: the catalogue's. ``explain``: an explanation shows all that was looked at, so everything is
        evaluated anew.
        """
        plan, now = view.plan, to_datetime(now_ms)
        if not plan.lasting or not profile.fingerprint:
            return evaluate(plan, facts, now)
        key = version, view.placement.placement_id, profile.customer.customer_id, profile.fingerprint
        known = None if explain else self._results.get(key)
        evaluation = evaluate(plan, facts, now, known)
        if known is None:
            self._results[key] = evaluation.lasting(plan)
            if len(self._results) > self._max_customers:
                self._results.popitem(last=False)
        else:
            self._results.move_to_end(key)
        return evaluation
