"""Evaluation of a policy's would-be reward on decisions really made: requested through the API, run behind it."""

import asyncio
import json
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text as sql
from typer.testing import CliRunner, Result

from app.cli import app
from app.config import Settings
from app.worker.evaluation_runs import EvaluationRunner, run_evaluation, run_in_process
from decisioning.evaluation.store_jobs import EvaluationStore
from storage import clock
from storage.locks import RUNNING_SPACE
from tests.support.api import Instance, Nextbest, decide, problem_of, put_offer, tell
from tests.support.canaries import place
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

RATES = {"gold": 0.1, "silver": 0.7, "phone": 0.2, "tablet": 0.4}
GREEDY = {"algorithm": "thompson", "parameters": {"epsilon": 0.01, "strength": 1.0}}


async def visits(nextbest: Nextbest, placement: str, count: int, seed: int, at_once: int = 5) -> None:
    """Customers who come and answer; what they say is learned before the next ones come."""
    rng, api = Random(seed), nextbest.api
    for start in range(0, count, at_once):
        names = [f"{placement}-{seed}-{start + i}" for i in range(at_once)]
        answers = [await decide(api, name, placement, decision_id=name) for name in names]
        for answer in answers:
            for offer in answer["offers"]:
                outcome = "accepted" if rng.random() < RATES[offer["offer_id"]] else "rejected"
                await tell(api, answer["decision_id"], offer["offer_id"], outcome)
        await nextbest.worker.learn()
        told_ms = clock.now_ms()

        async def learned(told_ms: int = told_ms) -> bool:
            epoch = await nextbest.worker.epoch("thompson@1")
            return api.state.replica.epoch("thompson@1") == epoch and clock.now_ms() > told_ms

        await eventually(learned, "the instance to follow what was learned")
    await nextbest.worker.expire(ahead_s=8 * 86_400)  # only closed windows are used
    await nextbest.worker.archive()


async def evaluated(nextbest: Nextbest, body: Mapping[str, Any]) -> Any:
    """Ask, let the worker do it, and read the result."""
    asked = await nextbest.api.ok("POST", "/v1/evaluations", json=body, role="scientist")
    assert (asked["state"], asked["result"]) == ("waiting", None)
    await nextbest.worker.evaluate()
    found = await nextbest.api.ok("GET", f"/v1/evaluations/{asked['evaluation_id']}", role="ops")
    assert found["state"] == "done", found["error"]
    assert found["seen"] == found["total"] == found["result"]["decisions"]
    return found["result"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def log(shop: Nextbest) -> Nextbest:
    """Two placements with a log: one decided by thompson in two slots, one at random."""
    await put_offer(shop.api, "phone", value=5)
    await put_offer(shop.api, "tablet", value=5)
    await place(shop.api, "taught", policy="thompson", slots=2)
    await place(shop.api, "drawn", policy="random")
    await visits(shop, "taught", 60, seed=1, at_once=1)  # that an offer was shown is learned at once
    await visits(shop, "drawn", 200, seed=2, at_once=20)
    return shop


async def test_the_policy_that_decided_would_have_decided_as_it_did(log: Nextbest) -> None:
    """Bit for bit: learned anew from the log in its order, it gives every offer the probability that was logged."""
    found = await evaluated(log, {"policy": "thompson@1", "placement": "taught", "slots": "all"})
    estimates = found["estimates"]
    assert (found["decisions"], estimates["rows"], found["left_out"]) == (60, 120, [])
    assert (estimates["mean_weight"], estimates["largest_weight"]) == (1.0, 1.0)
    assert estimates["ips"]["value"] == estimates["earned"]["value"] == estimates["snips"]["value"]
    assert found["learned"] > 90
    assert found["us_per_decision"] > 0
    (logged,) = found["logged"]
    assert (logged["group"], logged["policy"], logged["slots"]) == ("champion", "thompson@1", 120)
    assert logged["earned"]["value"] == pytest.approx(estimates["earned"]["value"])


async def test_a_specification_can_be_tried_before_it_is_registered(log: Nextbest) -> None:
    body = {"spec": GREEDY, "placement": "drawn"}
    found = await evaluated(log, body)
    estimates = found["estimates"]
    assert (found["policy"], found["version"], found["start"]) == ("candidate", 1, "cold")
    assert found["logged"][0]["policy"] == "random@1"
    assert estimates["lift"]["value"] > 0.1  # it finds silver, which 7 in 10 accept
    assert any("learned from what other policies showed" in text for text in found["warnings"])
    warm = await evaluated(log, body | {"start": "warm"})
    assert warm["learned"] >= found["learned"] + 110


async def test_facts_that_were_never_logged_are_told(log: Nextbest) -> None:
    feature = {"name": "age", "kind": "numeric", "path": "customer.age", "low": 18, "high": 99}
    spec = {"algorithm": "linear_thompson", "features": [feature]}
    found = await evaluated(log, {"spec": spec, "placement": "drawn", "start": "warm"})
    assert any("Never logged in these decisions: customer.age." in text for text in found["warnings"])


async def test_a_fact_that_a_placement_logs_from_now_on_is_used_by_a_policy_registered_later(
    shop: Nextbest,
) -> None:
    """New customers take gold, old ones silver: who does not know which is which earns less."""
    api, wanted = shop.api, {"new": "gold", "old": "silver"}
    feature = {"name": "tenure", "kind": "numeric", "path": "customer.tenure", "low": 0, "high": 60}
    spec = {"algorithm": "linear_thompson", "features": [feature]}
    await api.ok("PUT", "/v1/attributes/customer.tenure", json={"type": "int", "unit": "months"})
    for customer, months in (("new", 1), ("old", 60)):
        await api.ok("PUT", f"/v1/customers/{customer}", json={"attributes": {"tenure": months}})

    async def asked(placement: str, **logged: Any) -> None:
        await place(api, placement, policy="random", **logged)
        for number in range(60):
            customer = ("new", "old")[number % 2]
            answer = await decide(api, customer, placement, decision_id=f"{placement}-{number}")
            for offer in answer["offers"]:
                outcome = "accepted" if offer["offer_id"] == wanted[customer] else "rejected"
                await tell(api, answer["decision_id"], offer["offer_id"], outcome)

    await asked("unkept")
    await asked("kept", log_facts=["customer.tenure"])
    await shop.worker.expire(ahead_s=8 * 86_400)
    await shop.worker.archive()
    await api.ok("POST", "/v1/policies", json=spec | {"name": "by_tenure"}, role="scientist")
    found = {
        placement: await evaluated(shop, {"policy": "by_tenure@1", "placement": placement, "start": "warm"})
        for placement in ("unkept", "kept")
    }
    warned = {name: any("Never logged" in w for w in one["warnings"]) for name, one in found.items()}
    assert warned == {"unkept": True, "kept": False}
    earned = {name: one["estimates"]["snips"]["value"] for name, one in found.items()}
    assert earned["kept"] > earned["unkept"] + 0.1


async def test_rewards_may_be_money_and_the_newest_decisions_are_enough(log: Nextbest) -> None:
    found = await evaluated(log, {"policy": "random@1", "placement": "drawn", "reward": "value", "limit": 50})
    assert (found["decisions"], found["estimates"]["rows"]) == (50, 50)
    assert found["estimates"]["earned"]["value"] > 1
    assert found["estimates"]["mean_weight"] == pytest.approx(1.0)


async def test_pages_of_the_log_are_put_together(log: Nextbest, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = await evaluated(log, {"policy": "thompson@1", "placement": "taught", "slots": "all"})
    monkeypatch.setattr("decisioning.evaluation.store_pages.PAGE_SIZE", 7)
    parts = await evaluated(log, {"policy": "thompson@1", "placement": "taught", "slots": "all"})
    assert parts | {"us_per_decision": 0} == whole | {"us_per_decision": 0}


async def test_between_two_times(log: Nextbest) -> None:
    whole = await evaluated(log, {"policy": "random@1", "placement": "drawn"})
    half = await evaluated(log, {"policy": "random@1", "placement": "drawn", "limit": 100})
    rest = await evaluated(
        log, {"policy": "random@1", "placement": "drawn", "from": whole["from"], "to": half["from"]}
    )
    assert rest["decisions"] + half["decisions"] == whole["decisions"] == 200


async def test_an_evaluation_without_decisions_fails_with_a_reason(log: Nextbest) -> None:
    body = {"policy": "random@1", "placement": "desk"}
    asked = await log.api.ok("POST", "/v1/evaluations", json=body, role="scientist")
    await log.worker.evaluate()
    found = await log.api.ok("GET", f"/v1/evaluations/{asked['evaluation_id']}")
    assert (found["state"], found["result"]) == ("failed", None)
    assert "desk" in found["error"]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"placement": "drawn"}, 422, "body"),
        ({"placement": "drawn", "policy": "random@1", "spec": GREEDY}, 422, "body"),
        ({"placement": "drawn", "policy": "random"}, 422, "policy"),
        ({"placement": "drawn", "policy": "nobody@1"}, 404, None),
        ({"placement": "nowhere", "policy": "random@1"}, 404, None),
        ({"placement": "drawn", "policy": "random@1", "limit": 0}, 422, "limit"),
        ({"placement": "drawn", "policy": "random@1", "slots": "second"}, 422, "slots"),
        (
            {"placement": "drawn", "spec": {"algorithm": "thompson", "parameters": {"epsilon": 7}}},
            422,
            "spec.parameters.epsilon",
        ),
        (
            {
                "placement": "drawn",
                "policy": "random@1",
                "from": "2026-01-02T00:00:00Z",
                "to": "2026-01-01T00:00:00Z",
            },
            422,
            "to",
        ),
    ],
)
async def test_what_cannot_be_evaluated_is_refused(
    api: Instance, log: Nextbest, body: dict[str, Any], status: int, field: str | None
) -> None:
    problem_of(await api.call("POST", "/v1/evaluations", json=body), status, field)


async def test_not_too_many_at_once(log: Nextbest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decisioning.evaluation.store_jobs.MAX_OPEN", 1)
    body = {"policy": "random@1", "placement": "drawn", "limit": 10}
    await log.api.ok("POST", "/v1/evaluations", json=body)
    problem_of(await log.api.call("POST", "/v1/evaluations", json=body), 409)
    await log.worker.evaluate()
    await log.api.ok("POST", "/v1/evaluations", json=body)
    await log.worker.evaluate()


async def test_everybodys_evaluations_are_listed_the_newest_first_page_by_page(log: Nextbest) -> None:
    api = log.api
    bodies: tuple[dict[str, Any], ...] = (
        {"policy": "random@1", "placement": "drawn", "limit": 10},
        {"spec": GREEDY, "placement": "taught", "limit": 10},
        {"policy": "thompson@1", "placement": "taught", "limit": 10},
    )
    asked = [
        await api.ok("POST", "/v1/evaluations", json=body, role=role)
        for body, role in zip(bodies, ("scientist", "admin", "scientist"), strict=True)
    ]
    await log.worker.evaluate()
    ids = [one["evaluation_id"] for one in reversed(asked)]
    first = await api.ok("GET", "/v1/evaluations?limit=2", role="scientist")
    assert [one["evaluation_id"] for one in first["evaluations"]] == ids[:2]
    assert first["next"] == ids[1]
    told = [
        {name: one[name] for name in ("policy", "algorithm", "placement", "asked_by")}
        for one in first["evaluations"]
    ]
    assert told == [
        {"policy": "thompson@1", "algorithm": None, "placement": "taught", "asked_by": "test scientist"},
        {"policy": None, "algorithm": "thompson", "placement": "taught", "asked_by": "test admin"},
    ]
    assert all("result" not in one for one in first["evaluations"])
    rest = await api.ok("GET", f"/v1/evaluations?limit=1&before={first['next']}", role="scientist")
    assert [one["evaluation_id"] for one in rest["evaluations"]] == ids[2:]
    (whole,) = (await api.ok("GET", f"/v1/evaluations?limit=1&before={ids[1]}"))["evaluations"]
    found = await api.ok("GET", f"/v1/evaluations/{ids[2]}")
    assert (whole["state"], found["state"]) == ("done", "done")
    assert {name: found[name] for name in whole} == whole


@pytest.mark.parametrize(
    ("query", "field"),
    [("before=ev-none", "before"), ("limit=0", "limit"), ("limit=101", "limit"), ("page=2", "page")],
)
async def test_a_page_of_evaluations_that_there_is_not_is_refused(
    api: Instance, query: str, field: str
) -> None:
    problem_of(await api.call("GET", f"/v1/evaluations?{query}", role="scientist"), 422, field)


async def test_evaluations_that_are_not_kept_any_more_are_not_listed(log: Nextbest) -> None:
    asked = await log.api.ok("POST", "/v1/evaluations", json={"policy": "random@1", "placement": "drawn"})
    await log.worker.evaluate()
    before = await log.api.ok("GET", "/v1/evaluations?limit=1")
    assert before["evaluations"][0]["evaluation_id"] == asked["evaluation_id"]
    async with log.api.state.engine.begin() as connection:
        aged = "UPDATE evaluations SET asked_at = asked_at - interval '31 days' WHERE evaluation_id = :id"
        await connection.execute(sql(aged), {"id": asked["evaluation_id"]})
    after = await log.api.ok("GET", "/v1/evaluations?limit=100")
    assert asked["evaluation_id"] not in [one["evaluation_id"] for one in after["evaluations"]]


async def test_unknown_evaluations(api: Instance) -> None:
    problem_of(await api.call("GET", "/v1/evaluations/ev-none"), 404)


@pytest.fixture
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module's servers, as processes find them."""
    monkeypatch.setenv("NEXTBEST_POSTGRES_URL", str(settings.postgres_url))
    monkeypatch.setenv("NEXTBEST_REDIS_URL", str(settings.redis_url))
    monkeypatch.setenv("NEXTBEST_BUCKETS", str(settings.buckets))


async def command(*words: object, status: int = 0) -> Result:
    """`nextbest policies evaluate`, in a thread of its own."""
    arguments = ["policies", "evaluate", *map(str, words)]
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert result.exit_code == status, result.output
    return result


@pytest.mark.usefixtures("environment")
async def test_the_command_tells_the_same(log: Nextbest, tmp_path: Path) -> None:
    asked = {"policy": "thompson@1", "placement": "taught", "slots": "all", "reward": "value"}
    found = await evaluated(log, asked)
    options = ("--placement", "taught", "--slots", "all", "--reward", "value")
    printed = json.loads((await command("thompson@1", *options, "--json")).stdout)
    assert printed.pop("us_per_decision") > 0
    for name in ("from", "to"):
        assert datetime.fromisoformat(printed.pop(name)) == datetime.fromisoformat(found.pop(name))
    assert printed == {name: value for name, value in found.items() if name != "us_per_decision"}

    file = tmp_path / "greedy.yaml"
    file.write_text("algorithm: thompson\nparameters: {epsilon: 0.01, strength: 1}\n", encoding="utf-8")
    text = (await command("--spec", file, "--placement", "drawn", "--from", "2026-01-01")).stdout
    assert "candidate@1 in drawn, cold start, acceptance a first slot" in text
    assert "would have earned, DR" in text
    assert "random@1" in text
    assert "! The target learned from what other policies showed." in text


@pytest.mark.usefixtures("environment", "log")
async def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("algorithm: thompson\nparameters: {epsilon: 7}\n", encoding="utf-8")
    refused = await command("--spec", file, "--placement", "drawn", status=1)
    assert "spec.parameters.epsilon" in refused.stderr
    assert (
        "no such file"
        in (await command("--spec", tmp_path / "none.yaml", "--placement", "drawn", status=1)).stderr.lower()
    )
    assert "nobody@1" in (await command("nobody@1", "--placement", "drawn", status=1)).stderr
    assert "'desk'" in (await command("random@1", "--placement", "desk", status=1)).stderr
    for wrong in (("random@1", "--spec", file), (), ("random@1", "--from", "yesterday")):
        await command(*wrong, "--placement", "drawn", status=2)


@pytest.mark.usefixtures("environment")
async def test_workers_run_it_in_a_process_of_its_own(log: Nextbest) -> None:
    body = {"policy": "thompson@1", "placement": "taught"}
    asked = await log.api.ok("POST", "/v1/evaluations", json=body)
    store = EvaluationStore(log.api.state.engine)
    assert await store.take() == asked["evaluation_id"]
    assert await run_in_process(asked["evaluation_id"]) == 0
    found = await log.api.ok("GET", f"/v1/evaluations/{asked['evaluation_id']}")
    assert (found["state"], found["result"]["decisions"]) == ("done", 60)


async def test_a_process_that_dies_leaves_a_failed_evaluation(log: Nextbest) -> None:
    body = {"policy": "thompson@1", "placement": "taught"}
    asked = await log.api.ok("POST", "/v1/evaluations", json=body)

    async def dies(evaluation_id: str) -> int:
        assert evaluation_id == asked["evaluation_id"]
        return -9

    await EvaluationRunner(EvaluationStore(log.api.state.engine), dies).round()
    found = await log.api.ok("GET", f"/v1/evaluations/{asked['evaluation_id']}")
    assert (found["state"], found["error"]) == ("failed", "its process ended with -9")


async def test_an_evaluation_whose_worker_is_gone_is_taken_again(log: Nextbest) -> None:
    body = {"policy": "thompson@1", "placement": "taught"}
    asked = await log.api.ok("POST", "/v1/evaluations", json=body)
    store = EvaluationStore(log.api.state.engine)
    assert await store.take() == asked["evaluation_id"]
    assert await store.take() is None
    async with log.api.state.engine.begin() as connection:
        await connection.execute(sql("UPDATE evaluations SET alive_at = alive_at - interval '2 minutes'"))
    assert await store.take() == asked["evaluation_id"]
    await store.fail(asked["evaluation_id"], "enough")


@pytest.mark.usefixtures("environment")
async def test_a_process_that_still_runs_keeps_its_evaluation_and_a_dead_one_does_not(log: Nextbest) -> None:
    """Its worker could not say for a minute that it is alive; another worker takes what it asked for meanwhile."""
    engine = log.api.state.engine
    asked = await log.api.ok("POST", "/v1/evaluations", json={"policy": "thompson@1", "placement": "taught"})
    evaluation_id, store = asked["evaluation_id"], EvaluationStore(engine)

    async def is_claimed() -> bool:
        # Looked at from outside: a claim of our own, for however short a time, would turn the process away.
        held = sql(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid::bigint = :space"
            " AND objid::bigint = hashtext(:job)::bigint & 4294967295 AND objsubid = 2"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        async with engine.connect() as watching:
            return bool(await watching.scalar(held, {"space": RUNNING_SPACE, "job": evaluation_id}))

    assert await store.take() == evaluation_id
    async with engine.begin() as connection:
        # So long does it wait for the log.
        await connection.execute(sql("LOCK TABLE decisions IN ACCESS EXCLUSIVE MODE"))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app.worker.evaluation_runs", evaluation_id
        )
        try:
            await eventually(is_claimed, "the process to claim its evaluation")
            await run_evaluation(log.api.state.settings, evaluation_id)
            found = await log.api.ok("GET", f"/v1/evaluations/{evaluation_id}")
            assert (found["state"], found["seen"]) == ("running", 0)
        finally:
            process.kill()
            await process.wait()

        async def is_free() -> bool:
            return not await is_claimed()

        await eventually(is_free, "the claim of the dead process to be free")
    await log.worker.evaluate()  # not taken yet: nobody knows that it died
    assert (await store.get(evaluation_id)).state == "running"
    async with engine.begin() as connection:
        await connection.execute(sql("UPDATE evaluations SET alive_at = alive_at - interval '2 minutes'"))
    await log.worker.evaluate()
    done = await store.get(evaluation_id)
    assert (done.state, done.seen) == ("done", 60)
