"""Clocks that differ by days, and jump, between processes: nothing is lost, nothing counts twice."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import pytest

from decisioning.decide.service import DecisionInputs
from decisioning.log.feedback_service import Feedback
from decisioning.log.owners import GRACE_MS
from storage import clock
from storage.clock import HOUR_MS
from tests.support.inprocess import decision_service, feedback_service, state_of
from tests.support.installation import Installation, place, publish
from tests.support.truth import Stores, check_arms, check_roll_ups, stores
from tests.support.waiting import eventually

OFFSETS_MS = (-48 * HOUR_MS, -HOUR_MS, 0, HOUR_MS, 48 * HOUR_MS)
WINDOW_S = 86_400


@pytest.fixture(scope="module")
def prepared(installation: Installation) -> Installation:
    api = installation.serve()
    installation.work()
    api.wait()
    publish(api, ["alpha", "beta", "gamma"])
    place(api, slots=2, reward_window_s=WINDOW_S)
    api.process.kill()
    return installation


def shifted(offset_ms: int) -> Callable[[], int]:
    """A clock that is wrong."""
    return lambda: clock.now_ms() + offset_ms


class Jumping:
    """A clock that jumps by hours each time that it is read."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def __call__(self) -> int:
        return clock.now_ms() + self._rng.choice(OFFSETS_MS)


async def test_clocks_that_differ_lose_nothing_and_count_nothing_twice(prepared: Installation) -> None:
    rng = random.Random(7)
    async with state_of(prepared) as state, stores(prepared) as found:
        clocks: list[Callable[[], int]] = [*map(shifted, OFFSETS_MS), Jumping(rng)]
        ids = iter(range(10**6))
        deciders = [
            decision_service(state, clock=clock, entropy=lambda: next(ids).to_bytes(16, "big"))
            for clock in clocks
        ]
        tellers = [feedback_service(state, clock) for clock in clocks]
        told: set[tuple[str, str, str]] = set()
        statuses: Counter[str] = Counter()
        for number in range(120):
            decision = await rng.choice(deciders).decide(DecisionInputs(f"c{number % 9}", "web", {}))
            assert decision["degraded"] == []
            for offer in decision["offers"]:
                name = decision["decision_id"], offer["offer_id"], rng.choice(("accepted", "rejected"))
                first, again = rng.choice(tellers), rng.choice(tellers)
                statuses[await first.record(Feedback(*name))] += 1
                assert await again.record(Feedback(*name)) == "duplicate"
                told.add(name)
        assert set(statuses) == {"recorded", "late"}
        await eventually(found.caught_up, "the worker to catch up", progress=lambda: found.reached)
        await eventually(lambda: nothing_due(found), "all windows to be closed")
        await eventually(found.caught_up, "the worker to catch up", progress=lambda: found.reached)
        rows = await found.rows("SELECT * FROM outcomes WHERE outcome NOT IN ('shown', 'closed')")
        assert {(r.decision_id, r.offer_id, r.outcome) for r in rows if r.outcome != "expired"} == told
        learned = Counter((r.decision_id, r.offer_id) for r in rows if r.reward is not None)
        assert max(learned.values()) == 1
        assert sum(r.late for r in rows) == statuses["late"]
        await check_arms(found)
        await check_roll_ups(found)


async def nothing_due(found: Stores) -> bool:
    """True if the expirer has closed all that is over by its clock."""
    return not await found.reader.due(clock.now_ms(), 10)


async def test_expirers_with_any_clock_close_once_and_feedback_races_with_them(
    prepared: Installation,
) -> None:
    rng = random.Random(8)
    async with state_of(prepared) as state, stores(prepared) as found:
        service = decision_service(state, entropy=lambda: rng.randbytes(16))
        decisions = [
            await service.decide(DecisionInputs(f"e{number % 9}", "web", {})) for number in range(60)
        ]
        teller = feedback_service(state, clock.now_ms)

        async def expire(offset_ms: int) -> int:
            now_ms = clock.now_ms() + offset_ms
            return await found.reader.expire(await found.reader.due(now_ms, 1000), now_ms, GRACE_MS)

        async def tell(number: int) -> str:
            await asyncio.sleep(rng.random() / 50)
            decision = decisions[number]
            return await teller.record(
                Feedback(decision["decision_id"], decision["offers"][0]["offer_id"], "accepted")
            )

        ahead_ms = 2 * WINDOW_S * 1000
        due = await found.reader.due(clock.now_ms() + ahead_ms, 1000)
        telling = asyncio.gather(*(tell(number) for number in range(60)))
        closed = await asyncio.gather(*(expire(ahead_ms) for _ in range(4)))
        await telling
        assert sum(closed) == len(due) >= len(decisions)
        await eventually(found.caught_up, "the worker to catch up", progress=lambda: found.reached)
        names = {decision["decision_id"] for decision in decisions}
        stored = await found.rows("SELECT * FROM outcomes WHERE outcome NOT IN ('shown', 'closed')")
        rows = [row for row in stored if row.decision_id in names]
        learned = Counter((row.decision_id, row.offer_id) for row in rows if row.reward is not None)
        assert len(learned) == 2 * len(decisions)
        assert max(learned.values()) == 1
        await check_arms(found)
        await check_roll_ups(found)
