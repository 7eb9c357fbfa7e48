"""The conditions of triggers, looked at on what a decision for the customer would know now."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.checks import checker_of_use
from decisioning.catalog.triggers.checks import trigger_expressions
from decisioning.contact.own_history import OwnHistory
from decisioning.decide.facts import facts_of
from decisioning.decide.told import told_by
from decisioning.log.ports import CustomerReading
from decisioning.model.entities import Placement
from decisioning.model.trigger import Trigger
from decisioning.triggers.firing import Candidate
from profiles.customer import Profile, decode_cached
from profiles.events.population import NOBODY, Population
from rules.evaluation import Plan, evaluate
from rules.expression import Expression
from rules.vocabulary import HISTORY
from storage.clock import to_datetime

CONCURRENT = 32
EVENT = "event"
"""The root of the properties of the event that set a trigger off."""
_NOWHERE = Placement("trigger", "trigger")
"""Segments may speak of the placement, and there is none yet."""


class Profiles(Protocol):
    """The source of profiles that the cache does not have."""

    async def load(self, customer_id: str, *, fill: bool) -> Profile: ...


@dataclass(frozen=True, slots=True)
class _Condition:
    """A compiled condition. ``of_event``: it looks at nothing but the event and the time."""

    expression: Expression
    plan: Plan
    history: OwnHistory | None
    of_event: bool


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

    async def hold(self, catalogue: Catalogue, asked: Sequence[Candidate], now_ms: int) -> list[bool]:
        """Return for each candidate whether the condition of its trigger holds now; without one: True.

        Raises ``Unavailable`` if a customer cannot be read.
        """
        if catalogue is not self._of:
            self._of, self._compiled = catalogue, {}
        conditions = [self._condition(catalogue, candidate.trigger) for candidate in asked]
        customers = list(
            {
                candidate.customer_id: None
                for candidate, condition in zip(asked, conditions, strict=True)
                if condition is not None and not condition.of_event
            }
        )
        compares = customers and catalogue.event_definitions.surveyed
        population = await self._population() if compares else NOBODY
        limit = asyncio.Semaphore(CONCURRENT)

        async def load(customer_id: str) -> Mapping[str, Any]:
            async with limit:
                return await self._facts(catalogue, customer_id, now_ms, population)

        loaded = dict(zip(customers, await asyncio.gather(*map(load, customers)), strict=True))
        return [
            condition is None or _holds(condition, loaded.get(candidate.customer_id, {}), candidate, now_ms)
            for candidate, condition in zip(asked, conditions, strict=True)
        ]

    def _condition(self, catalogue: Catalogue, trigger: Trigger) -> _Condition | None:
        if trigger.when is None:
            return None
        condition = self._compiled.get(trigger.trigger_id)
        if condition is None:
            condition = self._compiled[trigger.trigger_id] = _compile(catalogue, trigger)
        return condition

    async def _facts(
        self, catalogue: Catalogue, customer_id: str, now_ms: int, population: Population
    ) -> Mapping[str, Any]:
        reply = await self._reading.read(customer_id, True, with_events=True)
        profile = None if reply.profile is None else decode_cached(reply.profile)
        if profile is None:
            profile = await self._profiles.load(customer_id, fill=False)
        told = told_by(catalogue.event_definitions, reply.events, now_ms, population)
        return {**facts_of(profile.customer, {}, _NOWHERE, told), HISTORY: reply.history}


def _holds(condition: _Condition, loaded: Mapping[str, Any], candidate: Candidate, now_ms: int) -> bool:
    answers = {} if condition.history is None else condition.history.answers(loaded[HISTORY], now_ms)
    # As the event was logged, and as it is kept while it is waited for: whoever evaluates this finds the same.
    facts = {**loaded, EVENT: candidate.cause.get("properties", {}), HISTORY: answers}
    return evaluate(condition.plan, facts, to_datetime(now_ms)).holds(condition.expression)


def _compile(catalogue: Catalogue, trigger: Trigger) -> _Condition:
    (use,) = trigger_expressions(trigger)
    checker = checker_of_use(catalogue.checker, use, catalogue.sections)
    expression = checker.check(use.source)
    rules = catalogue.rules.of(checker.vocabulary)
    plan = rules.plan([expression])
    own = OwnHistory(plan.history, catalogue.numbers) if plan.history else None
    return _Condition(expression, plan, own, rules.depends_on(expression) <= {EVENT, "now"})
