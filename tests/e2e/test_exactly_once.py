"""Invariant 2: what was acknowledged is durable and takes effect exactly once, whatever is sent twice or killed."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.installation import Api, Installation, everywhere, place, publish
from tests.support.truth import Stores, check_arms, check_roll_ups, look, wait_caught_up
from tests.support.waiting import wait_until

OFFERS = ("alpha", "beta", "gamma")
RETRIES = 4


@dataclass
class World:
    """Two API processes and no worker yet."""

    installation: Installation
    first: Api
    second: Api


@pytest.fixture(scope="module")
def world(installation: Installation) -> World:
    first, second = installation.serve(), installation.serve()
    worker = installation.work("first-work")
    first.wait()
    second.wait()
    worker.stop()
    publish(first, OFFERS)
    place(first, slots=2)
    place(first, "short", reward_window_s=1)
    everywhere(first, second)
    return World(installation, first, second)


async def send(client: Any, path: str, bodies: list[dict[str, Any]]) -> list[Any]:
    """Send all at once; every request must succeed."""
    responses = await asyncio.gather(*(client.post(path, json=body) for body in bodies))
    assert {response.status_code for response in responses} == {200}
    return [response.json() for response in responses]


def load(world: World, count: int) -> dict[tuple[str, str, str], float]:
    """Decisions with feedback on one of their offers, each sent by both processes several times at once.

    Returns what was told, with its values; asserts that each was recorded once.
    """
    rng = random.Random(count)

    async def run() -> dict[tuple[str, str, str], float]:
        async with world.first.client() as a, world.second.client() as b:
            bodies = [{"customer_id": f"c{rng.randrange(50)}", "placement": "web"} for _ in range(count)]
            decisions = await send(a, "/v1/decisions", bodies[::2]) + await send(
                b, "/v1/decisions", bodies[1::2]
            )
            told = {}
            for decision in decisions:
                outcome = rng.choice(("accepted", "rejected", "clicked"))
                value = rng.randrange(40) / 4
                told[decision["decision_id"], decision["offers"][0]["offer_id"], outcome] = value
            items = [
                {"decision_id": d, "offer_id": o, "outcome": outcome, "value": value}
                for (d, o, outcome), value in told.items()
            ]
            sent = [item for item in items for _ in range(RETRIES)]
            rng.shuffle(sent)
            half = len(sent) // 2
            one, two, batch = await asyncio.gather(
                send(a, "/v1/feedback", sent[:half]),
                send(b, "/v1/feedback", sent[half:]),
                send(b, "/v1/feedback/batch", [{"items": items + items}]),
            )
            answers = Counter(answer["status"] for answer in [*one, *two, *batch[0]["items"]])
            assert answers == {"recorded": count, "duplicate": count * (RETRIES + 1)}
            return told

    return asyncio.run(run())


def check_all(world: World, told: dict[tuple[str, str, str], float], closed: int = 0) -> None:
    """Everything told is in Postgres once, ``closed`` offers expired, and arms and roll-ups are folds of that."""
    wait_caught_up(world.installation)

    async def check(found: Stores) -> None:
        rows = await found.rows(
            "SELECT decision_id, offer_id, outcome, value FROM outcomes WHERE outcome NOT IN ('shown', 'closed')"
        )
        stored = [row for row in rows if row.outcome != "expired"]
        assert {(r.decision_id, r.offer_id, r.outcome): r.value for r in stored} == told
        assert len(stored) == len(told)
        assert len(rows) - len(stored) == closed
        await check_arms(found)
        await check_roll_ups(found)

    look(world.installation, check)


STEPS = [
    ("decisioning.learning.store_arms:ArmStore.put", "before"),
    ("decisioning.learning.store_arms:ArmStore.put", "after"),
    ("decisioning.log.store_archive:Archiver.write", "after"),
    ("decisioning.log.store_stream:LogReader.trim", "before"),
    ("decisioning.log.store_archive:Archiver.write_folds", "after"),
    ("decisioning.log.store_stream:LogReader.expire_present", "after"),
]


def test_invariant_2_effects_are_exactly_once(world: World) -> None:
    """Concurrent retries over two processes, while one worker after the other is killed at each of its steps."""
    told: dict[tuple[str, str, str], float] = {}
    silent = 0
    for step, when in STEPS:
        told |= load(world, 40)
        for customer in range(5):
            silent += len(world.first.decide(f"silent-{customer}", "short")["offers"])
        world.installation.work_until(step, when)
    worker = world.installation.work()

    async def closed(found: Stores) -> bool:
        rows = await found.rows("SELECT count(*) AS n FROM outcomes WHERE outcome = 'expired'")
        return bool(rows[0].n >= silent)

    wait_until(lambda: look(world.installation, closed), "all windows to be closed", explain=worker.printed)
    check_all(world, told, silent)
    worker.stop()


def test_invariant_2_an_own_id_names_one_decision(world: World) -> None:
    async def run() -> None:
        async with world.first.client() as a, world.second.client() as b:
            for number in range(20):
                body = {"customer_id": f"own-{number}", "placement": "web", "decision_id": f"order-{number}"}
                answers = [
                    x
                    for both in await asyncio.gather(*(send(c, "/v1/decisions", [body] * 5) for c in (a, b)))
                    for x in both
                ]
                assert all(answer == answers[0] for answer in answers)

    asyncio.run(run())
    worker = world.installation.work()
    wait_caught_up(world.installation)
    rows = look(
        world.installation,
        lambda found: found.rows("SELECT decision_id FROM decisions WHERE decision_id LIKE 'order-%'"),
    )
    assert sorted(row.decision_id for row in rows) == sorted(f"order-{number}" for number in range(20))
    worker.stop()
