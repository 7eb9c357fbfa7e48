"""The conditions of triggers, looked at on what a decision for the customer would know now."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from decisioning.catalog.catalogue import Catalogue
from decisioning.contact.own_history import OwnHistory
from decisioning.decide.facts import facts_of
from decisioning.decide.told import told_by
from decisioning.log.ports import CustomerReading
from decisioning.model.entities import Placement
from decisioning.model.trigger import Trigger
from profiles.customer import Profile, decode_cached
from profiles.events.population import NOBODY, Population
from rules.evaluation import Plan, evaluate
from rules.expression import Expression
from rules.vocabulary import HISTORY
from storage.clock import to_datetime

CONCURRENT = 32
_NOWHERE = Placement("trigger", "trigger")
"""Segments may speak of the placement, and there is none yet."""


class Profiles(Protocol):
    """The source of profiles that the cache does not have."""

    async def load(self, customer_id: str, *, fill: bool) -> Profile: ...


@dataclass(frozen=True, slots=True)
class _Condition:
    expression: Expression
    plan: Plan
    history: OwnHistory | None


class Conditions:
    """Evaluates the conditions of triggers. ``population``: reads what is usual among all customers."""

    def __init__(
        self, reading: CustomerReading, profiles: Profiles, population: Callable[[], Awaitable[Population]]
    ) -> None:
        self._reading = reading
        self._profiles = profiles
        self._population = population
        self._of: Catalogue | None = None
        self._compiled: dict[str, _Condition] = {}

    async def hold(
        self, catalogue: Catalogue, asked: Sequence[tuple[Trigger, str]], now_ms: int
    ) -> list[bool]:
        """Return for each trigger and customer whether the condition holds now; a trigger without one: True.

        Raises ``Unavailable`` if a customer cannot be read.
        """
        if catalogue is not self._of:
            self._of, self._compiled = catalogue, {}
        compares = (
            any(trigger.when is not None for trigger, _ in asked) and catalogue.event_definitions.against_all
        )
        population = await self._population() if compares else NOBODY
        customers = list({customer_id: None for trigger, customer_id in asked if trigger.when is not None})
        limit = asyncio.Semaphore(CONCURRENT)

        async def load(customer_id: str) -> Mapping[str, Any]:
            async with limit:
                return await self._facts(catalogue, customer_id, now_ms, population)

        loaded = dict(zip(customers, await asyncio.gather(*map(load, customers)), strict=True))
        return [
            trigger.when is None or self._holds(catalogue, trigger, loaded[customer_id], now_ms)
            for trigger, customer_id in asked
        ]

    async def _facts(
        self, catalogue: Catalogue, customer_id: str, now_ms: int, population: Population
    ) -> Mapping[str, Any]:
        reply = await self._reading.read(customer_id, True, with_events=True)
        profile = None if reply.profile is None else decode_cached(reply.profile)
        if profile is None:
            profile = await self._profiles.load(customer_id, fill=False)
        told = told_by(catalogue.event_definitions, reply.events, now_ms, population)
        return {**facts_of(profile.customer, {}, _NOWHERE, told), HISTORY: reply.history}

    def _holds(self, catalogue: Catalogue, trigger: Trigger, loaded: Mapping[str, Any], now_ms: int) -> bool:
        condition = self._compiled.get(trigger.trigger_id)
        if condition is None:
            condition = self._compiled[trigger.trigger_id] = _compile(catalogue, trigger)
        history = condition.history
        answers = {} if history is None else history.answers(loaded[HISTORY], now_ms)
        evaluation = evaluate(condition.plan, {**loaded, HISTORY: answers}, to_datetime(now_ms))
        return evaluation.holds(condition.expression)


def _compile(catalogue: Catalogue, trigger: Trigger) -> _Condition:
    expression = catalogue.checker.check(trigger.when or "true")
    plan = catalogue.rules.plan([expression])
    own = OwnHistory(plan.history, catalogue.numbers) if plan.history else None
    return _Condition(expression, plan, own)
