"""Previews and simulations on a sample of the customers, with what decisions would read of them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bandits.sequential_policy import LearnedState
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.kind import Entry
from decisioning.catalog.store import CatalogueStore
from decisioning.contact.own_history import unknown_name
from decisioning.decide.told import EVENTS, INTERESTS
from decisioning.errors import Invalid, InvalidRule
from decisioning.evaluation.simulation import CheckTime, NoteEmpty, Subject, preview, run_live, simulate
from decisioning.learning.replica import ArmReplica
from decisioning.log.ports import DecisionLog
from decisioning.policies.roster import Roster
from profiles.customer import Profile
from profiles.events.population import NOBODY, Population
from rules.errors import RuleError
from storage.errors import RedisUnavailable

Sample = Callable[[Mapping[str, int] | None, int], Awaitable[tuple[list[Profile], int]]]
"""Gives about so many customers, and how many there are; without the numbers of offers, what rules look at alone.

Raises ``PostgresUnavailable``.
"""

HISTORY_BATCH_SIZE = 200
MAX_MS = 30_000
MAX_NAMED = 10
"""Placements that a refusal names."""


async def _nobody() -> Population:
    """Know nothing of what is usual."""
    return NOBODY


@dataclass(frozen=True, slots=True)
class SimulationService:
    """Tries rules and changed catalogues out on customers. Nothing is reserved, logged or learned.

    What takes longer than ``max_ms`` is stopped. ``population``: reads what is usual among all customers.
    """

    sample: Sample
    catalogues: CatalogueStore
    decision_log: DecisionLog
    roster: Roster
    replica: ArmReplica
    clock_ms: Callable[[], int]
    max_ms: int = MAX_MS
    population: Callable[[], Awaitable[Population]] = _nobody

    async def preview_rule(
        self, catalogue: Catalogue, source: str, context: Mapping[str, Any], size: int
    ) -> dict[str, Any]:
        """Count the customers who meet a condition, among ``size`` of them at most.

        Raises ``InvalidRule`` for a mistake in it, ``Invalid`` if it refers to the offer, or takes too long.
        """
        try:
            # In a thread, as all that follows: other requests must not wait until an expression has been tried.
            expression = await asyncio.to_thread(catalogue.checker.check_new, source)
        except RuleError as error:
            raise InvalidRule("expression", error) from None
        if "offer" in expression.roots:
            raise Invalid(
                "expression", "refers to the offer: a preview is about customers, so leave that part out"
            )
        unknown = unknown_name(expression, catalogue.offers, catalogue.groups, catalogue.outcomes)
        if unknown is not None:
            raise InvalidRule("expression", unknown)
        profiles, total = await self.sample(None, size)
        contacts = bool(catalogue.rules.plan([expression]).history)
        events = not catalogue.rules.depends_on(expression).isdisjoint((EVENTS, INTERESTS))
        subjects = await self.subjects(profiles, contacts=contacts, events=events)
        return await asyncio.to_thread(
            preview, expression, catalogue, subjects, total, context, self.clock_ms(), self.time_limit()
        )

    async def simulate_changes(
        self,
        live: Catalogue,
        placement_id: str | None,
        changes: Sequence[Entry],
        context: Mapping[str, Any],
        size: int,
        *,
        checked: bool = True,
    ) -> dict[str, Any]:
        """Run a sample through the catalogue with ``changes`` beside the ``live`` one; ``checked`` as for ``changed``.

        ``placement_id``: may be left out where the two have one placement in common. Raises ``Invalid`` if
        there are more, the changed catalogue is not valid or it takes too long, ``NotFound`` if either lacks the
        placement.
        """
        changed = await self.catalogues.changed(live.version, changes, checked=checked)
        if placement_id is None:
            placement_id = _only_placement(live, changed)
        profiles, _ = await self.sample(changed.numbers, size)
        subjects = await self._subjects_of(profiles, placement_id, live, changed)
        return await asyncio.to_thread(
            simulate,
            live,
            changed,
            placement_id,
            subjects,
            self.roster,
            self._tables(),
            context,
            self.clock_ms(),
            self.time_limit(),
        )

    async def run_sample(
        self,
        live: Catalogue,
        placement_id: str,
        context: Mapping[str, Any],
        size: int,
        note_empty: NoteEmpty,
    ) -> tuple[dict[str, Any], int, int]:
        """Run a sample through the ``live`` catalogue, telling ``note_empty``, in a thread, of those who get nothing.

        Returns the summary, how many were looked at, and how many customers there are. Raises ``Invalid`` if it takes
        too long, ``NotFound`` if there is no such placement.
        """
        live.view(placement_id)
        profiles, total = await self.sample(live.numbers, size)
        subjects = await self._subjects_of(profiles, placement_id, live)
        found = await asyncio.to_thread(
            run_live,
            live,
            placement_id,
            subjects,
            self.roster,
            self._tables(),
            context,
            self.clock_ms(),
            self.time_limit(),
            note_empty,
        )
        return found, len(subjects), total

    def _tables(self) -> dict[str, LearnedState]:
        return {key: table for key in self.roster if (table := self.replica.table(key)) is not None}

    async def _subjects_of(
        self, profiles: Sequence[Profile], placement_id: str, *catalogues: Catalogue
    ) -> list[Subject]:
        """Put to profiles what decisions of a placement would read by any of the catalogues."""
        views = [catalogue.view(placement_id) for catalogue in catalogues]
        contacts = any(view.contact.needed or view.own_history is not None for view in views)
        events = any(catalogue.event_definitions.contributions for catalogue in catalogues)
        return await self.subjects(profiles, contacts=contacts or bool(self.roster.history), events=events)

    def time_limit(self) -> CheckTime:
        """Make what raises ``Invalid`` once ``max_ms`` have passed from now on."""
        ends_ms = self.clock_ms() + self.max_ms

        def check_time(done: int) -> None:
            if self.clock_ms() > ends_ms:
                raise Invalid(
                    "sample",
                    f"{done} customers were looked at in {self.max_ms / 1000:g} s, then it was stopped:"
                    " take a smaller one",
                )

        return check_time

    async def subjects(self, profiles: Sequence[Profile], *, contacts: bool, events: bool) -> list[Subject]:
        """Put contacts, and what events told, to profiles (nothing while Redis cannot be read)."""
        if not contacts and not events:
            return [Subject(profile) for profile in profiles]
        subjects: list[Subject] = []
        population = NOBODY
        if events:
            with suppress(RedisUnavailable):
                population = await self.population()
        for start in range(0, len(profiles), HISTORY_BATCH_SIZE):
            part = profiles[start : start + HISTORY_BATCH_SIZE]
            replies = await asyncio.gather(
                *(self.decision_log.read(p.customer.customer_id, contacts, with_events=events) for p in part),
                return_exceptions=True,
            )
            # A simulation is worth having without these, so that Redis may be away.
            for profile, reply in zip(part, replies, strict=True):
                if isinstance(reply, RedisUnavailable):
                    subjects.append(Subject(profile, unread=True))
                elif isinstance(reply, BaseException):
                    raise reply
                else:
                    told = (reply.events or b"") if events else None
                    subjects.append(Subject(profile, reply.history, events=told, population=population))
        return subjects


def _only_placement(live: Catalogue, changed: Catalogue) -> str:
    """Return the placement that is in both catalogues. Raises ``Invalid``, naming them, unless it is one alone."""
    there = sorted(live.views.keys() & changed.views.keys())
    if len(there) == 1:
        return there[0]
    if not there:
        raise Invalid(
            "placement", "the live catalogue and the changed one have none in common: apply one first"
        )
    more = f" and {len(there) - MAX_NAMED} more" if len(there) > MAX_NAMED else ""
    raise Invalid("placement", f"say which one: there are {', '.join(there[:MAX_NAMED])}{more}")
