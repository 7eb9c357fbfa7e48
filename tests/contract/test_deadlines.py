"""Answers come in time when Postgres is a black hole: it takes connections and whatever is sent, and says nothing."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy.pool import QueuePool

from decisioning.log.store_archive import LOOKUP_TIMEOUT_S
from tests.support.api import Instance, Nextbest, decide, problem_of, put_offer, tell
from tests.support.gate import Gate, gate
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEADLINE_S = 0.1
MARGIN_S = 0.5
"""For this process, which also runs the clients, Postgres and Redis, on a busy machine; it was 2 s too much."""
AT_ONCE = 30
IN_TIME: dict[str, Any] = {"placement": "home", "deadline_ms": int(DEADLINE_S * 1000)}


@dataclass(frozen=True)
class Hole:
    """An instance whose way to Postgres is the gate."""

    api: Instance
    gate: Gate


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hole(shop: Nextbest) -> AsyncIterator[Hole]:
    async with (
        gate(shop.settings.postgres_url) as way,
        shop.another(postgres_url=way.url) as api,
    ):
        yield Hole(api, way)


async def timed(work: Awaitable[Any]) -> tuple[float, Any]:
    """Wait for something; return how long it took, in seconds, and what it gave."""
    started_s = time.monotonic()
    result = await work
    return time.monotonic() - started_s, result


async def all_in_time(limit_s: float, calls: Sequence[Awaitable[Any]]) -> list[Any]:
    """Make calls at once; each must end within ``limit_s`` and the margin."""
    found = await asyncio.gather(*(timed(call) for call in calls))
    assert max(took_s for took_s, _ in found) < limit_s + MARGIN_S
    return [result for _, result in found]


async def recovered(hole: Hole, ask: Callable[[], Awaitable[Any]]) -> None:
    """Open the way again; answers must be whole soon, and no connection may be held."""
    await hole.gate.relent()

    async def whole() -> bool:
        return bool((await ask())["degraded"] == [])

    await eventually(whole, "answers to be whole again")
    pool: Any = hole.api.state.engine.pool
    assert isinstance(pool, QueuePool)

    async def returned() -> bool:
        return pool.checkedout() == 0

    await eventually(returned, "all connections to be given back")


async def test_a_decision_comes_within_its_deadline_when_postgres_is_a_black_hole(hole: Hole) -> None:
    await asyncio.gather(
        *(decide(hole.api, f"warm{n}") for n in range(AT_ONCE))
    )  # a pool of open connections
    hole.gate.swallow()
    for wave in range(3):
        calls = [decide(hole.api, f"w{wave}-{n}", **IN_TIME) for n in range(AT_ONCE)]
        for answer in await all_in_time(DEADLINE_S, calls):
            assert answer["degraded"] == ["deadline_exceeded"]
            assert [offer["offer_id"] for offer in answer["offers"]] == ["silver"]
    await recovered(hole, lambda: decide(hole.api, "back", **IN_TIME))


async def test_an_earlier_answer_is_looked_up_within_the_deadline(shop: Nextbest, hole: Hole) -> None:
    for number in range(AT_ONCE):
        await decide(shop.api, f"own{number}", decision_id=f"own-{number}")
    await shop.worker.archive()
    redis: Any = shop.api.state.redis
    for number in range(AT_ONCE):
        bucket = shop.api.state.keys.bucket(f"own{number}")
        await redis.delete(shop.api.state.keys.decision(bucket, f"own-{number}"))
    hole.gate.swallow()
    calls = [decide(hole.api, f"own{n}", decision_id=f"own-{n}", **IN_TIME) for n in range(AT_ONCE)]
    answers = await all_in_time(DEADLINE_S, calls)
    assert {answer["degraded"][0] for answer in answers} == {"deadline_exceeded"}
    await recovered(hole, lambda: decide(hole.api, "own0", decision_id="own-0", **IN_TIME))


async def test_feedback_on_what_is_archived_is_refused_in_time(shop: Nextbest, hole: Hole) -> None:
    made = [await decide(shop.api, f"told{number}") for number in range(AT_ONCE)]
    await shop.worker.archive()
    redis: Any = shop.api.state.redis
    keys = shop.api.state.keys
    for number, answer in enumerate(made):
        await redis.delete(keys.decision(keys.bucket(f"told{number}"), answer["decision_id"]))
    hole.gate.swallow()
    bodies = [{"decision_id": a["decision_id"], "offer_id": a["offers"][0]["offer_id"]} for a in made]
    calls = [hole.api.call("POST", "/v1/feedback", json=body | {"outcome": "accepted"}) for body in bodies]
    for response in await all_in_time(LOOKUP_TIMEOUT_S, calls):
        problem_of(response, 503)
    fresh = await decide(shop.api, "told0")
    assert await tell(hole.api, fresh["decision_id"], fresh["offers"][0]["offer_id"], "accepted")
    await recovered(hole, lambda: decide(hole.api, "back", **IN_TIME))


async def test_a_batch_of_feedback_waits_once_for_an_archive_that_does_not_answer(
    shop: Nextbest, hole: Hole
) -> None:
    made, fresh = await decide(shop.api, "batched"), await decide(shop.api, "waiting")
    await shop.worker.archive()
    keys = shop.api.state.keys
    await shop.api.state.redis.delete(keys.decision(keys.bucket("batched"), made["decision_id"]))
    # Each of the items is looked up for itself.
    items = [{"decision_id": made["decision_id"], "offer_id": "gold", "outcome": "clicked"}] * 500
    items.append(
        {**items[0], "decision_id": fresh["decision_id"], "offer_id": fresh["offers"][0]["offer_id"]}
    )
    hole.gate.swallow()
    took_s, answer = await timed(hole.api.ok("POST", "/v1/feedback/batch", json={"items": items}))
    assert [item["code"] for item in answer["items"]] == [503] * 500 + [200]
    assert took_s < LOOKUP_TIMEOUT_S + 2 * MARGIN_S
    await recovered(hole, lambda: decide(hole.api, "back", **IN_TIME))


async def test_leases_of_capacity_do_not_hold_up_an_answer(shop: Nextbest, hole: Hole) -> None:
    await put_offer(shop.api, "scarce", value=90)
    body = {"name": "Few", "offer": "scarce", "max": 1000, "per": "day"}
    await shop.api.ok("PUT", "/v1/capacities/few", json=body)
    newest = shop.api.state.current_catalogue().version

    async def known() -> bool:
        return hole.api.state.current_catalogue().version >= newest

    await eventually(known, "the catalogue to be known")
    for number in range(AT_ONCE):  # their profiles are in the cache: only the pool needs Postgres
        await decide(shop.api, f"cap{number}")
    redis: Any = shop.api.state.redis
    async for key in redis.scan_iter(match="nb:{cap:few}*"):
        await redis.delete(key)
    hole.gate.swallow()
    calls = [decide(hole.api, f"cap{n}", **IN_TIME) for n in range(AT_ONCE)]
    for answer in await all_in_time(DEADLINE_S, calls):
        assert answer["offers"]
    await recovered(hole, lambda: decide(hole.api, "back", **IN_TIME))
    await shop.api.ok("DELETE", "/v1/capacities/few")


async def test_readiness_says_so_in_time(hole: Hole) -> None:
    await hole.api.call("GET", "/readyz", role=None)  # the first answer of a route takes longer
    hole.gate.swallow()
    (response,) = await all_in_time(1.0, [hole.api.call("GET", "/readyz", role=None)])
    assert response.status_code == 503
    assert response.json()["checks"]["postgres"] == "does not answer"
    await recovered(hole, lambda: decide(hole.api, "back", **IN_TIME))
