"""Decisions over HTTP: what an answer holds, ids of the caller's own, dry runs, limits, deadlines, contexts."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from app.api.decisions.schemas import DecisionAnswer, DecisionRecord
from tests.support.api import (
    JSON,
    Instance,
    Nextbest,
    decide,
    problem_of,
    put_offer,
    tell,
    traces,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def other(shop: Nextbest) -> AsyncIterator[Instance]:
    """Another API instance of the same installation."""
    async with shop.another() as instance:
        yield instance


def ask(**fields: Any) -> dict[str, Any]:
    """A request that asks for a decision."""
    return {"json": {"customer_id": "ann", "placement": "home"} | fields, "role": "frontend"}


async def test_an_answer(api: Instance) -> None:
    answer = await decide(api)
    DecisionAnswer.model_validate(answer, strict=True, extra="forbid")
    assert answer["policy"] == {"name": "calibrated", "version": 1}
    assert answer["degraded"] == []
    assert answer["feedback_until"].endswith("Z")
    assert [offer["rank"] for offer in answer["offers"]] == [1, 2]
    assert {offer["offer_id"] for offer in answer["offers"]} == {"gold", "silver"}
    for offer in answer["offers"]:
        factors = offer["factors"]
        assert offer["score"] == factors["P"] * factors["C"] * factors["V"] * factors["L"]
        assert 0 < offer["probability"] <= 1
        assert offer["treatment"]["title"] == offer["offer_id"]


async def test_a_decision_can_be_read_again(shop: Nextbest) -> None:
    context = {"page": "cards", "nested": [1, {"a": None}], "ünï": "💥", "n": 10**30, "x": 0.1}
    answer = await decide(shop.api, context=context, limit=1)
    path = f"/v1/decisions/{answer['decision_id']}"
    waiting = await shop.api.ok("GET", path, role="scientist")
    await tell(shop.api, answer["decision_id"], answer["offers"][0]["offer_id"], "clicked", value=2)
    await shop.worker.drain()
    archived = await shop.api.ok("GET", path, role="ops")
    for record in (waiting, archived):
        DecisionRecord.model_validate(record)
        assert record["context"] == context
        assert record["customer_id"] == "ann"
        assert {name: record[name] for name in answer} == answer
        assert (record["limit"], record["slots"], record["source"]) == (1, 1, "live")
    assert (waiting["archived"], archived["archived"]) == (False, True)
    assert waiting["candidates"] is None
    assert [candidate["prior"] for candidate in archived["candidates"]] == [None, None]
    outcome = archived["outcomes"][0]
    assert (outcome["outcome"], outcome["value"], outcome["late"]) == ("clicked", 2, False)


async def test_what_is_not_there(api: Instance) -> None:
    assert (
        "nowhere"
        in problem_of(await api.call("POST", "/v1/decisions", **ask(placement="nowhere")), 404)["detail"]
    )
    for decision_id in ("never", "nb000-" + "0" * 32, "nbfff-" + "0" * 32, "past-1"):
        problem_of(await api.call("GET", f"/v1/decisions/{decision_id}"), 404)


async def test_the_same_id_gives_the_same_answer_byte_for_byte(shop: Nextbest, other: Instance) -> None:
    first = await shop.api.call("POST", "/v1/decisions", **ask(decision_id="visit-1"))
    await shop.api.call("POST", "/v1/decisions", **ask(decision_id="visit-1"))  # notes that it was handed out
    before = await traces(shop)
    for instance in (shop.api, other, shop.api):
        again = await instance.call(
            "POST", "/v1/decisions", **ask(decision_id="visit-1", limit=1, context={"a": 1})
        )
        assert (again.status_code, again.content) == (200, first.content)
    assert await traces(shop) == before
    await tell(shop.api, "visit-1", first.json()["offers"][0]["offer_id"], "accepted")
    await shop.worker.drain()
    after = await other.call("POST", "/v1/decisions", **ask(decision_id="visit-1"))
    assert after.content == first.content


async def test_the_same_id_gives_the_same_answer_after_its_window(shop: Nextbest, other: Instance) -> None:
    first = await shop.api.call("POST", "/v1/decisions", **ask(decision_id="old"))
    await shop.worker.drain()
    keys, redis = shop.api.state.keys, shop.api.state.redis
    assert await redis.delete(keys.decision(keys.bucket("ann"), "old"))  # as it would expire
    for instance in (shop.api, other):
        again = await instance.call("POST", "/v1/decisions", **ask(decision_id="old"))
        assert (again.status_code, again.content) == (200, first.content)
        problem_of(
            await instance.call("POST", "/v1/decisions", **ask(decision_id="old", placement="desk")), 409
        )


async def test_the_same_id_at_once_in_two_instances(shop: Nextbest, other: Instance) -> None:
    for name in ("race-1", "race-2", "race-3"):
        requests = [
            instance.call("POST", "/v1/decisions", **ask(decision_id=name, placement="desk"))
            for instance in (shop.api, other) * 10
        ]
        answers = {response.content for response in await asyncio.gather(*requests)}
        assert len(answers) == 1
        assert json.loads(answers.pop())["decision_id"] == name


async def test_an_id_belongs_to_one_customer(shop: Nextbest, other: Instance) -> None:
    await decide(shop.api, decision_id="hers")
    for instance in (shop.api, other):
        response = await instance.call("POST", "/v1/decisions", **ask(decision_id="hers", customer_id="bob"))
        assert "customer" in problem_of(response, 409)["detail"]
        response = await instance.call("POST", "/v1/decisions", **ask(decision_id="hers", placement="desk"))
        assert "placement" in problem_of(response, 409)["detail"]


async def test_of_customers_who_race_for_an_id_one_gets_it(shop: Nextbest, other: Instance) -> None:
    names = [f"racer-{number}" for number in range(20)]
    responses = await asyncio.gather(
        *(
            (shop.api, other)[at % 2].call(
                "POST", "/v1/decisions", **ask(decision_id="prize", customer_id=name)
            )
            for at, name in enumerate(names)
        )
    )
    statuses = [response.status_code for response in responses]
    assert sorted(statuses) == [200] + [409] * 19
    record = await shop.api.ok("GET", "/v1/decisions/prize")
    assert record["customer_id"] == names[statuses.index(200)]


async def test_a_dry_run_leaves_no_trace(shop: Nextbest) -> None:
    await shop.worker.drain()
    consent = {"consents": {"marketing": ["*"]}}
    await shop.api.ok("PUT", "/v1/customers/dry", json=consent)
    redis: Any = shop.api.state.redis
    await redis.delete(shop.api.state.keys.profile("dry"))  # what the change has left there keeps others out
    before, keys = await traces(shop), {key async for key in redis.scan_iter()}
    for _ in range(3):
        answer = await decide(shop.api, "dry", dry_run=True, decision_id="dry-1")
        assert answer["offers"]
        assert answer["feedback_until"] is None
        await decide(shop.api, "nobody", dry_run=True)
    await shop.worker.drain()
    await asyncio.sleep(0.05)  # for what might be done in the background
    assert await traces(shop) == before
    assert {key async for key in redis.scan_iter()} <= keys
    problem_of(await shop.api.call("GET", "/v1/decisions/dry-1"), 404)
    feedback = {"decision_id": "dry-1", "offer_id": "gold", "outcome": "clicked"}
    problem_of(await shop.api.call("POST", "/v1/feedback", json=feedback), 404)
    assert (await decide(shop.api, "bob", decision_id="dry-1"))["decision_id"] == "dry-1"


async def test_limit(api: Instance) -> None:
    for limit, offers in ((None, 2), (1, 1), (2, 2), (100, 2)):
        answer = await decide(api, limit=limit)
        assert len(answer["offers"]) == offers


async def test_a_limit_above_the_slots_is_said_and_not_cut_silently(api: Instance) -> None:
    (warning,) = (await decide(api, limit=100))["warnings"]
    assert warning["field"] == "limit"
    assert "2 slots" in warning["message"]
    assert "warnings" not in await decide(api, limit=2)


async def test_an_answer_can_be_lean(shop: Nextbest) -> None:
    """Promised: a web page asks for what it shows, and does not see scores and values."""
    full = await decide(shop.api, decision_id="lean-1")
    lean = await decide(shop.api, decision_id="lean-1", fields=["treatment"])
    assert [set(offer) for offer in lean["offers"]] == [{"offer_id", "rank", "treatment"}] * 2
    assert [o["treatment"] for o in lean["offers"]] == [o["treatment"] for o in full["offers"]]
    bare = await decide(shop.api, decision_id="lean-1", fields=[])
    assert [set(offer) for offer in bare["offers"]] == [{"offer_id", "rank"}] * 2
    assert await decide(shop.api, decision_id="lean-1") == full
    DecisionAnswer.model_validate(lean)
    refused = await shop.api.call("POST", "/v1/decisions", **ask(fields=["price"]))
    assert problem_of(refused, 422, "fields.0")


async def test_contact_limits_hold_at_once_in_two_instances(shop: Nextbest, other: Instance) -> None:
    await shop.api.ok("PUT", "/v1/customers/eve", json={"consents": {"marketing": ["web"]}})
    placement = {"channel": "web", "slots": 3, "control_share": 0, "deadline_ms": 5000}
    await shop.api.ok("PUT", "/v1/placements/wide", json=placement)

    async def known() -> bool:
        return (await other.call("GET", "/v1/placements/wide")).status_code == 200

    await eventually(known, "the other instance to know the placement")
    answers = await asyncio.gather(*(decide(i, "eve", "wide") for i in (shop.api, other) * 10))
    phones = [offer for answer in answers for offer in answer["offers"] if offer["offer_id"] == "phone"]
    assert len(phones) == 2
    assert all(answer["degraded"] == [] for answer in answers)


async def test_a_deadline_that_cannot_be_kept_gets_the_defaults(shop: Nextbest) -> None:
    """One millisecond may or may not do; whichever it is, the answer is a good one."""
    for number in range(20):
        answer = await decide(shop.api, f"hurried-{number}", deadline_ms=1)
        if answer["degraded"]:
            assert answer["degraded"] == ["deadline_exceeded"]
            assert answer["policy"]["name"] == "default"
            assert answer["feedback_until"] is None
            (offer,) = answer["offers"]
            assert (offer["offer_id"], offer["rank"], offer["treatment"]["title"]) == ("silver", 1, "silver")
            assert offer["score"] is offer["factors"] is offer["probability"] is None
        else:
            assert len(answer["offers"]) == 2


async def test_defaults_keep_dates_and_consent(shop: Nextbest) -> None:
    await put_offer(shop.api, "over", ends_at="2026-01-01T00:00:00Z")
    body = {"channel": "web", "slots": 5, "default_offers": ["phone", "over", "gold", "silver"]}
    await shop.api.ok("PUT", "/v1/placements/fallback", json=body)
    dead = "redis://127.0.0.1:1/0"
    async with shop.another(redis_url=dead) as instance:
        answer = await decide(instance, placement="fallback")
        assert "contact_history_unavailable" in answer["degraded"]
        assert answer["feedback_until"] is None
        assert {offer["offer_id"] for offer in answer["offers"]} <= {"gold", "silver"}


async def test_context_within_its_limits(shop: Nextbest) -> None:
    size = shop.settings.context_bytes
    room = size - len('{"a":""}')
    deep: Any = 1
    for _ in range(16):
        deep = [deep]
    contexts: list[tuple[Any, int]] = [
        ({"a": "x" * room}, 200),
        ({"a": "x" * (room + 1)}, 422),
        ({"a": "ü" * (room // 2)}, 200),
        ({"a": "ü" * (room // 2 + 1)}, 422),
        ({"a": deep[0]}, 200),
        ({"a": [deep]}, 422),
        ({"": ""}, 200),
        ({"a": 10**308}, 200),  # larger ones: test_rule_bounds.py
        ({"a": "\x00"}, 422),
        ({"\x00": 1}, 422),
        ({str(number): 1 for number in range(400)}, 200),
    ]
    for context, status in contexts:
        response = await shop.api.call("POST", "/v1/decisions", **ask(context=context))
        assert response.status_code == status, context
        if status == 422:
            problem_of(response, 422, "context")
        else:
            record = await shop.api.ok("GET", f"/v1/decisions/{response.json()['decision_id']}")
            assert record["context"] == context
    await shop.worker.drain()


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1.8e308"])
async def test_numbers_beyond_all_bounds(api: Instance, number: str) -> None:
    body = f'{{"customer_id": "ann", "placement": "home", "context": {{"a": [{number}]}}}}'
    problem_of(await api.call("POST", "/v1/decisions", content=body, headers=JSON), 422, "context")


async def test_texts_are_kept_as_they_are(shop: Nextbest) -> None:
    title = "\u202e<script>alert(1)</script>\r\nSet-Cookie: a=b 💥 'quoted' \"twice\""
    await put_offer(shop.api, "texts")
    treatment = {"channel": "shelf", "title": title, "message": title, "image": "javascript:alert(1)"}
    await shop.api.ok("PUT", "/v1/offers/texts/treatments/shelf", json=treatment)
    await shop.api.ok("PUT", "/v1/placements/shelf", json={"channel": "shelf", "deadline_ms": 5000})
    response = await shop.api.call("POST", "/v1/decisions", **ask(placement="shelf"))
    assert response.json()["offers"][0]["treatment"]["title"] == title
    assert response.headers["Content-Type"] == "application/json"
    assert "set-cookie" not in response.headers


async def test_default_offers_fill_slots_that_stay_empty(shop: Nextbest) -> None:
    """Promised: a placement with ``fill_with_defaults`` shows defaults behind what was chosen, the same on a retry."""
    for offer_id, least in (("only", 0.0), ("filler", 1.0)):
        await put_offer(shop.api, offer_id, min_propensity=least)
        treatment = {"channel": "tv", "title": offer_id, "link": "/tv", "button": "Watch"}
        await shop.api.ok("PUT", f"/v1/offers/{offer_id}/treatments/tv", json=treatment)
    placement = {"channel": "tv", "slots": 2, "default_offers": ["filler"], "control_share": 0.0}
    await shop.api.ok("PUT", "/v1/placements/tv", json=placement, role="ops")
    assert [o["offer_id"] for o in (await decide(shop.api, placement="tv"))["offers"]] == ["only"]
    await shop.api.ok("PUT", "/v1/placements/tv", json=placement | {"fill_with_defaults": True}, role="ops")
    answer = await decide(shop.api, placement="tv", decision_id="tv-1")
    only, filler = answer["offers"]
    assert (only["offer_id"], only["rank"], only["probability"]) == ("only", 1, 1.0)
    assert (filler["offer_id"], filler["rank"], filler["probability"]) == ("filler", 2, None)
    assert not answer["nothing_right_now"]
    assert await decide(shop.api, placement="tv", decision_id="tv-1") == answer
    alone = await decide(shop.api, placement="tv", limit=1)
    assert [o["offer_id"] for o in alone["offers"]] == ["only"]
    assert (only["treatment"]["link"], only["treatment"]["button"]) == ("/tv", "Watch")
