"""``python -m benchmarks.memory``: the Redis memory of a waiting decision, a profile, a contact history.

In this process, on servers of its own. Of each kind the server's ``used_memory`` is told before and after it is
deleted, so everything is counted that it takes, also what the allocator rounds up. Tables of keys shrink later: their
share is added.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from rich.console import Console

from app.config import Settings
from app.embedded.server_urls import ServerUrls
from app.keys import KeyStore
from app.main import create_app
from app.state import ApiState
from benchmarks import world
from benchmarks.caller import TIMEOUT_S
from benchmarks.machine import describe
from benchmarks.plan import RESULTS, THREE_SLOTS, Plan
from benchmarks.processes import fresh_servers
from decisioning.decide.context import DecisionInputs
from nextbest_client import AsyncClient
from storage.postgres import make_engine

DECISIONS = 4_000
TOGETHER = 16
WRITTEN = RESULTS.parent / "memory.json"
TABLE_BYTES = 40
"""A key's places in the server's tables of keys and of times, at most."""
PLAN = Plan(WRITTEN, DECISIONS, (), 1, 0, 0, 0)
CONTEXTS: Mapping[str, Mapping[str, Any]] = {
    "300 B": {f"page_{number}": "x" * 40 for number in range(5)},
    "6 KB": {f"page_{number:02d}": "x" * 190 for number in range(30)},
}


def main() -> int:
    """Measure, show, save."""
    with fresh_servers() as (_, urls):
        found = asyncio.run(measure(urls))
    console = Console()
    for name, size in found.items():
        console.print(f"{name:<60}{size:>8,.0f} B", highlight=False)
    WRITTEN.write_text(
        json.dumps(
            {"bytes": {name: round(size) for name, size in found.items()}, "machine": describe()}, indent=1
        )
        + "\n"
    )
    return 0


async def measure(urls: ServerUrls) -> dict[str, float]:
    """Measure all kinds; bytes of each."""
    found: dict[str, float] = {}
    async with service(urls) as state:
        await world.fill_stores(urls, state.keys, PLAN)
        names = [
            customer.customer_id for crowd in world.draw_crowds(DECISIONS) for customer in crowd.customers
        ]
        for context, values in CONTEXTS.items():
            await decide(state, names, values)
            found[f"its record in the log, context of {context}"] = await freed(state, "log")
            found[f"waiting, three offers, context of {context}"] = TABLE_BYTES + await freed(
                state, "decision", "pending"
            )
            found["contact history of three contacts"] = TABLE_BYTES + await freed(state, "contact")
        found["profile: 12 attributes and indicators, 200 propensities"] = TABLE_BYTES + await freed(
            state, "profile"
        )
        await decide(state, names, {}, own=True)
        found["note of a caller's own id"] = TABLE_BYTES + await freed(state, "owner")
    return found


@asynccontextmanager
async def service(urls: ServerUrls) -> AsyncIterator[ApiState]:
    """The service in this process, with the catalogue of the benchmarks."""
    settings = Settings(postgres_url=urls.postgres_url, redis_url=urls.redis_url, log_level="error")
    engine = make_engine(urls.postgres_url)
    key = await KeyStore(engine).create("admin", "bench")
    await engine.dispose()
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        state: ApiState = app.state.nextbest
        transport = httpx.ASGITransport(_WithState(app, {"nextbest": state}))
        headers = {"X-API-Key": key}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://nextbest/v1", headers=headers
        ) as http:
            client = AsyncClient(http=http, timeout_s=TIMEOUT_S)
            for path, body in world.catalogue_requests():
                await client.request("PUT", path, body)
        await state.refresh()
        yield state


async def decide(state: ApiState, names: list[str], context: Mapping[str, Any], *, own: bool = False) -> None:
    """Decide once for each of these customers."""
    for first in range(0, len(names), TOGETHER):
        requests = [
            DecisionInputs(
                name,
                THREE_SLOTS,
                dict(context),
                decision_id=f"visit-{name}" if own else None,
                deadline_ms=5000,
            )
            for name in names[first : first + TOGETHER]
        ]
        for answer in await asyncio.gather(*map(state.decisions.decide, requests)):
            assert len(answer["offers"]) == 3, answer


async def freed(state: ApiState, *kinds: str) -> float:
    """Delete all keys of these kinds; returns the bytes that a decision's or a customer's share takes."""
    redis: Any = state.redis
    await asyncio.sleep(0.5)  # what was sent and answered is given back
    names = [
        name
        async for name in redis.scan_iter(count=1000)
        if name.split(b":")[2:3] in [[kind.encode()] for kind in kinds]
    ]
    before = (await redis.info("memory"))["used_memory"]
    for first in range(0, len(names), 500):
        await redis.delete(*names[first : first + 500])
    for _ in range(200):
        after = await redis.info("memory")
        if not after["lazyfree_pending_objects"]:
            break
        await asyncio.sleep(0.05)
    return float((before - after["used_memory"]) / DECISIONS)


class _WithState:
    """Passes requests on with the lifespan's state, as servers do."""

    def __init__(self, app: Any, state: Mapping[str, Any]) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app({**scope, "state": dict(self._state)}, receive, send)


if __name__ == "__main__":
    sys.exit(main())
