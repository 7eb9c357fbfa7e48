"""The contact policy over HTTP: from a policy that ops publish to what front ends get, and why."""

import asyncio
from typing import Any

import pytest

from app.worker.expirer import Expirer
from decisioning.log.closing_service import ArchivedClosing
from decisioning.log.store_redis import RedisLog
from decisioning.log.store_stream import LogReader
from storage.keys import Keys
from storage.redis import make_redis
from tests.support.api import Instance, Nextbest, decide, tell
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOUR_S = 3600


async def world(
    api: Instance, name: str, *, offers: int = 3, placement: dict[str, Any], **fields: Any
) -> None:
    """A group, a channel and a placement of this name, with offers ``<name>-0`` and so on."""
    await api.ok("PUT", f"/v1/groups/{name}", json={"name": name, "goal": "grow"})
    for number in range(offers):
        offer_id = f"{name}-{number}"
        await api.ok("PUT", f"/v1/offers/{offer_id}", json={"name": offer_id, "group": name} | fields)
        await api.ok("PUT", f"/v1/offers/{offer_id}/treatments/t", json={"channel": name, "title": offer_id})
    body = {"channel": name, "control_share": 0, "deadline_ms": 5000} | placement
    await api.ok("PUT", f"/v1/placements/{name}", json=body)


async def policy(api: Instance, name: str, **fields: Any) -> None:
    """A contact policy about the group of this name."""
    body = {"name": f"limit of {name}", "scope": "group", "applies_to": name, "window_s": HOUR_S} | fields
    await api.ok("PUT", f"/v1/contact-policies/{name}", json=body, role="ops")


def ids(answer: Any) -> list[str]:
    """The offers of an answer."""
    return [offer["offer_id"] for offer in answer["offers"]]


async def test_two_slots_of_one_answer_count_together(api: Instance) -> None:
    await world(api, "pair", placement={"slots": 3})
    assert len(ids(await decide(api, "before", "pair"))) == 3
    await policy(api, "pair", max=2)
    assert len(ids(await decide(api, "after", "pair"))) == 2
    assert ids(await decide(api, "after", "pair")) == []


async def test_many_requests_at_once_never_exceed_a_policy(api: Instance) -> None:
    await world(api, "crowd", offers=6, placement={"slots": 2})
    await policy(api, "crowd", max=5)
    answers = await asyncio.gather(*(decide(api, "busy", "crowd") for _ in range(40)))
    assert sum(len(ids(answer)) for answer in answers) == 5


async def test_an_explanation_names_the_policy(api: Instance) -> None:
    await world(api, "why", placement={"slots": 1})
    await policy(api, "why", max=1, suppress_s=2 * HOUR_S)
    await decide(api, "ann", "why")
    answer = await decide(api, "ann", "why", explain=True)
    assert ids(answer) == []
    mine = [c for c in answer["explanation"] if c["offer_id"].startswith("why-")]
    assert len(mine) == 3
    for candidate in mine:
        (stop,) = candidate["stops"]
        assert (stop["stage"], stop["name"], stop["observed"]) == ("contact", "limit of why", 1)
        assert stop["required"] == {"max": 1, "window_s": HOUR_S, "suppress_s": 2 * HOUR_S}
        assert stop["allowed_again_ms"] > 0


async def test_a_customers_wish_holds_across_placements(api: Instance) -> None:
    await world(api, "here", placement={})
    await world(api, "there", placement={})
    await api.ok("PUT", "/v1/customers/calm", json={"attributes": {"max_contacts_per_day": 1}})
    assert len(ids(await decide(api, "calm", "here"))) == 1
    assert ids(await decide(api, "calm", "there")) == []
    await api.ok("PUT", "/v1/customers/calm", json={"attributes": {"max_contacts_per_day": 2}})
    assert len(ids(await decide(api, "calm", "there"))) == 1


async def test_a_rejection_is_respected_at_once(api: Instance) -> None:
    await world(api, "no", placement={}, after_rejection=[{"for_s": HOUR_S, "scope": "group"}])
    answer = await decide(api, "ann", "no")
    assert await tell(api, answer["decision_id"], ids(answer)[0], "rejected") == "recorded"
    assert ids(await decide(api, "ann", "no")) == []


async def test_an_unconfirmed_reservation_comes_back(shop: Nextbest) -> None:
    api = shop.api
    await world(api, "call", offers=1, placement={"presentation": "explicit", "confirm_within_s": 1})
    await policy(api, "call", max=1)
    assert shop.settings.redis_url is not None
    redis = make_redis(shop.settings.redis_url)
    reader = LogReader(redis, Keys(shop.settings.buckets))
    closing = ArchivedClosing(api.state.archive, reader, RedisLog(api.state.pipe, api.state.keys))
    expirer = Expirer(reader, closing, 0.0)

    async def again() -> Any:
        await expirer.round()
        return ids(await decide(api, "silent", "call"))

    first = await decide(api, "silent", "call")
    assert ids(first) == ["call-0"]
    confirmed = await decide(api, "talked", "call")
    assert await tell(api, confirmed["decision_id"], "call-0", "presented") == "recorded"
    assert ids(await decide(api, "silent", "call")) == []
    assert await eventually(again, "what was not confirmed to be offered again") == ["call-0"]
    assert ids(await decide(api, "talked", "call")) == []

    await shop.worker.drain()
    record = await api.ok("GET", f"/v1/decisions/{first['decision_id']}")
    assert [(o["outcome"], o["reward"]) for o in record["outcomes"]] == [("released", None)]
    assert await tell(api, first["decision_id"], "call-0", "presented") == "recorded"
    await redis.aclose()
