"""Health, and what callers see while a store is gone: readiness tells, decisions degrade, nothing false is said."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.api.health import warnings
from app.keys import Role
from bandits import registry
from decisioning.policies.store_roster import RosterFeed
from storage import clock
from storage.clock import SharedClock
from storage.keys import WORKER
from tests.support.api import CSV, Instance, Nextbest, decide, problem_of, tell
from tests.support.canaries import add_bad_policy
from tests.support.gate import Gate, gate
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

YEAR_S = 365 * 86_400


@asynccontextmanager
async def gated(shop: Nextbest) -> AsyncIterator[tuple[Instance, Gate, Gate]]:
    """An instance whose ways to Postgres and Redis can be shut."""
    # Ways that are shut refuse at once: one that is only slow, on a busy machine, must not be taken for one of them.
    async with (
        gate(shop.settings.postgres_url) as postgres,
        gate(shop.settings.redis_url) as redis,
        shop.another(postgres_url=postgres.url, redis_url=redis.url) as instance,
    ):
        yield instance, postgres, redis


async def checks(instance: Instance, status: int) -> dict[str, str] | None:
    """Return the checks that readiness reports, if it answers with ``status``; ``None`` if not."""
    response = await instance.call("GET", "/readyz", role=None)
    body = response.json()
    assert response.headers["Content-Type"] == "application/json"
    assert (body["status"] == "ok") == (response.status_code == 200)
    found: dict[str, str] = body["checks"]
    return found if response.status_code == status else None


async def test_all_is_well(api: Instance) -> None:
    assert await api.ok("GET", "/livez", role=None) == {"status": "ok"}
    assert await checks(api, 200) == dict.fromkeys(("postgres", "redis", "catalogue", "keys", "arms"), "ok")


async def test_readiness_names_policies_that_were_set_aside_until_they_work_again(shop: Nextbest) -> None:
    """Others decide meanwhile, so it is a warning."""
    await shop.worker.drain()
    state = shop.api.state
    await shop.api.ok(
        "POST", "/v1/policies", json={"name": "failing", "algorithm": "thompson"}, role="scientist"
    )
    await shop.worker.warm()

    async def warning() -> str | None:
        await state.feed.refresh()
        found: dict[str, str] = (await shop.api.ok("GET", "/readyz", role=None))["warnings"]
        return found.get("policies")

    assert await warning() is None
    assert await state.policies.set_aside("failing@1", "its learner raised LookupError")
    told = await warning()
    assert told is not None
    assert "set aside" in told
    assert "failing@1" in told
    assert "LookupError" not in told
    await shop.worker.warm()
    assert await warning() is None
    await state.policies.retire("failing@1", "ann")


async def test_readiness_names_policies_that_cannot_be_used_here_until_their_package_is_there(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_bad_policy(shop, "unbuilt", None)
    feed = RosterFeed(shop.api.state.policies, shop.api.state.roster, retry_s=0.0)
    monkeypatch.setattr(shop.api.state, "feed", feed)

    async def warning() -> str | None:
        await feed.refresh()
        found: dict[str, str] = (await shop.api.ok("GET", "/readyz", role=None))["warnings"]
        return found.get("policies")

    told = await warning()
    assert told is not None
    assert told.startswith("cannot be used here: unbuilt@1")
    assert "none_such" not in told
    with monkeypatch.context() as installed:
        known = {**registry.ALGORITHMS, "none_such": registry.ALGORITHMS["thompson"]}
        installed.setattr(registry, "ALGORITHMS", known)
        assert await warning() is None
    await shop.api.state.policies.retire("unbuilt@1", "ann")
    # Else it is awaited, for as long as it is thought to be live: it could be built, and nobody made arms for it.
    assert await warning() is None


async def test_readiness_warns_of_a_dead_worker(shop: Nextbest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are answered, so it is a warning: by the age of what waits to be archived and learned from."""
    monkeypatch.setattr("app.api.health.warnings.MAX_WAIT_S", 0.05)
    await shop.worker.drain()
    assert (await shop.api.ok("GET", "/readyz", role=None))["warnings"] == {}
    await decide(shop.api)

    async def warned() -> str | None:
        found: dict[str, str] = (await shop.api.ok("GET", "/readyz", role=None))["warnings"]
        return found.get("worker")

    found = await eventually(warned, "readiness to warn")
    assert found.endswith("(is the worker running?)")
    for what in ("not archived", "not folded into calibrated@1"):
        assert what in found
    await shop.worker.drain()
    assert (await shop.api.ok("GET", "/readyz", role=None))["warnings"] == {}


async def test_readiness_warns_of_a_dead_worker_without_traffic(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.worker.drain()
    assert (await shop.api.ok("GET", "/readyz", role=None))["warnings"] == {}
    with monkeypatch.context() as patched:
        patched.setattr("app.api.health.warnings.MAX_SILENCE_S", 0.0)
        found = (await shop.api.ok("GET", "/readyz", role=None))["warnings"]["worker"]
        assert found.startswith("no worker has been seen for ")
    await shop.api.state.redis.delete(WORKER)
    found = (await shop.api.ok("GET", "/readyz", role=None))["warnings"]
    assert found == {"worker": "no worker has been seen"}
    await shop.worker.drain()
    assert (await shop.api.ok("GET", "/readyz", role=None))["warnings"] == {}


async def test_readiness_names_what_is_missing(shop: Nextbest) -> None:
    async with gated(shop) as (instance, postgres, redis):
        for down, name in ((postgres, "postgres"), (redis, "redis")):
            assert await checks(instance, 200)
            await down.shut()

            async def not_ready() -> dict[str, str] | None:
                return await checks(instance, 503)

            async def ready() -> dict[str, str] | None:
                return await checks(instance, 200)

            found = await eventually(not_ready, f"readiness to miss {name}")
            assert {check for check, state in found.items() if state != "ok"} == {name}
            assert found[name] == "does not answer"
            assert (await instance.call("GET", "/livez", role=None)).status_code == 200
            await down.open()
            await eventually(ready, f"readiness to have {name} again")


async def test_a_process_with_another_redis_than_the_others_is_not_ready(shop: Nextbest) -> None:
    """Two databases would each give all of a limit and of a capacity."""
    other = str(shop.settings.redis_url).rsplit("/", 1)[0] + "/1"
    await shop.api.state.redis_claim.renew()
    async with shop.another(redis_url=other) as instance:
        found = await checks(instance, 503)
        assert found is not None
        assert "another redis database" in found["redis"]
        assert "contact_history_unavailable" in (await decide(instance))["degraded"]
        await instance.state.redis.flushdb()


async def test_a_defect_does_not_end_the_polling(shop: Nextbest, monkeypatch: pytest.MonkeyPatch) -> None:
    async with shop.another() as instance:
        calls = 0

        async def broken() -> int:
            nonlocal calls
            calls += 1
            raise ValueError("a row that cannot be understood")

        async def tried() -> bool:
            return calls > 2

        async def known() -> bool:
            return (await instance.call("GET", "/v1/groups/later")).status_code == 200

        with monkeypatch.context() as patched:
            patched.setattr(instance.state.catalogues, "version", broken)
            await eventually(tried, "the polling to fail three times")
        await shop.api.ok("PUT", "/v1/groups/later", json={"name": "Later", "goal": "serve"})
        await eventually(known, "the polling to go on")


async def test_a_process_that_starts_without_stores(shop: Nextbest) -> None:
    dead = {"redis_url": "redis://127.0.0.1:1/0", "postgres_url": "postgresql://u:secret@127.0.0.1:1/x"}
    async with shop.another(**dead) as instance:
        found = await checks(instance, 503)
        assert found is not None
        assert {check for check, state in found.items() if state != "ok"} == found.keys()
        assert "secret" not in str(found)
        assert "127.0.0.1" not in str(found)
        response = await instance.call("GET", "/v1/offers")
        assert "not ready" in problem_of(response, 503)["detail"]
        assert response.headers["Retry-After"]
        assert (await instance.call("GET", "/metrics", role=None)).status_code == 200


async def test_without_postgres_the_cached_are_served_and_changes_refused(shop: Nextbest) -> None:
    async with gated(shop) as (instance, postgres, _):
        await shop.api.ok("PUT", "/v1/customers/known", json={"consents": {"marketing": ["*"]}})
        redis: Any = instance.state.redis
        await redis.delete(instance.state.keys.profile("known"))
        await decide(instance, "known")

        async def cached() -> bool:
            return bool(await redis.exists(instance.state.keys.profile("known")))

        await eventually(cached, "the profile to be cached")
        await postgres.shut()
        assert (await decide(instance, "known"))["degraded"] == []
        stranger = await decide(instance, "stranger")
        assert stranger["degraded"] == ["profile_unavailable"]
        assert "phone" not in str(stranger["offers"])
        assert len(stranger["offers"]) == 2
        calls: list[tuple[str, str, dict[str, Any]]] = [
            ("PUT", "/v1/customers/known", {"json": {}}),
            ("GET", "/v1/customers/known", {}),
            ("PUT", "/v1/groups/cards", {"json": {"name": "x", "goal": "grow"}}),
            ("PUT", "/v1/offers/x", {"json": {"name": "x", "group": "cards"}}),
            ("PUT", "/v1/offers/gold/treatments/x", {"json": {"channel": "x", "title": "x"}}),
            ("PUT", "/v1/placements/x", {"json": {"channel": "x"}}),
            ("GET", "/v1/reports/acceptance", {}),
            ("POST", "/v1/imports/customers", {"content": "customer_id\n1\n", "headers": CSV}),
            ("GET", "/v1/decisions/unknown", {}),
        ]
        for method, path, arguments in calls:
            response = await instance.call(method, path, **arguments)
            problem_of(response, 503)
            assert response.headers["Retry-After"], path
        for path in ("/v1/offers", "/v1/placements/home", "/v1/policies/thompson/arms"):
            await instance.ok("GET", path)
    assert (await shop.api.ok("GET", "/v1/customers/known"))["consents"] == {"marketing": ["*"]}


async def test_without_redis_decisions_are_made_and_not_logged(shop: Nextbest) -> None:
    await shop.api.ok("PUT", "/v1/customers/known", json={"consents": {"marketing": ["*"]}})
    async with gated(shop) as (instance, _, redis):
        await redis.shut()
        answer = await decide(instance, "known", decision_id="unlogged")
        assert answer["degraded"] == ["contact_history_unavailable"]
        assert answer["feedback_until"] is None
        assert {offer["offer_id"] for offer in answer["offers"]} == {"gold", "silver"}
        await redis.open()

        async def back() -> bool:
            return not (await decide(instance, "known"))["degraded"]

        await eventually(back, "decisions that are not degraded")
    problem_of(await shop.api.call("GET", "/v1/decisions/unlogged"), 404)


async def test_without_both_the_defaults_are_given(shop: Nextbest) -> None:
    async with gated(shop) as (instance, postgres, redis):
        await postgres.shut()
        await redis.shut()
        answer = await decide(instance, "known")
        assert answer["degraded"] == ["contact_history_unavailable", "profile_unavailable"]
        assert [offer["offer_id"] for offer in answer["offers"]] == ["silver"]
        feedback = {"decision_id": answer["decision_id"], "offer_id": "silver", "outcome": "clicked"}
        problem_of(await instance.call("POST", "/v1/feedback", json=feedback), 503)


@pytest.mark.parametrize("skew_s", [7_200, 12 * YEAR_S, -12 * YEAR_S])
async def test_a_wrong_clock_decides_nothing_and_is_said(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch, skew_s: int
) -> None:
    """Limits and windows go by Redis: two hours ahead, a process would free what is limited by the hour."""
    wrong = SharedClock(lambda: time.time_ns() + skew_s * 1_000_000_000)
    for module in (clock, warnings):
        monkeypatch.setattr(module, "shared", wrong)
    assert abs(clock.now_ms() - time.time() * 1000 - skew_s * 1000) < 10_000
    async with shop.another() as instance:
        # As a pipe that was made by this process has it from the start.
        instance.state.pipe._clock = wrong
        assert instance.state.pipe._link is not None
        instance.state.pipe._read_clock(instance.state.pipe._link)
        await instance.state.pipe.call("PING")
        assert abs(clock.now_ms() - time.time() * 1000) < 1000
        readiness = await instance.ok("GET", "/readyz")
        way = "ahead of" if skew_s > 0 else "behind"
        assert f"{abs(skew_s)} s {way} that of redis" in readiness["warnings"]["clock"]
        answer = await decide(instance, f"late-riser-{skew_s}")
        record = await instance.ok("GET", f"/v1/decisions/{answer['decision_id']}")
        assert abs(record["decided_at_ms"] - time.time() * 1000) < 60_000
        offer_id = answer["offers"][0]["offer_id"]
        assert await tell(instance, answer["decision_id"], offer_id, "accepted") == "recorded"


@pytest.mark.parametrize(
    ("method", "path", "role", "status"),
    [
        ("GET", "/v1/offers", None, 401),
        ("GET", "/v1/offers/nobody", "ops", 404),
        ("GET", "/nowhere", None, 404),
        ("POST", "/v1/decisions", "frontend", 415),
        ("PUT", "/v1/groups/x", "ops", 415),
    ],
)
async def test_problem_details_carry_the_id_of_the_request(
    api: Instance, method: str, path: str, role: Role | None, status: int
) -> None:
    response = await api.call(method, path, role=role, headers={"X-Request-ID": "visit-7"}, content=b"x")
    assert problem_of(response, status)["request_id"] == "visit-7"
    assert response.headers["X-Request-ID"] == "visit-7"
    made = await api.call(method, path, role=role, content=b"x")
    assert problem_of(made, status)["request_id"] == made.headers["X-Request-ID"] != "visit-7"
