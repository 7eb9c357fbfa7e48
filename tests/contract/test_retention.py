"""Retention: months of the log, events and other rows go when they are older than they may be."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from app.config import Settings, parse_retention
from app.worker.privacy.retention import RetentionJob
from decisioning.catalog.store import CatalogueStore
from decisioning.evaluation.model_replay_service import ReplayImpossible
from decisioning.evaluation.replay_service import replay
from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_partitions import add_months, month_of
from decisioning.privacy import store_retention
from decisioning.privacy.store_retention import Retention
from storage.clock import to_ms
from storage.errors import PostgresUnavailable
from storage.locks import RETENTION_LOCK
from storage.postgres import transaction
from tests.support.api import CSV, Nextbest, decide, problem_of, put_offer, tell

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOW = datetime.now(UTC)


def job(shop: Nextbest, retention: str) -> RetentionJob:
    engine = shop.api.state.engine
    return RetentionJob(Retention(engine, parse_retention(retention)), CatalogueStore(engine))


async def rows(shop: Nextbest, query: str, **values: Any) -> Sequence[Any]:
    async with transaction(shop.api.state.engine) as connection:
        return (await connection.execute(text(query), values)).all()


async def past(shop: Nextbest, customer_id: str, at: datetime) -> None:
    content = f"customer_id,offer_id,decided_at,outcome\n{customer_id},gold,{at.isoformat()},accepted\n"
    await shop.api.ok("POST", "/v1/imports/history", content=content.encode(), headers=CSV)
    await shop.worker.drain()


async def customers(shop: Nextbest) -> set[str]:
    return {row[0] for row in await rows(shop, "SELECT customer_id FROM decisions")}


async def test_months_that_are_too_old_are_dropped_and_replays_that_need_them_refused(shop: Nextbest) -> None:
    answer = await decide(shop.api, "present", "home")
    await tell(shop.api, answer["decision_id"], answer["offers"][0]["offer_id"], "accepted")
    old = add_months(month_of(NOW), -5) + timedelta(days=3)
    await past(shop, "of a month", old)
    await past(shop, "before months", datetime(2005, 1, 1, tzinfo=UTC))
    await past(shop, "young enough", NOW - timedelta(days=62))
    later = (await decide(shop.api, "later", "home"))["decision_id"]
    await shop.worker.drain()
    state = shop.api.state
    log = ArchiveReader(state.engine)
    assert (await replay(later, log, state.catalogues, state.roster)).identical
    assert await job(shop, "").enforce() == 0
    for at in (old, NOW):
        fired = (
            "INSERT INTO fired_customers VALUES (:at, 'someone', '{}', 1, 'home', 'web', NULL) RETURNING 1"
        )
        await rows(shop, fired, at=at)
        predicted = (
            "INSERT INTO calibration_days VALUES (:day, 'home', 'p@1', 'gold', 1, 1, 0.5, 0.25, '', '')"
            " RETURNING 1"
        )
        await rows(shop, predicted, day=at.date())
    # The month, firings and predictions of it, and two tables of what has none.
    assert await job(shop, "log:75").enforce() == 5
    assert [row[0] for row in await rows(shop, "SELECT day FROM calibration_days")] == [NOW.date()]
    assert [row[0] for row in await rows(shop, "SELECT fired_at FROM fired_customers")] == [NOW]
    assert await customers(shop) == {"present", "young enough", "later"}
    assert [
        r.name for r in await rows(shop, "SELECT to_regclass(:t)::text AS name", t=f"outcomes_{old:%Y_%m}")
    ] == [None]
    assert await job(shop, "log:75").enforce() == 0
    told = (await shop.api.ok("GET", "/v1/privacy/retention", role="ops"))["removed"]
    assert sorted(one["what"] for one in told) == [
        "customers for whom triggers fired",
        "days of predictions",
        "decisions without a month",
        "log",
        "outcomes without a month",
    ]
    assert f"the month {old:%Y-%m}" in [one["removed"] for one in told]
    with pytest.raises(ReplayImpossible, match="older than the log is kept"):
        await replay(later, log, state.catalogues, state.roster)
    # What comes late for a month that is gone is archived all the same.
    await past(shop, "late", old)
    assert "late" in await customers(shop)


async def test_events_are_kept_as_long_as_their_type_says(shop: Nextbest) -> None:
    await shop.api.ok("PUT", "/v1/event-types/short", json={"name": "Short", "retention_days": 2})
    await shop.api.ok("PUT", "/v1/event-types/long", json={"name": "Long"})
    for days in (1, 3):
        for kind in ("short", "long"):
            at = (NOW - timedelta(days=days)).isoformat()
            event = {"event_id": f"{kind}-{days}", "customer_id": "e", "type": kind, "occurred_at": at}
            await shop.api.ok("POST", "/v1/events", json=event, role="frontend")
    await shop.worker.drain()
    age = "UPDATE events SET occurred_at = occurred_at - interval '6 days' RETURNING 1"
    await rows(shop, age)
    # Not after the two days: an event of a week ago may be sent again, and counts once.
    assert await job(shop, "").enforce() == 1
    found = {row[0] for row in await rows(shop, "SELECT event_id FROM events")}
    assert found == {"short-1", "long-1", "long-3"}


async def test_events_of_a_deleted_type_go_as_it_said_last(shop: Nextbest) -> None:
    for days in (30, 2):
        await shop.api.ok("PUT", "/v1/event-types/gone", json={"name": "Gone", "retention_days": days})
    for days in (1, 3):
        at = (NOW - timedelta(days=days)).isoformat()
        event = {"event_id": f"gone-{days}", "customer_id": "e", "type": "gone", "occurred_at": at}
        await shop.api.ok("POST", "/v1/events", json=event, role="frontend")
    await shop.worker.drain()
    await shop.api.ok("DELETE", "/v1/event-types/gone")
    assert await job(shop, "").enforce() == 1
    query = "SELECT event_id FROM events WHERE type = 'gone'"
    assert {row[0] for row in await rows(shop, query)} == {"gone-1"}


async def test_rows_of_other_tables_go_as_well(shop: Nextbest) -> None:
    for days in (1, 5):
        until = (NOW - timedelta(days=days)).isoformat()
        await shop.api.ok("PUT", f"/v1/suppressions/ended-{days}/x", json={"reason": "r", "until": until})
    await shop.api.ok("PUT", "/v1/suppressions/endless/x", json={"reason": "r"})
    query = "INSERT INTO dead_letters VALUES (0, :at, 'r', '{}', now() - cast(:age AS interval))"
    for age in (1, 5):
        await rows(shop, query + " RETURNING 1", at=f"{age}-0", age=timedelta(days=age))
    assert await job(shop, "dead_letters:3,suppressions:3").enforce() == 2
    assert {r[0] for r in await rows(shop, "SELECT list_id FROM suppressions")} == {"ended-1", "endless"}
    assert {r[0] for r in await rows(shop, "SELECT position FROM dead_letters")} == {"1-0"}


async def test_lifted_signals_go_when_no_signal_can_last_so_long(shop: Nextbest) -> None:
    query = "INSERT INTO lifted_signals VALUES ('x', :signal, :at_ms) RETURNING 1"
    for days in (366, 368):
        at_ms = to_ms(NOW - timedelta(days=days))
        await rows(shop, query, signal=f"before-{days}", at_ms=at_ms)
    assert await job(shop, "").enforce() == 1
    assert [r[0] for r in await rows(shop, "SELECT signal_id FROM lifted_signals")] == ["before-366"]


async def test_firings_go_when_they_can_fire_no_more(shop: Nextbest) -> None:
    query = (
        "INSERT INTO trigger_firings (firing_id, trigger_id, catalogue_version, customer_id, occasion, cause, fired_at,"
        " deadline_at) VALUES (gen_random_uuid(), 't', 1, 'x', :name, '{}', now() - cast(:age AS interval), now())"
    )
    for age in (20, 40, 70):
        await rows(shop, query + " RETURNING 1", name=f"{age}", age=timedelta(days=age))
    yearly = {
        "on": {"outcome": "accepted"},
        "placement": "home",
        "deliver": {"stream": "s"},
        "again_after_s": 60 * 86_400,
    }
    await shop.api.ok("PUT", "/v1/triggers/seldom", json=yearly)
    assert await job(shop, "triggers:30").enforce() == 1
    assert {r[0] for r in await rows(shop, "SELECT occasion FROM trigger_firings")} == {"20", "40"}
    await shop.api.ok("DELETE", "/v1/triggers/seldom")
    assert await job(shop, "triggers:30").enforce() == 1
    assert {r[0] for r in await rows(shop, "SELECT occasion FROM trigger_firings")} == {"20"}


async def test_events_are_kept_while_triggers_look_back_on_them(shop: Nextbest) -> None:
    await shop.api.ok("PUT", "/v1/event-types/sign-in", json={"name": "Sign-in", "retention_days": 20})
    query = "INSERT INTO events VALUES ('i', 'x', 'sign-in', :at, 0, '{}', '{}', 0, '1-0') RETURNING 1"
    await rows(shop, query, at=NOW - timedelta(days=50))
    idle = {
        "on": {"idle": ["sign-in"], "after_s": 60 * 86_400},
        "placement": "home",
        "deliver": {"stream": "s"},
    }
    await shop.api.ok("PUT", "/v1/triggers/idle", json=idle)
    assert await job(shop, "").enforce() == 0
    await shop.api.ok("DELETE", "/v1/triggers/idle")
    assert await job(shop, "").enforce() == 1


async def test_a_log_is_not_dropped_before_its_windows_are_over(shop: Nextbest) -> None:
    await past(shop, "in a long window", NOW - timedelta(days=200))
    place = {"channel": "web", "control_share": 0, "reward_window_s": 366 * 86_400}
    await shop.api.ok("PUT", "/v1/placements/patient", json=place)
    assert await job(shop, "log:60").enforce() == 0
    await shop.api.call("DELETE", "/v1/placements/patient")
    assert "in a long window" in await customers(shop)


async def test_a_log_is_not_dropped_while_limits_look_back_on_it(
    shop: Nextbest, caplog: pytest.LogCaptureFixture
) -> None:
    await past(shop, "in a long limit", NOW - timedelta(days=200))
    await put_offer(shop.api, "yearly", contact_limits=[{"max": 1, "window_s": 365 * 86_400}])
    await shop.api.ok(
        "PUT", "/v1/event-types/visit", json={"name": "Visit", "contact": {"channel": "branch"}}
    )
    assert await job(shop, "log:60,events:10").enforce() == 0
    assert "decisions and outcomes are kept for 367 days, not 60" in caplog.text
    assert "events are kept for 365 days, not 10" in caplog.text
    assert "in a long limit" in await customers(shop)


@pytest.mark.parametrize(
    "value", ["log", "log:x", "log:59", "none:3", "events:0", "events:7", "log:99999", "triggers:29"]
)
async def test_settings_that_are_wrong_are_refused(settings: Settings, value: str) -> None:
    with pytest.raises(ValueError, match=value.partition(":")[0]):
        Settings(**settings.model_dump() | {"retention": value})


async def test_retention_can_be_tried_and_run_over_http_and_leaves_its_record(shop: Nextbest) -> None:
    api = shop.api
    path, old = "/v1/suppressions/tried/long-ago", "2000-01-01T00:00:00Z"
    await api.ok("PUT", path, json={"reason": "x", "until": "2999-01-01T00:00:00Z"})
    await rows(shop, "UPDATE suppressions SET until = :old WHERE list_id = 'tried' RETURNING 1", old=at(old))
    settings = api.state.settings
    with pytest.MonkeyPatch.context() as patch:
        changed = settings.model_copy(update={"retention": "suppressions:90"})
        patch.setattr(api.state, "settings", changed)
        tried = await api.ok("POST", "/v1/privacy/retention", json={})
        assert (tried["dry_run"], tried["days"]) == (True, {"suppressions": 90})
        found = [one for one in tried["removed"] if one["what"] == "suppressions"]
        assert [one["removed"] for one in found] == ["1 rows"]
        assert await rows(shop, "SELECT 1 FROM suppressions WHERE list_id = 'tried'")
        done = await api.ok("POST", "/v1/privacy/retention", json={"dry_run": False, "reason": "audit"})
        assert [one["what"] for one in done["removed"]] == ["suppressions"]
        assert not await rows(shop, "SELECT 1 FROM suppressions WHERE list_id = 'tried'")
        assert (await api.ok("POST", "/v1/privacy/retention", json={}))["removed"] == []
    _, run, first, *_ = (await api.ok("GET", "/v1/privacy/actions"))["actions"]
    assert (run["action"], run["reason"], run["author"]) == ("retention", "audit", "test admin")
    assert (run["details"]["dry_run"], first["details"]["dry_run"]) == (False, True)
    assert run["details"]["removed"] == done["removed"]


async def test_a_run_that_fails_leaves_what_it_removed_in_the_trail_and_two_at_once_are_refused(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, settings = shop.api, shop.api.state.settings
    monkeypatch.setattr(api.state, "settings", settings.model_copy(update={"retention": "suppressions:90"}))
    for customer in ("a", "b"):
        await api.ok("PUT", f"/v1/suppressions/failed/{customer}", json={"reason": "x"})
    end = "UPDATE suppressions SET until = :old WHERE list_id = 'failed' RETURNING 1"
    await rows(shop, end, old=at("2000-01-01T00:00:00Z"))
    run = {"dry_run": False, "reason": "twice"}
    async with transaction(api.state.engine) as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": RETENTION_LOCK})
        found = problem_of(await api.call("POST", "/v1/privacy/retention", json=run), 409)
        assert "another run of retention" in found["detail"]
        assert await job(shop, "suppressions:90").enforce() == 0
    take, left = store_retention._take_right, "SELECT count(*) FROM suppressions WHERE list_id = 'failed'"

    async def fail_later(connection: Any) -> None:
        if await connection.scalar(text(left)) < 2:
            raise PostgresUnavailable("it went away")
        await take(connection)

    monkeypatch.setattr(store_retention, "BATCH_SIZE", 1)
    monkeypatch.setattr(store_retention, "_take_right", fail_later)
    problem_of(await api.call("POST", "/v1/privacy/retention", json=run), 503)
    newest, refused, *_ = (await api.ok("GET", "/v1/privacy/actions"))["actions"]
    assert [(one["what"], one["removed"]) for one in newest["details"]["removed"]] == [
        ("suppressions", "1 rows")
    ]
    assert (refused["reason"], refused["details"]["removed"]) == ("twice", [])
    assert (await api.ok("GET", "/v1/privacy/retention"))["removed"][0]["removed"] == "1 rows"


def at(text_: str) -> datetime:
    return datetime.fromisoformat(text_)
