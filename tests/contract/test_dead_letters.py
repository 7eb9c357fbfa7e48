"""Dead letters over HTTP: looked at without being quoted, processed again so that each counts once, dropped."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text

from app.worker.event_inbox import EventInbox
from decisioning.events.store_events import EventLog
from decisioning.events.store_inbox import Inbox
from decisioning.log.store_dead_letters import INBOX, DeadLetters
from decisioning.log.store_stream import UnreadEntry
from decisioning.model.position import StreamPosition
from storage.errors import RedisUnavailable
from tests.support.api import Instance, Nextbest, problem_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

STREAM = "nb:events:letters"
PATH = "/v1/dead-letters"


@pytest_asyncio.fixture(loop_scope="module")
async def api(nextbest: Nextbest) -> AsyncIterator[Instance]:
    """A process that knows the stream of events; nothing is set aside yet."""
    await nextbest.api.ok("PUT", "/v1/event-types/letter", json={"name": "Letter"})
    async with nextbest.api.state.engine.begin() as connection:
        await connection.execute(text("DELETE FROM dead_letters"))
    await nextbest.api.state.redis.delete(STREAM)
    async with nextbest.another(event_stream=STREAM) as instance:
        yield instance


async def set_aside(api: Instance, bucket: int, at: int, /, **fields: str) -> str:
    """Set a record aside; returns its id."""
    position = StreamPosition(f"{at}-0")
    entry = {name.encode(): value.encode() for name, value in fields.items()}
    await DeadLetters(api.state.engine).add([UnreadEntry(bucket, position, entry, f"reason {at}")])
    return f"{'events' if bucket == INBOX else bucket}:{position}"


def event(event_id: str, **fields: Any) -> str:
    """An event of a customer as it stands in the stream."""
    known = {"event_id": event_id, "customer_id": "lena", "type": "letter"}
    return json.dumps(known | fields)


async def recorded(nextbest: Nextbest) -> list[str]:
    """The ids of events of the customer that are archived, after workers took what is in the stream."""
    state = nextbest.api.state
    inbox = EventInbox(
        Inbox(state.redis, STREAM, "a worker"),
        EventLog(state.pipe, state.keys),
        DeadLetters(state.engine),
        state.catalogues.load_newer,
    )
    for _ in range(2):
        await inbox.round()
    await nextbest.worker.archive()
    query = text("SELECT event_id FROM events WHERE customer_id = 'lena' ORDER BY 1")
    async with state.engine.connect() as connection:
        return list((await connection.scalars(query)).all())


async def ids(api: Instance, **params: Any) -> list[str]:
    """The ids that a page shows."""
    return [one["id"] for one in (await api.ok("GET", PATH, params=params, role="ops"))["dead_letters"]]


async def trail(api: Instance) -> list[tuple[str, str, str, list[str]]]:
    """What the trail says of records that were set aside, the newest first."""
    actions = (await api.ok("GET", "/v1/privacy/actions", role="ops"))["actions"]
    return [
        (a["action"], a["author"], a["reason"], a["details"]["ids"])
        for a in actions
        if "dead_letters" in a["details"]
    ]


async def test_they_are_shown_by_pages_and_nothing_in_them_is_quoted(api: Instance) -> None:
    first = await set_aside(api, 3, 1, t="decided", id="d1", h='{"customer_id": "lena", "iban": "ES91"}')
    second = await set_aside(api, INBOX, 2, event=event("e2", properties={"iban": "ES91"}))
    third = await set_aside(api, INBOX, 3, event="no JSON of ES91")
    assert await ids(api) == [third, second, first]
    page = await api.ok("GET", PATH, params={"limit": 2}, role="ops")
    assert ([one["id"] for one in page["dead_letters"]], page["total"]) == ([third, second], 3)
    rest = await api.ok("GET", PATH, params={"limit": 2, "cursor": page["next"]}, role="ops")
    assert ([one["id"] for one in rest["dead_letters"]], rest["next"]) == ([first], None)
    assert "ES91" not in json.dumps([page, rest])
    unread, read = page["dead_letters"]
    assert (unread["kind"], unread["customer_id"], unread["record_id"]) == (None, None, None)
    assert (read["kind"], read["customer_id"], read["record_id"]) == ("letter", "lena", "e2")
    (logged,) = rest["dead_letters"]
    assert (logged["kind"], logged["customer_id"], logged["record_id"]) == ("decided", "lena", "d1")
    assert (logged["source"], logged["reason"], logged["parts"][0]) == (
        "log",
        "reason 1",
        {"name": "t", "bytes": 7},
    )
    assert logged["bytes"] == sum(len(p["name"]) + p["bytes"] for p in logged["parts"])
    assert await ids(api, source="log") == [first]
    assert await ids(api, source="events") == [third, second]


async def test_pages_lose_none_of_those_that_were_set_aside_in_one_moment(api: Instance) -> None:
    letters = DeadLetters(api.state.engine)
    await letters.add([UnreadEntry(b, StreamPosition("5-0"), {b"t": b"x"}, "r") for b in range(7)])
    found: list[str] = []
    cursor: dict[str, Any] = {}
    while len(found) < 8:
        page = await api.ok("GET", PATH, params={"limit": 2, **cursor}, role="ops")
        found += [one["id"] for one in page["dead_letters"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert found == [f"{bucket}:5-0" for bucket in range(6, -1, -1)]


async def test_an_event_is_put_back_once_by_however_many(api: Instance, nextbest: Nextbest) -> None:
    one = await set_aside(api, INBOX, 7, event=event("once"))
    body = {"ids": [one], "reason": "declared now"}
    answers = await asyncio.gather(
        *(api.ok("POST", f"{PATH}/retry", json=body, role="ops") for _ in range(4))
    )
    told = sorted(answer["results"][0]["status"] for answer in answers)
    assert told == ["gone", "gone", "gone", "put_back"]
    redis: Any = api.state.redis
    assert await redis.xlen(STREAM) == 1
    assert (await trail(api))[0] == ("retried", "test ops", "declared now", [one])
    assert "once" in await recorded(nextbest)
    # Should it come twice all the same, it counts once.
    again = await set_aside(api, INBOX, 8, event=event("once"))
    await api.ok("POST", f"{PATH}/retry", json={"ids": [again]}, role="ops")
    assert (await recorded(nextbest)).count("once") == 1
    assert await ids(api) == []


async def test_what_cannot_be_put_back_stays(api: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    one = await set_aside(api, INBOX, 9, event=event("stays"))

    async def fail(*_: Any) -> None:
        raise RedisUnavailable("redis did not answer")

    before = await trail(api)
    with monkeypatch.context() as patched:
        patched.setattr(Inbox, "put", fail)
        problem_of(await api.call("POST", f"{PATH}/retry", json={}, role="ops"), 503)
    assert (await ids(api), await trail(api)) == ([one], before)


async def test_without_a_stream_events_stay_and_the_answer_says_why(
    api: Instance, nextbest: Nextbest
) -> None:
    one = await set_aside(api, INBOX, 10, event=event("waits"))
    answer = await nextbest.api.ok("POST", f"{PATH}/retry", json={}, role="ops")
    (result,) = answer["results"]
    assert (result["id"], result["status"]) == (one, "refused")
    assert "NEXTBEST_EVENT_STREAM" in result["reason"]
    assert await ids(api) == [one]


async def test_records_of_the_log_are_archived_once_and_others_stay(
    api: Instance, nextbest: Nextbest
) -> None:
    state = api.state
    bucket = state.keys.bucket("lena")
    told = {"event_id": "logged", "customer_id": "lena", "type": "letter"}
    await api.ok("POST", "/v1/events", json=told)
    redis: Any = state.redis
    position, fields = (await redis.xrevrange(state.keys.log(bucket), count=1))[0]
    plain = {name.decode(): value.decode() for name, value in fields.items()}
    await redis.xdel(state.keys.log(bucket), position)
    await api.ok("POST", "/v1/events", json=told | {"event_id": "behind"})  # up to which the archiver comes
    before = await recorded(nextbest)
    assert ("logged" in before, "behind" in before) == (False, True)
    good = await set_aside(api, bucket, 12, **plain)
    bad = await set_aside(api, bucket, 11, t="of-a-later-version")
    answers = await asyncio.gather(*(api.ok("POST", f"{PATH}/retry", json={}, role="ops") for _ in range(2)))
    statuses = [{one["id"]: one["status"] for one in answer["results"]} for answer in answers]
    assert all(found[bad] == "refused" for found in statuses)
    assert sorted(found.get(good, "gone") for found in statuses) == ["archived", "gone"]
    assert "unknown type" in answers[0]["results"][-1]["reason"]
    assert (await recorded(nextbest)).count("logged") == 1
    assert await ids(api) == [bad]
    assert (await trail(api))[0][0::3] == ("retried", [good])


async def test_all_are_tried_in_turns(api: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.api.dead_letters.routes.MAX_AT_ONCE", 2)
    made = [await set_aside(api, 1, at, t="unknown") for at in range(20, 25)]
    tried: list[str] = []
    body: dict[str, Any] = {"source": "log"}
    while True:
        answer = await api.ok("POST", f"{PATH}/retry", json=body, role="ops")
        tried += [one["id"] for one in answer["results"]]
        if answer["next"] is None:
            break
        body["cursor"] = answer["next"]
    assert tried == made


async def test_they_are_dropped_for_good_with_a_reason(api: Instance) -> None:
    kept, one = await set_aside(api, 1, 30, t="x"), await set_aside(api, INBOX, 31, event="{")
    without = await api.call("POST", f"{PATH}/drop", json={"ids": [one]}, role="ops")
    problem_of(without, 422, "reason")
    problem_of(
        await api.call("POST", f"{PATH}/drop", json={"ids": [], "reason": "r"}, role="ops"), 422, "ids"
    )
    assert await ids(api) == [one, kept]
    body = {"ids": [one, one, "events:99-0"], "reason": "a test"}
    assert await api.ok("POST", f"{PATH}/drop", json=body, role="ops") == {"dropped": [one]}
    assert (await ids(api), (await trail(api))[0]) == ([kept], ("dropped", "test ops", "a test", [one]))
    gone = await api.ok("POST", f"{PATH}/retry", json={"ids": [one]}, role="ops")
    assert gone["results"] == [{"id": one, "status": "gone", "reason": "it is not set aside"}]


async def test_what_is_asked_wrongly_is_refused(api: Instance) -> None:
    one = await set_aside(api, 1, 40, t="x")
    wrong = {"ids": [one], "source": "log"}
    problem_of(await api.call("POST", f"{PATH}/retry", json=wrong, role="ops"), 422, "source")
    told = problem_of(await api.call("POST", f"{PATH}/retry", json={"ids": ["40-0"]}, role="ops"), 422)
    assert "GET /v1/dead-letters" in told["errors"][0]["reason"]
    for cursor in ("x", "1:2:events:1-1", "1:002:-1:1-1"):
        problem_of(await api.call("GET", PATH, params={"cursor": cursor}, role="ops"), 422, "cursor")
    assert await ids(api, cursor="9999999999999:000:99999:1-1") == [one]
    assert await ids(api) == [one]
