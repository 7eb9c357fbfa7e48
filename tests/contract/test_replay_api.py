"""Replays over HTTP: a decision made again from the log, beside what was answered."""

import json

import pytest
from sqlalchemy import text

from tests.support.api import CSV, Nextbest, decide, problem_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_decision_is_replayed_bit_for_bit(shop: Nextbest) -> None:
    answer = await decide(shop.api, "ann")
    await shop.worker.drain()
    found = await shop.api.ok("GET", f"/v1/decisions/{answer['decision_id']}/replay", role="scientist")
    assert (found["identical"], found["difference"], found["caveat"]) == (True, 0.0, None)
    assert found["logged"] == found["replayed"]
    assert [(o["offer_id"], o["rank"], o["score"], o["factors"]) for o in found["replayed"]] == [
        (o["offer_id"], o["rank"], o["score"], o["factors"]) for o in answer["offers"]
    ]
    assert found["policy"] == "calibrated@1"


async def test_a_record_that_was_changed_is_told(shop: Nextbest) -> None:
    answer = await decide(shop.api, "ben")
    decision_id = answer["decision_id"]
    await shop.worker.drain()
    path = f"/v1/decisions/{decision_id}/replay"
    assert (await shop.api.ok("GET", path))["identical"]

    async def change(place: list[str], value: object) -> None:
        async with shop.api.state.engine.begin() as connection:
            statement = "UPDATE decisions SET header = jsonb_set(header, cast(:place AS text[]), cast(:value AS jsonb))"
            values = {"place": place, "value": json.dumps(value), "id": decision_id}
            await connection.execute(text(f"{statement} WHERE decision_id = :id"), values)

    await change(["offers", "0", "score"], answer["offers"][0]["score"] * 2)
    found = await shop.api.ok("GET", path)
    assert (found["identical"], found["difference"]) == (False, 0.5)
    assert found["logged"][0]["score"] == 2 * found["replayed"][0]["score"]
    await change(["runtime"], "python 3.1 numpy 0.1")
    assert "python 3.1 numpy 0.1" in (await shop.api.ok("GET", path))["caveat"]
    await change(["offers", "0", "offer_id"], "other")
    assert (await shop.api.ok("GET", path))["difference"] is None


async def test_what_cannot_be_replayed_is_refused(shop: Nextbest) -> None:
    problem_of(await shop.api.call("GET", "/v1/decisions/none/replay"), 404)
    row = "ann,gold,2026-01-02T10:00:00Z,accepted,home"
    content = f"customer_id,offer_id,decided_at,outcome,placement\n{row}"
    await shop.api.ok("POST", "/v1/imports/history", content=content, headers=CSV)
    await shop.worker.drain()
    (imported,) = [
        one["decision_id"]
        for one in (await shop.api.ok("GET", "/v1/customers/ann/decisions"))["decisions"]
        if one["source"] == "history"
    ]
    refused = problem_of(await shop.api.call("GET", f"/v1/decisions/{imported}/replay"), 409)
    assert "made elsewhere" in refused["detail"]
