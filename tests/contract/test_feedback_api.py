"""Feedback over HTTP: each outcome counts once, and what cannot be recorded is refused with a reason."""

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from app.api.feedback.schemas import FeedbackBatchAnswer
from storage import clock
from tests.support.api import Instance, Nextbest, decide, problem_of, put_offer, tell, traces
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def decided(api: Instance, **fields: Any) -> tuple[str, str]:
    """A fresh decision: its id and its first offer."""
    answer = await decide(api, **fields)
    return answer["decision_id"], answer["offers"][0]["offer_id"]


def item(decision_id: str, offer_id: str, outcome: str, **fields: Any) -> dict[str, Any]:
    """One piece of feedback."""
    return {"decision_id": decision_id, "offer_id": offer_id, "outcome": outcome} | fields


def in_seconds(seconds: float) -> str:
    """A time from now, in a zone far from here."""
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    return at.astimezone().isoformat() if seconds % 2 else at.isoformat().replace("+00:00", "Z")


async def test_an_outcome_counts_once(api: Instance) -> None:
    decision_id, offer_id = await decided(api)
    for outcome in ("presented", "clicked", "accepted"):
        assert (
            await tell(api, decision_id, offer_id, outcome, value=3, occurred_at=in_seconds(-1)) == "recorded"
        )
        assert await tell(api, decision_id, offer_id, outcome) == "duplicate"
        assert await tell(api, decision_id, offer_id, outcome, value=9) == "duplicate"


async def test_retries_at_once_in_two_instances(shop: Nextbest) -> None:
    decision_id, offer_id = await decided(shop.api)
    async with shop.another() as other:
        statuses = await asyncio.gather(
            *(tell(instance, decision_id, offer_id, "accepted") for instance in (shop.api, other) * 20)
        )
    assert Counter(statuses) == {"recorded": 1, "duplicate": 39}


async def test_the_first_answer_of_a_customer_counts(api: Instance) -> None:
    for first, second in (("accepted", "rejected"), ("rejected", "accepted")):
        decision_id, offer_id = await decided(api)
        await tell(api, decision_id, offer_id, first)
        response = await api.call("POST", "/v1/feedback", json=item(decision_id, offer_id, second))
        assert first in problem_of(response, 409)["detail"]


async def test_an_outcome_after_the_window_is_late(api: Instance) -> None:
    await api.ok(
        "PUT", "/v1/placements/brief", json={"channel": "web", "reward_window_s": 1, "deadline_ms": 5000}
    )
    decision_id, offer_id = await decided(api, placement="brief")
    assert await tell(api, decision_id, offer_id, "accepted", occurred_at=in_seconds(60)) == "late"
    assert await tell(api, decision_id, offer_id, "accepted") == "duplicate"


async def test_refusals_change_nothing(shop: Nextbest) -> None:
    decision_id, offer_id = await decided(shop.api)
    refused = {
        404: [item("never", offer_id, "clicked"), item("nb000-" + "0" * 32, offer_id, "clicked")],
        422: [
            item(decision_id, "phone", "clicked"),
            item(decision_id, "nothing", "clicked"),
            item(decision_id, offer_id, "clicked", occurred_at=in_seconds(3600)),
            item(decision_id, offer_id, "clicked", occurred_at=in_seconds(-3600)),
            item(decision_id, offer_id, "clicked", occurred_at="1970-01-21T10:54:00Z"),
            item(decision_id, offer_id, "expired"),
        ],
    }
    fields = iter(("offer_id", "offer_id", "occurred_at", "occurred_at", "occurred_at", "outcome"))
    before = await traces(shop)
    for status, items in refused.items():
        for body in items:
            response = await shop.api.call("POST", "/v1/feedback", json=body)
            problem_of(response, status, next(fields) if status == 422 else None)
    assert await traces(shop) == before


async def test_an_answer_that_was_taken_back_takes_no_feedback(shop: Nextbest) -> None:
    """Its caller got the defaults instead. Under an id of the caller's own the question may be asked again."""
    decision_id, offer_id = await decided(shop.api, decision_id="too-late")
    decided_at_ms = (await shop.api.ok("GET", f"/v1/decisions/{decision_id}"))["decided_at_ms"]
    await shop.api.state.decision_log.withdraw("ann", decision_id, decided_at_ms, clock.now_ms())
    for archived in (False, True):
        response = await shop.api.call("POST", "/v1/feedback", json=item(decision_id, offer_id, "clicked"))
        problem_of(response, 404)
        if not archived:
            await shop.worker.drain()
    again, offer_id = await decided(shop.api, decision_id="too-late")
    assert await tell(shop.api, again, offer_id, "clicked") == "recorded"
    await shop.worker.drain()
    assert await tell(shop.api, again, offer_id, "clicked") == "duplicate"
    record = await shop.api.ok("GET", "/v1/decisions/too-late")
    assert "clicked" in [outcome["outcome"] for outcome in record["outcomes"]]


async def test_a_batch_is_answered_item_by_item(api: Instance) -> None:
    decision_id, offer_id = await decided(api)
    items = [
        item(decision_id, offer_id, "presented"),
        item(decision_id, offer_id, "accepted"),
        item("never", offer_id, "accepted"),
        item(decision_id, offer_id, "rejected"),
        item(decision_id, "phone", "accepted"),
        item(decision_id, offer_id, "accepted"),
        item(decision_id, offer_id, "clicked", occurred_at=in_seconds(3600)),
    ]
    answer = await api.ok("POST", "/v1/feedback/batch", json={"items": items})
    assert [(a["status"], a["code"]) for a in answer["items"]] == [
        ("recorded", 200),
        ("recorded", 200),
        ("refused", 404),
        ("refused", 409),
        ("refused", 422),
        ("duplicate", 200),
        ("refused", 422),
    ]
    for answered in answer["items"]:
        assert (answered["reason"] is None) == (answered["code"] == 200)
    assert "occurred_at" in answer["items"][6]["reason"]
    assert [a["field"] for a in answer["items"]][4:] == ["offer_id", None, "occurred_at"]


async def test_a_batch_counts_each_outcome_once(api: Instance) -> None:
    decision_id, offer_id = await decided(api)
    items = [item(decision_id, offer_id, "clicked")] * 400
    answer = await api.ok("POST", "/v1/feedback/batch", json={"items": items})
    statuses = Counter(answered["status"] for answered in answer["items"])
    assert statuses == {"recorded": 1, "duplicate": 399}


async def test_the_answer_is_written_as_its_model_would_be(api: Instance) -> None:
    decision_id, offer_id = await decided(api)
    good = item(decision_id, offer_id, "presented"), item(decision_id, offer_id, "accepted", value=1.5)
    bad = [
        item("nobody", offer_id, "accepted"),
        item(decision_id, offer_id, "lovéd"),
        item(decision_id, offer_id, "rejected"),
        {"ø": 1},
    ]
    response = await api.call("POST", "/v1/feedback/batch", json={"items": [*good, *bad, *good]})
    answer = FeedbackBatchAnswer.model_validate_json(response.content)
    assert [one.code for one in answer.items] == [200, 200, 404, 422, 409, 422, 200, 200]
    rendered = json.dumps(answer.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":"))
    assert response.content.decode() == rendered
    assert response.headers["content-type"] == "application/json"


async def test_the_same_large_batch_at_once_in_two_instances(shop: Nextbest) -> None:
    names = [await decided(shop.api, customer_id=f"teller-{n}") for n in range(44)]
    names.append(await decided(shop.api, customer_id="teller-1", decision_id="own-batch"))
    outcomes = ("presented", "clicked", "accepted", "rejected")
    items = [item(*name, outcome) for outcome in outcomes for name in names]
    items = (items * 3)[:480]
    before = len(await recorded_outcomes(shop))
    async with shop.another() as other:
        one, two = await asyncio.gather(
            *(
                instance.ok("POST", "/v1/feedback/batch", json={"items": items})
                for instance in (shop.api, other)
            )
        )
    statuses = Counter(answered["status"] for answer in (one, two) for answered in answer["items"])
    assert statuses["recorded"] == 3 * len(names)
    assert statuses["refused"] == 2 * sum(body["outcome"] == "rejected" for body in items)
    assert statuses["duplicate"] == 2 * len(items) - statuses["recorded"] - statuses["refused"]
    assert len(await recorded_outcomes(shop)) - before == 3 * len(names)


async def recorded_outcomes(shop: Nextbest) -> list[tuple[bytes, ...]]:
    """What was told of decisions, as it stands in the log in Redis."""
    state = shop.api.state
    found: list[tuple[bytes, ...]] = []
    for bucket in range(state.keys.buckets):
        entries: Any = await state.redis.xrange(state.keys.log(bucket))
        for _, fields in entries:
            if fields[b"t"] == b"outcome":
                found.append((fields[b"id"], fields[b"o"], fields[b"k"]))
    assert len(set(found)) == len(found)
    return found


async def test_a_malformed_item_is_answered_for_itself_and_the_others_are_recorded(api: Instance) -> None:
    decision_id, offer_id = await decided(api)
    good = item(decision_id, offer_id, "presented"), item(decision_id, offer_id, "accepted")
    bad = [
        ({}, "decision_id"),
        (item(decision_id, offer_id, "bought"), "outcome"),
        (item(decision_id, offer_id, "clicked", occurred_at="yesterday"), "occurred_at"),
        (item(decision_id, offer_id, "clicked", surprise=1), "surprise"),
        (item(decision_id, "a b", "clicked"), "offer_id"),
        (item(decision_id, offer_id, "clicked", value="3"), "value"),
        (None, "item"),
        ("text", "item"),
    ]
    items = [good[0], *(wrong for wrong, _ in bad), good[1]]
    answer = await api.ok("POST", "/v1/feedback/batch", json={"items": items})
    assert answer["refused"] == len(bad)
    assert [a["index"] for a in answer["items"]] == list(range(len(items)))
    assert [answer["items"][at]["status"] for at in (0, -1)] == ["recorded", "recorded"]
    for answered, (_, field) in zip(answer["items"][1:-1], bad, strict=True):
        assert (answered["status"], answered["code"], answered["field"]) == ("refused", 422, field)
        assert field in answered["reason"]
    # The whole of it may be sent again: what was recorded counts once, what was refused is refused again.
    again = await api.ok("POST", "/v1/feedback/batch", json={"items": items})
    assert [again["items"][at]["status"] for at in (0, -1)] == ["duplicate", "duplicate"]
    assert again["items"][1:-1] == answer["items"][1:-1]


async def test_a_batch_that_is_no_batch_is_refused_as_a_whole(shop: Nextbest) -> None:
    decision_id, offer_id = await decided(shop.api)
    good = item(decision_id, offer_id, "clicked")
    before = await traces(shop)
    bodies: tuple[dict[str, Any], ...] = (
        {"items": []},
        {"items": good},
        {},
        {"items": [good], "more": 1},
        {"items": [good] * 1001},
    )
    for body, field in zip(bodies, ("items", "items", "items", "more", "items"), strict=True):
        response = await shop.api.call("POST", "/v1/feedback/batch", json=body)
        if len(body.get("items", ())) > 1000:
            assert response.status_code in (413, 422)
        else:
            problem_of(response, 422, field)
    assert await traces(shop) == before


async def test_feedback_is_learned_from_in_every_instance(shop: Nextbest) -> None:
    await put_offer(shop.api, "lesson")
    treatment = {"channel": "class", "title": "lesson"}
    await shop.api.ok("PUT", "/v1/offers/lesson/treatments/class", json=treatment)
    await shop.api.ok(
        "PUT", "/v1/placements/class", json={"channel": "class", "control_share": 0, "deadline_ms": 5000}
    )

    async def arm(instance: Instance) -> dict[str, Any] | None:
        arms = (await instance.ok("GET", "/v1/policies/thompson/arms", role="scientist"))["arms"]
        return next((a for a in arms if a["offer_id"] == "lesson" and a["observations"] > 2.9), None)

    async with shop.another() as other:
        for outcome in ("accepted", "rejected", "accepted"):
            decision_id, offer_id = await decided(shop.api, placement="class")
            await tell(shop.api, decision_id, offer_id, outcome)
        before = await decide(shop.api, placement="class", dry_run=True)
        await shop.worker.learn()
        for instance in (shop.api, other):
            found = await eventually(partial(arm, instance), "the arm with three outcomes")
            # Sums are normalised to the last of 32 steps a half-life: they may be 2 % more than what was told.
            assert found["observations"] == pytest.approx(3, rel=0.023)
            assert found["successes"] == pytest.approx(2, rel=0.023)
            assert found["mean"] == pytest.approx(2 / 3, abs=0.01)
            assert 0 <= found["low"] < 2 / 3 < found["high"] <= 1
        after = [await decide(i, placement="class", dry_run=True) for i in (shop.api, other)]
    assert before["offers"][0]["factors"]["P"] < after[0]["offers"][0]["factors"]["P"]
    assert after[0]["offers"][0]["factors"] == after[1]["offers"][0]["factors"]


async def test_arms_of_policies_that_learn_nothing(api: Instance) -> None:
    for policy in ("random", "propensity"):
        answer = await api.ok("GET", f"/v1/policies/{policy}/arms")
        assert (answer["policy"], answer["arms"]) == (policy, [])
    problem_of(await api.call("GET", "/v1/policies/nothing/arms"), 404)
    problem_of(await api.call("GET", "/v1/policies/a%20b/arms"), 422, "name")


async def test_the_largest_values_can_be_added_up(shop: Nextbest) -> None:
    for _ in range(3):
        decision_id, offer_id = await decided(shop.api, placement="desk")
        await tell(shop.api, decision_id, offer_id, "accepted", value=1e15)
    await shop.worker.drain()
    report = await shop.api.ok("GET", "/v1/reports/acceptance?by=placement&placement=desk")
    assert report["rows"][0]["value"] == 3e15


async def test_what_cannot_be_stored_is_not_acknowledged(shop: Nextbest) -> None:
    decision_id, offer_id = await decided(shop.api)
    body = item(decision_id, offer_id, "accepted")
    before = await traces(shop)
    async with shop.another(redis_url="redis://127.0.0.1:1/0") as deaf:
        response = await deaf.call("POST", "/v1/feedback", json=body)
        problem_of(response, 503)
        assert int(response.headers["Retry-After"]) >= 1
        batch = await deaf.ok("POST", "/v1/feedback/batch", json={"items": [body, body]})
        assert [a["code"] for a in batch["items"]] == [503, 503]
    assert await traces(shop) == before
    assert await tell(shop.api, decision_id, offer_id, "accepted") == "recorded"
