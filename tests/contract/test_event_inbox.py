"""Events over a stream of Redis: each counts once, whichever worker dies, and a bad one holds up nothing."""

import asyncio
import json
import subprocess
from typing import Any

import pytest
from sqlalchemy import text

from app.worker.event_inbox import EventInbox
from decisioning.events import store_inbox
from decisioning.events.store_events import EventLog
from decisioning.events.store_inbox import Inbox
from decisioning.log.store_dead_letters import DeadLetters
from tests.support.api import Instance, Nextbest
from tests.support.commands import run_command

pytestmark = pytest.mark.asyncio(loop_scope="module")

STREAM = "nb:events:in"


def reader(api: Instance, worker: str = "a worker") -> EventInbox:
    """What takes events from the stream."""
    state = api.state
    inbox = Inbox(state.redis, STREAM, worker)
    return EventInbox(
        inbox, EventLog(state.pipe, state.keys), DeadLetters(state.engine), state.catalogues.load_newer
    )


async def put(api: Instance, event: Any) -> str:
    """Put an event into the stream; returns its position."""
    redis: Any = api.state.redis
    value = event if isinstance(event, bytes) else json.dumps(event)
    return str((await redis.xadd(STREAM, {"event": value})).decode())


def event(event_id: str, **fields: Any) -> dict[str, Any]:
    """An event of a customer."""
    return {"event_id": event_id, "customer_id": "ines", "type": "streamed"} | fields


async def left(api: Instance) -> int:
    """How many entries are in the stream."""
    redis: Any = api.state.redis
    return int(await redis.xlen(STREAM))


async def recorded(nextbest: Nextbest) -> list[str]:
    """The ids of archived events of the customer."""
    await nextbest.worker.archive()
    query = "SELECT event_id FROM events WHERE customer_id = 'ines' ORDER BY 1"
    async with nextbest.api.state.engine.connect() as connection:
        return [row[0] for row in (await connection.execute(text(query))).all()]


async def deadletters(nextbest: Nextbest, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `nextbest deadletters`."""
    settings = nextbest.settings
    urls = {"postgres_url": settings.postgres_url, "redis_url": settings.redis_url}
    return await asyncio.to_thread(run_command, "deadletters", *arguments, **urls, event_stream=STREAM)


async def test_events_of_a_stream_count_once_and_bad_ones_are_set_aside(
    nextbest: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = nextbest.api
    await api.ok("PUT", "/v1/event-types/streamed", json={"name": "Streamed"})
    first = reader(api)
    assert await first.round() == 0.0  # nothing there yet
    await put(api, event("a"))
    await put(api, event("b", occurred_at="2020-01-01T00:00:00Z"))
    await put(api, event("c", type="declared-later"))
    await put(api, b"{")
    await put(api, event("d", customer_id=""))
    await put(api, event("a"))
    await first.round()
    assert await left(api) == 0
    assert await recorded(nextbest) == ["a"]
    listed = (await deadletters(nextbest, "list")).stdout.splitlines()
    assert [line.split("  ")[0] for line in listed] == ["events"] * 4
    for reason in (
        "more than 7 days back",
        "there is no event type 'declared-later'",
        "not JSON",
        "customer_id",
    ):
        assert reason in "".join(listed)

    # One that a worker took, and did not finish before it died, is taken by another one.
    monkeypatch.setattr(store_inbox, "LEFT_MS", 0)
    await put(api, event("e"))
    assert len(await reader(api, "died").inbox.take(10, 100)) == 1
    await reader(api, "another").round()
    assert (await left(api), await recorded(nextbest)) == (0, ["a", "e"])

    await api.ok("PUT", "/v1/event-types/declared-later", json={"name": "Now it is"})
    done = await deadletters(nextbest, "retry", "events")
    assert (done.returncode, done.stdout.count("put back")) == (0, 4), done.stdout + done.stderr
    await first.round()
    assert await recorded(nextbest) == ["a", "c", "e"]
    listed = (await deadletters(nextbest, "list")).stdout.splitlines()
    assert len(listed) == 3
    position = listed[0].split("  ")[1]
    assert "event: " in (await deadletters(nextbest, "show", "events", position)).stdout
    assert (await deadletters(nextbest, "drop", "events", position)).returncode == 0
    refused = await deadletters(nextbest, "drop", "inbox", position)
    assert (refused.returncode, "write a number, or events" in refused.stderr) == (1, True)


async def test_a_type_that_was_declared_a_moment_ago_is_known(nextbest: Nextbest) -> None:
    api = nextbest.api
    job = reader(api)
    await put(api, event("before"))
    await job.round()
    await api.ok("PUT", "/v1/event-types/brand-new", json={"name": "New"})
    await put(api, event("after", type="brand-new"))
    await job.round()
    assert "after" in await recorded(nextbest)


async def test_a_stream_that_was_lost_with_redis_is_made_again(nextbest: Nextbest) -> None:
    api, redis = nextbest.api, nextbest.api.state.redis
    job = reader(api)
    await job.round()
    await redis.delete(STREAM)
    await put(api, event("anew"))
    await job.round()
    await job.round()
    assert "anew" in await recorded(nextbest)
