"""Acknowledged events are durable and count exactly once, although the API is killed while they come."""

import asyncio
import random
from typing import Any

import httpx
from msgspec import msgpack
from sqlalchemy import text

from tests.support.installation import Api, Installation
from tests.support.truth import Stores, look, wait_caught_up
from tests.support.waiting import Deadline

EVENTS, KILLS, CUSTOMERS = 300, 2, 7
MILLION = 1_000_000


async def tell_until_acknowledged(client: httpx.AsyncClient, event: dict[str, Any]) -> None:
    """Send an event as often as it takes."""
    deadline = Deadline(f"{event['event_id']} to be acknowledged", timeout_s=180)
    while True:
        try:
            response = await client.post("/v1/events", json=event)
        except httpx.TransportError:
            await asyncio.sleep(0.05)
        else:
            if response.status_code == 200:
                return
            assert response.status_code == 503, response.text
            await asyncio.sleep(0.05)
        deadline.check()


async def tell_all(api: Api, events: list[dict[str, Any]]) -> None:
    """Send all events, a few at a time, each by a client that goes on; kill the API now and then."""
    left = iter(events)
    acknowledged = 0

    async def client() -> None:
        nonlocal acknowledged
        async with api.client() as http:
            for event in left:
                await tell_until_acknowledged(http, event)
                acknowledged += 1
                if acknowledged in kills:
                    api.restart()

    kills = {EVENTS * (n + 1) // (KILLS + 1) for n in range(KILLS)}
    await asyncio.gather(*(client() for _ in range(16)))


def test_events_count_once_although_the_api_is_killed(installation: Installation) -> None:
    api = installation.serve()
    installation.work()
    api.wait()
    schema = {"properties": {"amount": {"type": "number"}}}
    api.ok("PUT", "/v1/event-types/buy", {"name": "Buy", "json_schema": schema})
    api.ok("PUT", "/v1/aggregates/bought", {"event": "buy", "function": "count", "window": "7d"})
    api.ok(
        "PUT",
        "/v1/aggregates/spent",
        {"event": "buy", "function": "sum", "property": "amount", "window": "7d"},
    )
    rng = random.Random(3)
    events: list[dict[str, Any]] = [
        {
            "event_id": f"buy-{number}",
            "customer_id": f"c{rng.randrange(CUSTOMERS)}",
            "type": "buy",
            "properties": {"amount": rng.randrange(400) / 4},
        }
        for number in range(EVENTS)
    ]
    asyncio.run(tell_all(api, events))
    api.wait()
    wait_caught_up(installation)

    async def check(found: Stores) -> None:
        async with found.engine.connect() as connection:
            rows = (await connection.execute(text("SELECT event_id, customer_id FROM events"))).all()
        assert sorted((r.event_id, r.customer_id) for r in rows) == sorted(
            (e["event_id"], e["customer_id"]) for e in events
        )
        redis: Any = found.redis
        for customer in {e["customer_id"] for e in events}:
            state = msgpack.decode(await redis.get(found.keys.events(customer)))
            mine = [e["properties"]["amount"] for e in events if e["customer_id"] == customer]
            assert sorted(sum(tiles[1::2]) for tiles in state.values()) == sorted(
                (len(mine), round(sum(mine) * MILLION))
            )

    look(installation, check)
