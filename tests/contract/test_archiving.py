"""The archive takes whatever comes: old months, records that cannot be stored, ids of any age."""

import asyncio
import subprocess
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from app.config import Settings
from decisioning.log.store_partitions import MONTHS_AHEAD, MONTHS_BACK, in_months
from decisioning.log.store_stream import LogReader
from decisioning.log.store_watch import ArchiveWatch, note_worker, read_failure
from decisioning.recovery.store_restore import _outcomes
from storage.clock import now_ms, to_iso
from storage.errors import PostgresUnavailable
from storage.keys import time_of_generated
from tests.support.api import CSV, Nextbest, decide, tell
from tests.support.commands import run_command

pytestmark = pytest.mark.asyncio(loop_scope="module")

MALFORMED: list[dict[str, str]] = [
    {"nothing": "at all"},
    {"t": "unheard of"},
    {"t": "decided", "id": "d", "h": '{"score": NaN}', "c": "", "bp": ""},
    {"t": "outcome", "id": "d", "o": "gold"},
    {"t": "expired", "id": "d", "os": "gold not-a-number nan -"},
]


async def rows(nextbest: Nextbest, query: str, **values: Any) -> list[Any]:
    async with nextbest.api.state.engine.connect() as connection:
        return list((await connection.execute(text(query), values)).all())


async def partitions(nextbest: Nextbest) -> int:
    query = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'decisions'::regclass"
    return int((await rows(nextbest, query))[0][0])


def months(first_year: int) -> list[str]:
    """A row of history for each month, from a year on until now."""
    present = datetime.now(UTC)
    return [
        f"cust{year}-{month},gold,{year}-{month:02}-01T10:00:00Z,accepted"
        for year in range(first_year, present.year + 1)
        for month in range(1, 13)
        if (year, month) <= (present.year, present.month)
    ]


async def deadletters(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `nextbest deadletters`."""
    urls = {"postgres_url": settings.postgres_url, "redis_url": settings.redis_url}
    return await asyncio.to_thread(run_command, "deadletters", *arguments, **urls)


async def load(nextbest: Nextbest, lines: list[str]) -> Any:
    body = "\n".join(["customer_id,offer_id,decided_at,outcome", *lines])
    return await nextbest.api.ok("POST", "/v1/imports/history", content=body, headers=CSV)


async def test_a_history_of_many_months_is_archived_with_few_partitions(shop: Nextbest) -> None:
    lines = months(2000)
    report = await load(shop, lines)
    assert report["loaded"] == len(lines)
    await shop.worker.archive()
    query = "SELECT count(*) FROM decisions WHERE customer_id LIKE 'cust%'"
    assert (await rows(shop, query))[0][0] == len(lines)
    assert await partitions(shop) <= 1 + MONTHS_BACK + 1 + MONTHS_AHEAD
    assert (await load(shop, lines))["new"] == 0


async def test_dates_outside_of_a_plausible_range_are_refused_by_row(shop: Nextbest) -> None:
    tomorrow = to_iso(now_ms() + 2 * 86_400_000)
    report = await load(
        shop,
        [
            "ok1,gold,2000-01-01T00:00:00Z,accepted",
            "old1,gold,1999-12-31T23:59:59Z,accepted",
            f"new1,gold,{tomorrow},accepted",
            "new2,gold,2098-01-01,accepted",
        ],
    )
    assert report["loaded"] == 1
    reasons = [(r["row"], r["field"], r["reason"]) for r in report["refusals"]]
    assert reasons == [
        (2, "decided_at", "lies before the year 2000"),
        (3, "decided_at", "lies in the future"),
        (4, "decided_at", "lies in the future"),
    ]


async def test_a_record_that_cannot_be_archived_blocks_nothing(shop: Nextbest) -> None:
    redis: Any = shop.api.state.redis
    state = shop.api.state
    key = state.keys.log(state.keys.bucket("ann"))
    before = await decide(shop.api, "ann")
    for fields in MALFORMED:
        await redis.xadd(key, fields)
    # Values that can be read, and that Postgres refuses: in the middle of others that it takes.
    bucket = state.keys.bucket("ann")
    await tell(shop.api, before["decision_id"], before["offers"][0]["offer_id"], "presented")
    good = [(k, v) for k, v in (await redis.xrevrange(key, count=1))[0][1].items()]
    for number, change in enumerate(({b"o": b"go\x00ld"}, {b"n": b"99999999999"}, {b"d": b"9" * 18})):
        await redis.xadd(key, dict(good) | change | {b"id": f"poison{number}".encode()})
    after = await decide(shop.api, "ann")
    await tell(shop.api, after["decision_id"], after["offers"][0]["offer_id"], "accepted")
    await shop.worker.drain()

    found = await rows(shop, "SELECT bucket, reason FROM dead_letters ORDER BY position")
    assert [row.bucket for row in found] == [bucket] * (len(MALFORMED) + 3)
    archived = await shop.api.state.archive.decision(after["decision_id"])
    assert archived is not None
    told = await shop.api.state.archive.outcomes(after["decision_id"])
    assert "accepted" in {outcome.outcome for outcome in told}
    assert await shop.api.state.archive.decision(before["decision_id"]) is not None


async def test_lookups_by_id_prune_partitions_and_find_ids_of_any_age(shop: Nextbest) -> None:
    archive = shop.api.state.archive
    answer = await decide(shop.api, "zoe")
    at_ms = time_of_generated(answer["decision_id"])
    assert at_ms is not None
    assert abs(at_ms - now_ms()) < 60_000
    await decide(shop.api, "zoe", decision_id="zoes-own")
    await shop.worker.archive()
    logged = await archive.decision(answer["decision_id"])
    assert logged is not None
    own = await archive.decision("zoes-own")
    assert own is not None
    # The plan leaves out all other partitions, so they are not locked either.
    explained = await rows(
        shop, f"EXPLAIN SELECT * FROM decisions WHERE decision_id = 'x'{in_months(at_ms, at_ms)}"
    )
    scanned = {line for (plan,) in explained for line in plan.split() if line.startswith("decisions_")}
    assert {name for name in scanned if "pkey" not in name} == {f"decisions_{datetime.now(UTC):%Y_%m}"}
    async with shop.api.state.engine.connect() as connection:
        await connection.execute(
            text(f"SELECT * FROM decisions WHERE decision_id = :id{in_months(at_ms, at_ms)}"), {"id": "x"}
        )
        locked = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'"
        assert await connection.scalar(text(locked)) < 20


async def test_a_rebuild_reads_outcomes_from_the_months_of_their_decisions(shop: Nextbest) -> None:
    answer = await decide(shop.api, "xia")
    assert (
        await tell(shop.api, answer["decision_id"], answer["offers"][0]["offer_id"], "clicked") == "recorded"
    )
    await shop.worker.archive()
    async with shop.api.state.engine.connect() as connection:
        query = text("SELECT decision_id, decided_at FROM decisions WHERE decision_id = :id")
        decisions = (await connection.execute(query, {"id": answer["decision_id"]})).all()
    async with shop.api.state.engine.connect() as connection:
        found = await _outcomes(connection, decisions)
        assert [o.outcome for rows in found.values() for o in rows] == ["clicked"]
        locked = (
            "SELECT c.relname FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
            " WHERE l.pid = pg_backend_pid() AND c.relkind = 'r' AND c.relname LIKE 'outcomes%'"
        )
        assert list(await connection.scalars(text(locked))) == [f"outcomes_{datetime.now(UTC):%Y_%m}"]


@pytest.mark.parametrize(
    "decision_id",
    [
        "nb001-" + "f" * 32,  # random digits of an earlier build, which name no possible time
        "nb001-" + "01900000000a" + "f" * 20,  # and which name the wrong one
        "an own id of before",
    ],
)
async def test_ids_of_earlier_builds_are_found(shop: Nextbest, decision_id: str) -> None:
    answer = await decide(shop.api, "yan")
    await shop.worker.archive()
    for table in ("decisions", "outcomes"):
        async with shop.api.state.engine.begin() as connection:
            await connection.execute(
                text(f"UPDATE {table} SET decision_id = :new WHERE decision_id = :old"),
                {"new": decision_id, "old": answer["decision_id"]},
            )
    logged = await shop.api.state.archive.decision(decision_id)
    assert logged is not None
    assert logged.decision.customer_id == "yan"
    at_ms = logged.decision.decided_at_ms
    found = [await shop.api.state.archive.outcomes(decision_id, at) for at in (at_ms, None)]
    assert [o.identity for o in found[0]] == [o.identity for o in found[1]] != []


async def test_an_own_id_of_an_earlier_month_is_found_by_its_note(shop: Nextbest) -> None:
    await decide(shop.api, "xia", decision_id="xias-own")
    await shop.worker.archive()
    assert await rows(shop, "SELECT 1 FROM own_ids WHERE decision_id = 'xias-own'")
    assert not await rows(
        shop, "SELECT 1 FROM own_ids WHERE decision_id LIKE 'past-%' OR decision_id LIKE 'nb%'"
    )
    assert await shop.api.state.archive._span("xias-own") is not None
    assert await shop.api.state.archive.decision("xias-own") is not None
    assert await shop.api.state.archive.decision("nobodys-own") is None


class NoLook(ArchiveWatch):
    """A watch that sees what a test tells it, and nothing else: the process looks beside the test."""

    async def look(self) -> None:
        """See nothing new."""


async def test_answers_and_readiness_say_that_archiving_stands_still(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = shop.api.state
    watch = NoLook(state.archive, LogReader(state.redis, state.keys), state.redis)
    monkeypatch.setattr(state, "archive_watch", watch)
    await note_worker(shop.api.state.redis, now_ms())
    answer = await decide(shop.api, "will")
    assert answer["degraded"] == []
    offer_id = answer["offers"][0]["offer_id"]
    watch.still_s, watch.stands_still = 75.0, True
    try:
        body = {"decision_id": answer["decision_id"], "offer_id": offer_id, "outcome": "presented"}
        told = await shop.api.ok("POST", "/v1/feedback", json=body)
        assert told == {"status": "recorded", "degraded": ["archive_stands_still"]}
        batch = await shop.api.ok("POST", "/v1/feedback/batch", json={"items": [body]})
        assert batch["degraded"] == ["archive_stands_still"]
        assert (await decide(shop.api, "will"))["degraded"] == ["archive_stands_still"]
        ready = await shop.api.ok("GET", "/readyz", role=None)
        assert ready["warnings"] == {
            "archive": "nothing has been archived for 75 s (no worker says why: is one running?)"
        }
    finally:
        watch.still_s, watch.stands_still = 0.0, False
    assert (await shop.api.ok("GET", "/readyz", role=None))["warnings"] == {}


async def test_a_failed_round_of_the_archiver_leaves_its_reason(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*arguments: Any) -> None:
        raise asyncpg.OutOfMemoryError("out of shared memory")

    await decide(shop.api, "vic")
    with monkeypatch.context() as patched:
        patched.setattr("decisioning.log.store_archiver.Archiver._copy", refuse)
        with pytest.raises(PostgresUnavailable):
            await shop.worker.archive()
    assert await read_failure(shop.api.state.redis) == "OutOfMemoryError of PostgresUnavailable"
    await shop.worker.archive()


async def test_what_was_set_aside_is_looked_at_retried_and_dropped(shop: Nextbest) -> None:
    settings = shop.settings
    redis: Any = shop.api.state.redis
    async with shop.api.state.engine.begin() as connection:
        await connection.execute(text("DELETE FROM dead_letters"))
    key = shop.api.state.keys.log(3)
    refused = dict(MALFORMED[2])
    await redis.xadd(key, refused)
    answer = await decide(shop.api, "uma")
    await shop.worker.archive()
    moved = "UPDATE dead_letters SET entry = :entry WHERE bucket = 3 RETURNING position"
    good = (await redis.xrevrange(shop.api.state.keys.log(shop.api.state.keys.bucket("uma")), count=1))[0][1]
    listed = await deadletters(settings, "list")
    assert "cannot be read" in listed.stdout
    assert (await deadletters(settings, "retry")).returncode == 1
    # As if a later version could read it: here, what was logged is repaired.
    fields = good | {b"id": answer["decision_id"].encode()}
    async with shop.api.state.engine.begin() as connection:
        entry = [part for pair in fields.items() for part in pair]
        (position,) = (await connection.execute(text(moved), {"entry": entry})).one()
    shown = await deadletters(settings, "show", "3", position)
    assert "uma" in shown.stdout
    again = await deadletters(settings, "retry", "3", position)
    assert (again.returncode, again.stdout) == (0, f"3  {position}  archived\n")
    for line in (await deadletters(settings, "list")).stdout.splitlines():
        bucket, at, *_ = line.split()
        assert (await deadletters(settings, "drop", bucket, at)).returncode == 0
    assert not await rows(shop, "SELECT 1 FROM dead_letters")
    assert (await deadletters(settings, "drop", "3", "1-1")).returncode == 1
