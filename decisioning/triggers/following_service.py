"""Following the log for triggers: what happened fires at once or begins to be waited for, and what is due fires.

A round is one turn: positions, waits and firings change together or not at all, so it may be killed anywhere.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from decisioning.catalog.catalogue import Catalogue
from decisioning.log.store_stream import Batch
from decisioning.model.decision import Decision
from decisioning.model.logged_event import LoggedEvent
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition
from decisioning.model.trigger import Trigger
from decisioning.privacy.pseudonym import PREFIX as ERASED
from decisioning.triggers.event_days import (
    Subject,
    end_date,
    fold_date,
    is_newer,
    is_of_date,
    subject_of,
    wait_key,
)
from decisioning.triggers.firing import Candidate, Firing, firing_of
from decisioning.triggers.waiting import Happening, Plan, Wait, WaitKey
from storage.clock import DAY_MS, to_iso

ENTRIES_BATCH_SIZE = 500
GATHER_S = 0.01
"""Between two looks at what no trigger looks at, so that what comes one by one is read together."""
MAX_DUE = 1000
"""Waits that are over, in one turn."""


class FiringTurn(Protocol):
    """The right to fire (``store_following.TriggerTurn``)."""

    async def last_fired(self, pairs: set[tuple[str, str]]) -> dict[tuple[str, str], int]: ...
    async def fire(self, firings: Sequence[Firing]) -> int: ...


class Turn(FiringTurn, Protocol):
    """The right to change the state of triggers (``store_following.TriggerTurn``)."""

    async def positions(self) -> dict[int, StreamPosition]: ...
    async def move(self, positions: Mapping[int, StreamPosition]) -> None: ...
    async def rest(self) -> None: ...
    async def waits(self, keys: set[WaitKey]) -> dict[WaitKey, Wait]: ...
    async def stand_for(self, customer_ids: set[str]) -> dict[str, str]: ...
    async def waits_for(self, items: set[str]) -> dict[WaitKey, Wait]: ...
    async def due(self, now_ms: int, most: int) -> list[Wait]: ...
    async def keep(self, waits: Sequence[Wait], version: int) -> None: ...
    async def drop(self, keys: Sequence[WaitKey]) -> None: ...
    async def later_events(self, asked: Sequence[tuple[str, str, int, str]]) -> set[int]: ...
    async def newest_about(self, asked: Sequence[tuple[Subject, int]]) -> dict[Subject, tuple[int, str]]: ...
    async def time_zones(self, customer_ids: set[str]) -> dict[str, Any]: ...
    async def told(self, items: set[str], outcomes: set[str]) -> set[tuple[str, str]]: ...
    async def scanned(self) -> dict[str, int]: ...
    async def scan(self, trigger_id: str, until_ms: int, version: int) -> None: ...
    async def begin_seeding(self, trigger_id: str, since_ms: int, until_ms: int) -> None: ...
    async def forget_scans(self, trigger_ids: Sequence[str]) -> None: ...


class Turns(Protocol):
    """The state of triggers, of which one at a time has the right to change it."""

    def turn(self) -> AbstractAsyncContextManager[Turn | None]: ...


class FollowedLog(Protocol):
    """The log's streams (``log.store_stream.LogReader``)."""

    async def read(
        self, positions: Mapping[int, StreamPosition], *, count: int, block_ms: int | None, decisions: bool
    ) -> Batch: ...
    async def last_positions(self) -> dict[int, StreamPosition]: ...


class AskedConditions(Protocol):
    """The conditions of triggers (``conditions_service.Conditions``)."""

    async def hold(self, catalogue: Catalogue, asked: Sequence[Candidate], now_ms: int) -> list[bool]: ...


@dataclass(frozen=True, slots=True)
class Followed:
    """The result of a turn: how many triggers fired, and whether there may be more to do at once."""

    fired: int = 0
    more: bool = False


@dataclass
class TriggerFollower:
    """Follows the log. ``buckets``: how many there are. ``find_decision``: looks up a decision by its id."""

    store: Turns
    log: FollowedLog
    conditions: AskedConditions
    find_decision: Callable[[str], Awaitable[Decision | None]]
    buckets: int
    clock_ms: Callable[[], int]
    _settled: int | None = field(default=None, init=False)
    _rests: bool = field(default=False, init=False)
    _read: dict[int, StreamPosition] = field(default_factory=dict, init=False)

    async def wait(self, plan: Plan, block_ms: int) -> None:
        """Wait up to ``block_ms`` for what ``plan`` looks at to come behind what the last turn read.

        Raises ``RedisUnavailable``.
        """
        until_ms = self.clock_ms() + block_ms
        while (left_ms := until_ms - self.clock_ms()) > 0:
            batch = await self.log.read(
                self._read, count=ENTRIES_BATCH_SIZE, block_ms=min(left_ms, block_ms), decisions=True
            )
            if any(plan.looks_at("event", logged.event.type) for logged in batch.events) or any(
                plan.looks_at("outcome", outcome.outcome) for outcome in batch.outcomes
            ):
                return
            # The next turn reads them once more, and notes that they have been seen.
            self._read |= batch.last
            await asyncio.sleep(GATHER_S)

    async def follow(self, catalogue: Catalogue, plan: Plan) -> Followed | None:
        """Follow the log for the triggers of ``plan``, as far as one turn goes. Raises ``Unavailable``.

        ``None`` if somebody else is at it.
        """
        if not catalogue.triggers and self._rests:
            return Followed()
        async with self.store.turn() as turn:
            if turn is None:
                return None
            if not plan.triggers:
                result = await self._rest(turn)
            else:
                if self._settled != catalogue.version:
                    await self._settle(turn, plan, catalogue.version)
                result = await self._take(turn, catalogue, plan)
        # Only now it is known that all of it was kept.
        self._rests, self._settled = not plan.triggers, catalogue.version
        return result

    async def _rest(self, turn: Turn) -> Followed:
        """Follow nothing. Paused triggers may go on: what they wait for is kept, unless it falls due meanwhile."""
        if not self._rests:
            await turn.rest()
        due = await turn.due(self.clock_ms(), MAX_DUE)
        await turn.drop([wait.key for wait in due])
        return Followed(more=len(due) == MAX_DUE)

    async def _settle(self, turn: Turn, plan: Plan, version: int) -> None:
        """Begin with triggers that are new, or live again; what the archive is needed for is only noted."""
        await turn.forget_scans(list(plan.triggers))
        scanned, now_ms = await turn.scanned(), self.clock_ms()
        for trigger in (*plan.idle, *plan.dated):
            if trigger.trigger_id not in scanned:
                if trigger.on.after_s is not None:
                    since_ms = now_ms - trigger.on.after_s * 1000
                    await turn.begin_seeding(trigger.trigger_id, since_ms, now_ms + DAY_MS)
                await turn.scan(trigger.trigger_id, now_ms, version)

    async def _take(self, turn: Turn, catalogue: Catalogue, plan: Plan) -> Followed:
        # Before the log is read: what is recorded later cannot have prevented what is due by now.
        now_ms = self.clock_ms()
        positions = await turn.positions()
        if not positions:
            ends = await self.log.last_positions()
            positions = {bucket: ends.get(bucket, StreamPosition.START) for bucket in range(self.buckets)}
            await turn.move(positions)
        batch = await self.log.read(positions, count=ENTRIES_BATCH_SIZE, block_ms=None, decisions=True)
        happenings = events_among(batch.events, catalogue, plan)
        happenings += await self._outcomes(turn, batch.outcomes, catalogue, plan)
        happenings = await _of_customers(turn, happenings)
        candidates = await _fold(turn, plan, happenings, catalogue.version)
        due: list[Wait] = []
        if not batch.is_full:
            due = await turn.due(now_ms, MAX_DUE)
            if await turn.stand_for({wait.key[1] for wait in due}):  # some have become part of others
                due = await turn.due(now_ms, MAX_DUE)
            candidates += await _end_waits(turn, plan, due, now_ms, catalogue.version)
        firings = await fire(turn, self.conditions, catalogue, candidates, self.clock_ms())
        await turn.move(batch.last)
        self._read = {**positions, **batch.last}
        return Followed(firings, batch.is_full or len(due) == MAX_DUE)

    async def _outcomes(
        self, turn: Turn, outcomes: Iterable[Outcome], catalogue: Catalogue, plan: Plan
    ) -> list[Happening]:
        """Make happenings of the outcomes that triggers look at, with the customers whom they are about."""
        wanted = [outcome for outcome in outcomes if plan.looks_at("outcome", outcome.outcome)]
        if not wanted:
            return []
        waits = await turn.waits_for({item_of(outcome) for outcome in wanted})
        customers = {wait.key[2]: wait.key[1] for wait in waits.values()}
        found = []
        for outcome in wanted:
            item = item_of(outcome)
            if item not in customers and plan.starts("outcome", outcome.outcome):
                decision = await self.find_decision(outcome.decision_id)
                if decision is not None and not decision.customer_id.startswith(ERASED):
                    customers[item] = decision.customer_id
            # Nobody waits for an outcome of a decision that is not there, or has been put under a pseudonym.
            if item in customers:
                found.append(happening_of(outcome, customers[item], catalogue))
        return found


async def fire(
    turn: FiringTurn,
    conditions: AskedConditions,
    catalogue: Catalogue,
    candidates: Sequence[Candidate],
    now_ms: int,
) -> int:
    """Fire what has not fired lately and whose condition holds; returns how many."""
    if not candidates:
        return 0
    ordered = sorted(candidates, key=lambda c: c.fired_at_ms)
    asked = {(c.trigger.trigger_id, c.customer_id) for c in ordered if c.trigger.again_after_s}
    last = await turn.last_fired(asked)
    ordered = [c for c in ordered if not _fired_lately(c, last)]
    held = await conditions.hold(catalogue, ordered, now_ms)
    firings = []
    for candidate, holds in zip(ordered, held, strict=True):
        if holds and not _fired_lately(candidate, last):
            last[candidate.trigger.trigger_id, candidate.customer_id] = candidate.fired_at_ms
            firings.append(firing_of(candidate, catalogue))
    return await turn.fire(firings)


async def _of_customers(turn: Turn, happenings: Sequence[Happening]) -> list[Happening]:
    """Put what happened to visitors who signed in under the customers whom they are."""
    stand_for = await turn.stand_for({happening.customer_id for happening in happenings})
    return [replace(one, customer_id=stand_for.get(one.customer_id, one.customer_id)) for one in happenings]


async def _fold(turn: Turn, plan: Plan, happenings: Sequence[Happening], version: int) -> list[Candidate]:
    """Change what is waited for by what happened, and return what fires at once."""
    keys = {key for happening in happenings for key in plan.waits_of(happening)}
    zones: Mapping[str, Any] = {}
    if plan.has_event_dates:
        of_dates = [(t, one) for one in happenings for t in plan.on_date_of(one)]
        keys |= {key for t, one in of_dates if (key := wait_key(t, one)) is not None}
        zones = await turn.time_zones({one.customer_id for _, one in of_dates})
    before = await turn.waits(keys)
    after = dict(before)
    candidates, over = [], []
    for happening in happenings:
        plan.fold(after, happening)
        for trigger in plan.on_date_of(happening):
            past = fold_date(after, trigger, happening, zones.get(happening.customer_id))
            over += [] if past is None else [replace(past, catalogue_version=version)]
        candidates += [
            Candidate(t, happening.customer_id, happening.occasion, happening.cause, happening.at_ms)
            for t in plan.fires(happening)
        ]
    await turn.drop([key for key in before if key not in after])
    await turn.keep([wait for key, wait in after.items() if before.get(key) != wait], version)
    if over:
        await turn.fire(over)
    return candidates


async def _end_waits(
    turn: Turn, plan: Plan, due: Sequence[Wait], now_ms: int, version: int
) -> list[Candidate]:
    """End waits that are over, and return what fires: what nothing has prevented that came earlier in the log."""
    over: list[tuple[Trigger, Wait]] = []
    longer, on_dates = [], []
    zones = await turn.time_zones({wait.key[1] for wait in due if is_of_date(wait)})
    for wait in due:
        trigger = plan.triggers.get(wait.key[0])
        if trigger is not None and is_of_date(wait):
            match end_date(trigger, wait, zones.get(wait.key[1]), now_ms):
                case Candidate() as candidate:
                    on_dates.append((trigger, wait, candidate))
                case Wait() as other:
                    longer.append(other)
            continue
        if trigger is None or trigger.on.after_s is None:
            continue
        due_ms = wait.since_ms + trigger.on.after_s * 1000
        if due_ms > wait.due_ms:  # it has become longer since
            wait = replace(wait, due_ms=due_ms)
        if wait.due_ms > now_ms:
            longer.append(wait)
        else:
            over.append((trigger, wait))
    await turn.drop([wait.key for wait in due])
    await turn.keep(longer, version)
    prevented = await _prevented(turn, over)
    corrected = await _corrected(turn, [(trigger, wait) for trigger, wait, _ in on_dates])
    return [candidate for _, wait, candidate in on_dates if wait.key not in corrected] + [
        Candidate(trigger, wait.key[1], wait.occasion, wait.cause, wait.due_ms)
        for trigger, wait in over
        if wait.key not in prevented
    ]


async def _corrected(turn: Turn, over: Sequence[tuple[Trigger, Wait]]) -> set[WaitKey]:
    """Find waits for days that an event corrected while their trigger was paused: it begins no wait, but ends these."""
    keyed = [(subject, wait) for trigger, wait in over if (subject := subject_of(trigger, wait)) is not None]
    newest = await turn.newest_about([(subject, wait.since_ms) for subject, wait in keyed])
    return {wait.key for subject, wait in keyed if subject in newest and is_newer(wait, *newest[subject])}


async def _prevented(turn: Turn, over: Sequence[tuple[Trigger, Wait]]) -> set[WaitKey]:
    """Find waits which something prevents that was recorded before they began, since it was told earlier."""
    asked: list[tuple[str, str, int, str]] = []
    of: list[WaitKey] = []
    items: set[str] = set()
    outcomes: set[str] = set()
    for trigger, wait in over:
        if wait.key[2]:
            items.add(wait.key[2])
            outcomes.update(trigger.on.unless)
            continue
        own = trigger.on.idle or ((trigger.on.event or "",) if trigger.on.restart else ())
        event_id = wait.occasion.partition(" ")[2]
        found = [(name, wait.since_ms) for name in trigger.on.unless]
        found += [(name, wait.since_ms + 1) for name in own]
        asked += [(wait.key[1], name, since_ms, event_id) for name, since_ms in found]
        of += [wait.key] * len(found)
    told = await turn.told(items, outcomes)
    prevented = {of[place] for place in await turn.later_events(asked)}
    for trigger, wait in over:
        if any((wait.key[2], name) in told for name in trigger.on.unless):
            prevented.add(wait.key)
    return prevented


def events_among(events: Iterable[LoggedEvent], catalogue: Catalogue, plan: Plan) -> list[Happening]:
    """Make happenings of the events that triggers look at."""
    return [
        Happening(
            "event",
            logged.event.type,
            logged.event.customer_id,
            logged.event.event_id,
            logged.contact_ms,
            {
                "event": logged.event.type,
                "event_id": logged.event.event_id,
                "occurred_at": to_iso(logged.event.at_ms),
                "properties": _impersonal(logged, catalogue),
            },
        )
        for logged in events
        if plan.looks_at("event", logged.event.type)
    ]


def _impersonal(logged: LoggedEvent, catalogue: Catalogue) -> dict[str, object]:
    declared = catalogue.event_types.get(logged.event.type)
    if declared is None:
        return {}
    return {n: value for n, value in logged.event.properties.items() if n not in declared.personal}


def item_of(outcome: Outcome) -> str:
    """Name the decided offer that an outcome is about."""
    return f"{outcome.decision_id}/{outcome.offer_id}"


def happening_of(outcome: Outcome, customer_id: str, catalogue: Catalogue) -> Happening:
    """Make a happening of an outcome."""
    offer = catalogue.offers.get(outcome.offer_id)
    return Happening(
        "outcome",
        outcome.outcome,
        customer_id,
        f"{item_of(outcome)}/{outcome.outcome}",
        min(outcome.at_ms, outcome.recorded_ms),
        {
            "outcome": outcome.outcome,
            "decision_id": outcome.decision_id,
            "offer_id": outcome.offer_id,
            "placement": outcome.placement,
            "occurred_at": to_iso(outcome.at_ms),
            "value": outcome.value,
        },
        item_of(outcome),
        outcome.offer_id,
        "" if offer is None else offer.group,
    )


def _fired_lately(candidate: Candidate, last: Mapping[tuple[str, str], int]) -> bool:
    at_ms = last.get((candidate.trigger.trigger_id, candidate.customer_id))
    again_ms = candidate.trigger.again_after_s * 1000
    # What happened earlier, and is told later, is no reason not to fire where each time counts.
    return at_ms is not None and again_ms > 0 and candidate.fired_at_ms < at_ms + again_ms
