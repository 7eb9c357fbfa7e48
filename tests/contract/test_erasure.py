"""An erasure leaves nothing of a person anywhere, and replays, learning and reports as they were."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text
from typer.testing import CliRunner

from app.api.privacy.services import eraser_of, exporter_of
from app.cli import app
from app.config import Settings
from decisioning.contact.store_lifting import SignalLifter
from decisioning.evaluation.replay_service import replay
from decisioning.learning.store_arms import ArmStore
from decisioning.log.store_archive import ArchiveReader
from decisioning.privacy.erasure_service import SETTLE_MARGIN_S, PersonEraser
from decisioning.privacy.pseudonym import PREFIX
from decisioning.recovery.store_rebuild import Rebuilder
from decisioning.triggers.decision_service import DEADLINE_MS
from decisioning.triggers.delivery import OpenFiring
from decisioning.triggers.firing import Firing
from decisioning.triggers.store_delivery import FiringDeliveries
from decisioning.triggers.store_firings import insert_firings
from decisioning.triggers.store_outbox import TriggerStreams
from profiles.errors import ErasedCustomer
from profiles.privacy.store_erasures import TABLES
from storage import clock
from storage.functions import function_name
from tests.support.api import CSV, Instance, Nextbest, decide, problem_of, tell
from tests.support.erased_person import (
    CANARY,
    HOME,
    KEY,
    ME,
    VISITOR,
    bring_in,
    decide_for_all,
    export_all,
    files_with,
    leave_open,
    set_aside,
    set_up,
)
from tests.support.triggers import Triggers
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


PLANTED = (
    *("customers", "consent_records", "propensities", "suppressions", "customer_notes", "lifted_signals"),
    *("aliases", "decisions_default", "outcomes", "events", "trigger_firings", "trigger_waits"),
    *("asked_days", "fired_customers", "canary_customers", "dead_letters", "shadow_choices"),
)
"""Tables in which the person is found before the erasure."""


async def told_of_everything(shop: Nextbest) -> None:
    """The state of events holds the last text and the keys of cases; nothing of it is the other customers'."""
    told = (await shop.api.ok("GET", f"/v1/customers/{ME}/told"))["events"]
    assert told["last_said"] == CANARY
    assert (told["open_cases"], told["about_one"]) == (1, 3)


async def stored_with(nextbest: Nextbest, needle: str) -> list[str]:
    """Where a text stands: tables of Postgres, keys of Redis, and files of exports."""
    state, found = nextbest.api.state, []
    as_hex = needle.encode().hex()
    async with state.engine.connect() as connection:
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        for (table,) in (await connection.execute(text(tables))).all():
            query = f"SELECT count(*) FROM {table} t WHERE position(:a in t::text) > 0 OR position(:b in t::text) > 0"
            if await connection.scalar(text(query), {"a": needle, "b": as_hex}):
                found.append(f"table {table}")
    redis: Any = state.redis
    readers: Mapping[bytes, Any] = {
        b"string": redis.get,
        b"hash": redis.hgetall,
        b"zset": lambda key: redis.zrange(key, 0, -1, withscores=True),
        b"stream": redis.xrange,
        b"set": redis.smembers,
        b"list": lambda key: redis.lrange(key, 0, -1),
    }
    async for key in redis.scan_iter():
        kind = await redis.type(key)
        value = None if kind == b"none" else await readers[kind](key)  # one that has just expired
        if needle in repr((key, value)):
            found.append(f"key {key.decode()}")
    return found + await asyncio.to_thread(files_with, nextbest.settings.export_dir, needle.encode())


async def erase(api: Instance, customer_id: str, **body: Any) -> Any:
    return await api.ok("POST", f"/v1/customers/{customer_id}/erase", json=body, role="ops")


@pytest.fixture(scope="module", autouse=True)
def settled() -> Iterator[None]:
    """No decision is under way when a person is erased here, so nothing has to be waited for."""

    async def at_once(seconds: float) -> None:
        pass

    patch = pytest.MonkeyPatch()
    patch.setattr(PersonEraser.__init__, "__defaults__", (at_once,))
    yield
    patch.undo()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lived(shop: Nextbest) -> dict[str, Any]:
    """A person with a trace of everything, beside others; policies learned from it all. Returns what was before."""
    state = shop.api.state
    await set_up(shop)
    await bring_in(shop)
    made = await decide_for_all(shop)
    await export_all(shop)
    waiting = await leave_open(shop)
    await set_aside(shop)
    planted = set(await stored_with(shop, CANARY))
    assert {f"table {table}" for table in PLANTED} <= planted
    keys = state.keys
    names = {keys.household(HOME), keys.events(ME), keys.event_ids(ME), keys.contact(ME), keys.profile(ME)}
    names |= {keys.absorbed(ME), keys.alias(VISITOR), keys.log(keys.bucket(ME)), "nb:triggered"}
    assert {f"key {key}" for key in names} <= planted
    await told_of_everything(shop)
    held = await exporter_of(state).customer_log.set_aside(ME, set())
    found = [one["position"] for one in held]
    assert sorted(found) == ["1-0", "1-1", "1-1"]  # but not what nobody can read
    return {"made": made, "waiting": waiting, **(await state_of(shop, made))}


async def state_of(shop: Nextbest, made: list[Any]) -> dict[str, Any]:
    """Replays, arms as a rebuild makes them, and a report."""
    state = shop.api.state
    log = ArchiveReader(state.engine)
    replays = [await replay(answer["decision_id"], log, state.catalogues, state.roster) for _, answer in made]
    rebuilder = Rebuilder(state.engine, state.redis, state.keys, state.roster, state.catalogues, clock.now_ms)
    await rebuilder.rebuild()
    report = await shop.api.ok("GET", "/v1/reports/acceptance", role="ops")
    return {"replays": replays, "arms": await arms_of(shop), "report": report}


async def arms_of(shop: Nextbest) -> dict[str, Any]:
    """The arms of all policies that learned."""
    store = ArmStore(shop.api.state.redis, shop.api.state.keys)
    found = {key: await store.load(key) for key in (KEY, "calibrated@1", "thompson@1")}
    return {key: None if arms is None else dict(arms.fields) for key, arms in found.items()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def erased(shop: Nextbest, lived: dict[str, Any]) -> Any:
    """The answer to the erasure."""
    return await erase(shop.api, ME, reason="request 4711")


async def test_nothing_of_the_person_is_anywhere(shop: Nextbest, erased: Any) -> None:
    assert erased["customers"] == erased["propensities"] == erased["aliases"] == 1
    assert erased["suppressions"] == 3
    assert erased["customer_notes"] == 2
    assert erased["lifted_signals"] == 2  # of the person, and of the visitor who became part
    assert erased["set_aside"] == 5
    async with shop.api.state.engine.connect() as connection:
        query = text("SELECT position FROM dead_letters WHERE bucket >= 0")
        assert (await connection.scalars(query)).all() == ["1-3"]
    assert erased["decisions"] == 8
    assert erased["events"] == 3
    assert erased["stream_entries"] >= 3
    assert erased["waiting_decisions"] >= 7
    assert erased["canary_tests"] == 1
    assert erased["trigger_firings"] == 2  # the visitor called, too
    assert erased["trigger_waits"] == 2  # that nothing comes, and for the day of the order
    assert erased["inexact"] == 0
    assert len(erased["exports"]) == 4  # arms are nobody's, and no decision was closed, as dsjson wants them

    async def gone() -> bool:
        return await stored_with(shop, CANARY) == []

    redis: Any = shop.api.state.redis
    assert [entry[b"id"] for _, entry in await redis.xrange("nb:triggered")] == [b"f2"]
    assert await Triggers(shop).follow() == 0, "nothing is made of what was in the stream"
    # The mark in the cache of profiles that nothing is known lives for five seconds.
    await eventually(gone, "nothing to be left of the person", progress=lambda: None)
    for export_id in erased["exports"]:
        problem_of(await shop.api.call("GET", f"/v1/exports/{export_id}"), 404)
    assert {path.name[:3] for path in shop.settings.export_dir.iterdir()} == {
        "ex-"
    }  # the arms are still there


async def test_a_register_goes_on_protecting_and_no_household_nor_error_tells_of_the_person(
    shop: Nextbest, erased: Any
) -> None:
    state: Any = shop.api.state
    async with state.engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM register_entries")) == 1
        errors = await connection.scalars(text("SELECT DISTINCT error FROM shadow_choices"))
        assert errors.all() == ["ValueError"], "the kind of an error stays"
    assert await state.redis.exists(state.keys.household(HOME)) == 0


async def test_replays_learning_and_reports_are_as_they_were(
    shop: Nextbest, lived: dict[str, Any], erased: Any
) -> None:
    after = await state_of(shop, lived["made"])
    assert all(one.identical for one in after["replays"])
    assert [one.logged for one in after["replays"]] == [one.logged for one in lived["replays"]]
    assert after["arms"] == lived["arms"]
    assert after["report"] == lived["report"]


async def test_what_was_not_learned_yet_is_learned_as_it_would_have_been(
    shop: Nextbest, lived: dict[str, Any], erased: Any
) -> None:
    await shop.worker.drain()
    (logged,) = await rows_of(shop, "own-late")
    assert logged["facts"]["customer.age"] == 41.5
    assert logged["facts"]["customer.plan"] == "full"
    assert logged["facts"]["customer.city"].startswith("~")
    assert logged["facts"]["context.word"].startswith("~")
    assert "context" not in logged or logged["context"] == {}
    assert logged["erased"] is True
    assert logged["customer_id"].startswith("erased-")
    one = await replay(
        "own-late", ArchiveReader(shop.api.state.engine), shop.api.state.catalogues, shop.api.state.roster
    )
    assert one.identical


async def rows_of(shop: Nextbest, decision_id: str) -> list[dict[str, Any]]:
    async with shop.api.state.engine.connect() as connection:
        query = text("SELECT header FROM decisions WHERE decision_id = :id")
        return [row.header for row in await connection.execute(query, {"id": decision_id})]


async def test_feedback_on_an_earlier_decision_counts_under_the_pseudonym(
    shop: Nextbest, lived: dict[str, Any], erased: Any
) -> None:
    waiting = lived["waiting"]
    assert (
        await tell(shop.api, waiting["decision_id"], waiting["offers"][0]["offer_id"], "accepted")
        == "recorded"
    )
    await shop.worker.drain()
    record = await shop.api.ok("GET", f"/v1/decisions/{waiting['decision_id']}")
    assert record["customer_id"].startswith("erased-")
    assert "accepted" in [outcome["outcome"] for outcome in record["outcomes"]]
    assert await stored_with(shop, CANARY) == []


async def test_days_that_are_rolled_up_count_under_the_pseudonym(shop: Nextbest, erased: Any) -> None:
    async with shop.api.state.engine.connect() as connection:
        (customer_id,) = await connection.scalars(text("SELECT customer_id FROM asked_days"))
        marks = (await connection.execute(text("SELECT day::text, done FROM rolled_up_days"))).all()
        (fired,) = await connection.scalars(text("SELECT customer_id FROM fired_customers"))
    assert customer_id == fired
    assert customer_id.startswith(PREFIX)
    assert [*map(tuple, marks)] == [
        ("2026-01-02", True)
    ]  # the other one may have the customer's id: it begins anew


async def test_an_erased_decision_is_not_explained(
    shop: Nextbest, lived: dict[str, Any], erased: Any
) -> None:
    of_me = next(answer for customer_id, answer in lived["made"] if customer_id == ME)
    problem = problem_of(await shop.api.call("GET", f"/v1/decisions/{of_me['decision_id']}/explanation"), 409)
    assert "erased" in problem["detail"]
    of_other = next(answer for customer_id, answer in lived["made"] if customer_id != ME)
    await shop.api.ok("GET", f"/v1/decisions/{of_other['decision_id']}/explanation")


async def test_others_are_left_alone(shop: Nextbest, lived: dict[str, Any], erased: Any) -> None:
    found = await shop.api.ok("GET", "/v1/customers/other-1/export")
    assert len(found["decisions"]) == 6
    assert found["decisions"][-1]["record"]["context"] == {"word": "hello"}
    assert [one["event"] for one in found["set_aside"]] == [{"customer_id": "other-1", "type": "none"}]


async def test_the_trail_has_the_erasure_without_the_id(shop: Nextbest, erased: Any) -> None:
    found = (await shop.api.ok("GET", "/v1/privacy/actions", params={"customer_id": ME}))["actions"]
    entry, *before = found
    assert {one["action"] for one in before} == {"recorded", "rectified", "suppressed", "merged", "lifted"}
    assert CANARY not in str(found)
    assert (entry["action"], entry["author"], entry["reason"]) == ("erased", "test ops", "request 4711")
    assert entry["details"]["decisions"] == 8


async def test_who_is_kept_out_is_not_stored_again_and_counts_as_suppressed(shop: Nextbest) -> None:
    api, me = shop.api, "leaver"
    await api.ok("PUT", f"/v1/customers/{me}", json={"consents": {"marketing": ["*"]}})
    assert (await decide(api, me, "home"))["offers"]
    await erase(api, me)
    answer = await decide(api, me, "home")
    assert (answer["offers"], answer["nothing_right_now"]) == ([], True)
    problem = problem_of(await api.call("PUT", f"/v1/customers/{me}", json={}), 409)
    assert "readmit" in problem["detail"]
    for kind, content in {
        "customers": f"customer_id,attributes.age\n{me},4\nstayer,5\n",
        "consents": f"customer_id,purpose,channel,given\n{me},marketing,web,true\nstayer,marketing,web,true\n",
        "propensities": f"customer_id,offer_id,propensity\n{me},gold,0.5\nstayer,gold,0.5\n",
        "history": f"customer_id,offer_id,decided_at,outcome\n{me},gold,2020-01-01T10:00:00Z,accepted\n"
        "stayer,gold,2020-01-01T10:00:00Z,accepted\n",
    }.items():
        report = await api.ok("POST", f"/v1/imports/{kind}", content=content.encode(), headers=CSV)
        assert (report["loaded"], report["refused"]) == (1, 1), kind
        assert "erased on request" in report["refusals"][0]["reason"]
    await api.call("DELETE", f"/v1/customers/{me}/erasure")
    await api.ok("PUT", f"/v1/customers/{me}", json={"attributes": {"age": 4}})
    assert (await decide(api, me, "home"))["offers"]
    problem_of(await api.call("DELETE", f"/v1/customers/{me}/erasure"), 404)
    actions = (await api.ok("GET", "/v1/privacy/actions", params={"customer_id": me}))["actions"]
    assert [entry["action"] for entry in actions] == ["recorded", "readmitted", "erased", "recorded"]


async def test_who_is_not_kept_out_may_be_stored_again_at_once(shop: Nextbest) -> None:
    await shop.api.ok("PUT", "/v1/customers/tester", json={"attributes": {"age": 3}})
    await erase(shop.api, "tester", keep_out=False)
    problem_of(await shop.api.call("GET", "/v1/customers/tester"), 404)
    await shop.api.ok("PUT", "/v1/customers/tester", json={"attributes": {"age": 4}})


async def test_an_erasure_may_be_repeated(shop: Nextbest, erased: Any) -> None:
    again = await erase(shop.api, ME)
    assert {name: value for name, value in again.items() if value} == {}


async def test_a_decision_that_was_being_made_is_erased_with_the_rest(shop: Nextbest) -> None:
    await shop.api.ok("PUT", "/v1/customers/flying", json={"attributes": {"age": 3}})
    waited_s = []

    async def logs_meanwhile(seconds: float) -> None:
        waited_s.append(seconds)
        await decide(shop.api, "flying", "home", context={"free": "in flight"})

    eraser = replace(await eraser_of(shop.api.state), sleep=logs_meanwhile)
    await eraser.erase("flying", "test", "", keep_out=False)
    placements = shop.api.state.current_catalogue().placements.values()
    longest_ms = max(DEADLINE_MS, *(one.deadline_ms for one in placements))
    assert waited_s == [longest_ms / 1000 + SETTLE_MARGIN_S]
    await shop.worker.drain()
    assert await stored_with(shop, "in flight") == []
    held = await shop.api.ok("GET", "/v1/customers/flying/export")
    assert (held["decisions"], held["not_archived"], held["contacts"]) == ([], [], [])


async def test_signals_that_are_lifted_meanwhile_are_erased_with_the_rest(shop: Nextbest) -> None:
    state, visitor = shop.api.state, "visitor:lifting-0123456789"
    lifter = SignalLifter(state.engine, state.redis, state.keys)
    await shop.api.ok("POST", "/v1/customers/lifting/merge", json={"visitor_id": visitor})
    refused = []

    async def lifts_meanwhile(seconds: float) -> None:
        try:
            await lifter.lift(["lifting", visitor], "angry", "test", "", clock.now_ms())
        except ErasedCustomer as error:
            refused.append(error)

    eraser = replace(await eraser_of(state), sleep=lifts_meanwhile)
    for keep_out in (False, True):
        assert refused == []
        await eraser.erase("lifting", "test", "", keep_out=keep_out)
        async with state.engine.connect() as connection:
            assert await connection.scalar(text("SELECT count(*) FROM lifted_signals")) == 0
    assert len(refused) == 1


async def fire(shop: Nextbest, customer_id: str, occasion: str) -> OpenFiring:
    """Let a trigger fire, and take that up as a worker does."""
    now_ms = clock.now_ms()
    firing = Firing("called", 1, customer_id, occasion, {"free": "in flight"}, now_ms, now_ms + 60_000)
    async with shop.api.state.engine.begin() as connection:
        await insert_firings(connection, [firing])
    (taken,) = await FiringDeliveries(shop.api.state.engine).claim({"called": 9}, {}, now_ms)
    return taken


async def test_what_a_worker_decides_and_delivers_unasked_is_erased_with_the_rest(shop: Nextbest) -> None:
    """A firing that is taken up already, and one that is made while the erasure waits, of what a stream still has."""
    await shop.api.ok("PUT", "/v1/customers/fired", json={"attributes": {"age": 3}})
    deliveries = FiringDeliveries(shop.api.state.engine)
    taken = [await fire(shop, "fired", "before")]
    waited = []

    async def worker_goes_on(_: float) -> None:
        waited.append([await deliveries.holds(firing) for firing in taken])
        # It had just looked: what it decides is logged before the erasure looks through the log.
        await decide(shop.api, "fired", "home", context={"free": "in flight"})
        body = json.dumps({"data": {"customer_id": "fired", "cause": "in flight"}})
        await TriggerStreams(shop.api.state.redis).put("nb:triggered", "f", body)
        if len(taken) == 1:
            taken.append(await fire(shop, "fired", "meanwhile"))

    eraser = replace(await eraser_of(shop.api.state), sleep=worker_goes_on)
    erased = await eraser.erase("fired", "test", "", keep_out=False)
    assert waited == [[False], [False, False]], "deleted before the erasure waits, so that workers see it"
    assert erased.counts["trigger_firings"] == 2
    await shop.worker.drain()
    assert await stored_with(shop, "in flight") == []


async def test_a_rewritten_stream_goes_on_where_it_was(shop: Nextbest) -> None:
    redis: Any = shop.api.state.redis
    keys = shop.api.state.keys
    log, copy = keys.log(0) + "-of-a-test", keys.log_copy(0)
    for number in range(1200):
        await redis.xadd(log, {"n": str(number)}, id=f"{number + 1}-0")
    await redis.xdel(log, "1200-0")
    arguments = ["3-0", 2, "n", "x", "9999-0", 2, "n", "gone"]
    assert await redis.fcall(function_name("nb_rewrite"), 2, log, copy, *arguments) == 1
    entries = await redis.xrange(log)
    assert [entry[0] for entry in entries] == [f"{n + 1}-0".encode() for n in range(1199)]
    assert [entry[1][b"n"] for entry in entries[:4]] == [b"0", b"1", b"x", b"3"]
    assert (await redis.xinfo_stream(log))["last-generated-id"] == b"1200-0"
    assert not await redis.exists(copy)
    await redis.delete(log)


async def test_the_command_erases(
    shop: Nextbest, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("postgres_url", "redis_url", "buckets", "export_dir"):
        monkeypatch.setenv(f"NEXTBEST_{name.upper()}", str(getattr(settings, name)))
    await shop.api.ok("PUT", "/v1/customers/typed", json={"attributes": {"age": 3}})

    async def run(*words: str) -> Any:
        return await asyncio.to_thread(CliRunner().invoke, app, ["customers", *words])

    result = await run("erase", "typed", "--reason", "asked by letter")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("1 customers")
    problem_of(await shop.api.call("PUT", "/v1/customers/typed", json={}), 409)
    assert (await run("readmit", "typed")).exit_code == 0
    assert (await run("readmit", "typed")).exit_code == 1
    lifted = await run("lift", "typed", "angry")
    assert (lifted.exit_code, "there is no remembered signal 'angry'" in lifted.output) == (1, True)


async def test_every_table_with_customers_is_exported_and_erased(shop: Nextbest) -> None:
    """Whoever adds one adds it to both, and to this list."""
    query = (
        "SELECT c.table_name FROM information_schema.columns c JOIN pg_class t ON t.oid = c.table_name::regclass"
        " WHERE c.table_schema = 'public' AND c.column_name ~ 'customer' AND t.relkind IN ('r', 'p')"
        " AND NOT t.relispartition"
    )
    async with shop.api.state.engine.connect() as connection:
        found = {row[0] for row in await connection.execute(text(query))}
    known = {
        *TABLES,
        "aliases",
        "decisions",
        "events",
        "trigger_firings",
        "trigger_waits",
        "asked_days",  # adds up decisions, which are exported
        "fired_customers",
        "canary_customers",
        "canary_tests",
    }  # the last has a number of customers
    assert found <= known
