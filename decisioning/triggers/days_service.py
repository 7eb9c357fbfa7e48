"""Firing on days: customers are looked through when it is the time of the day somewhere.

What was missed is caught up, as far as its deadline is not over. A scan may be killed anywhere: it is done again, and
who has been found already has fired for this day.
"""

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from decisioning.catalog.catalogue import Catalogue
from decisioning.model.trigger import Trigger
from decisioning.triggers.days import DueDay, due_between, held_between, may_be_due
from decisioning.triggers.firing import Candidate
from decisioning.triggers.following_service import AskedConditions, FiringTurn, fire
from decisioning.triggers.store_days import HeldDate

AT_ONCE = 500
"""Customers for whom it fires in one turn."""
DISTINCT = 4096
"""Values of dates, with their zones, of which is kept when they are due."""


class DaysTurnPort(FiringTurn, Protocol):
    """The right to fire for days (``store_days.DaysTurn``)."""

    async def existing(self, customer_ids: Collection[str]) -> set[str]: ...
    async def scanned(self) -> dict[str, int]: ...
    async def move_scan(self, trigger_id: str, since_ms: int, until_ms: int) -> None: ...


class Days(Protocol):
    """Customers by what their attributes hold (``store_days.DaysStore``)."""

    def turn(self) -> AbstractAsyncContextManager[DaysTurnPort | None]: ...
    def held(self, name: str, day: str, most: int) -> AsyncGenerator[Sequence[HeldDate]]: ...


@dataclass
class DayWatch:
    """Makes triggers on dates fire."""

    days: Days
    conditions: AskedConditions
    clock_ms: Callable[[], int]

    async def look(self, catalogue: Catalogue, triggers: Sequence[Trigger]) -> int:
        """Fire what has become due; returns how many firings there are more. Raises ``Unavailable``."""
        if not triggers:
            return 0
        async with self.days.turn() as turn:
            scanned = {} if turn is None else await turn.scanned()
        fired, now_ms = 0, self.clock_ms()
        for trigger in triggers:
            # One that is not there yet begins when the follower of the log first sees it.
            since_ms = scanned.get(trigger.trigger_id)
            if since_ms is not None and may_be_due(trigger.on, since_ms, now_ms):
                fired += await self._scan(catalogue, trigger, since_ms, now_ms)
        return fired

    async def _scan(self, catalogue: Catalogue, trigger: Trigger, since_ms: int, now_ms: int) -> int:
        name, fired = (trigger.on.date or "").removeprefix("customer."), 0
        scanned_ms, since_ms = since_ms, max(since_ms, now_ms - trigger.within_s * 1000)

        @lru_cache(DISTINCT)
        def due_of(value: str, zone: Any) -> tuple[DueDay, ...]:
            return tuple(due_between(trigger.on, value, zone, since_ms, now_ms))

        for day in held_between(trigger.on, since_ms, now_ms):
            async with aclosing(self.days.held(name, day, AT_ONCE)) as pages:
                async for page in pages:
                    some = [
                        _candidate(trigger, held.customer_id, due)
                        for held in page
                        for due in due_of(held.value, held.time_zone)
                    ]
                    if not some:
                        continue
                    async with self.days.turn() as turn:
                        if turn is None:  # another worker looks through them
                            return fired
                        known = await turn.existing({one.customer_id for one in some})
                        here = [one for one in some if one.customer_id in known]
                        fired += await fire(turn, self.conditions, catalogue, here, now_ms)
        async with self.days.turn() as turn:
            if turn is not None:
                await turn.move_scan(trigger.trigger_id, scanned_ms, now_ms)
        return fired


def _candidate(trigger: Trigger, customer_id: str, due: DueDay) -> Candidate:
    day = due.day.isoformat()
    return Candidate(trigger, customer_id, f"day {day}", {"date": trigger.on.date, "day": day}, due.at_ms)
