"""Conditions of triggers on the event that set them off, and triggers that are removed and declared again."""

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from decisioning.triggers.conditions_service import Conditions
from tests.support.api import Nextbest, problem_of
from tests.support.triggers import STREAM, Triggers
from tests.support.waiting import eventually, within

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROPERTIES = {
    "amount": {"type": "number"},
    "method": {"type": "string", "enum": ["card", "transfer"]},
    "iban": {"type": "string"},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def triggers(shop: Nextbest) -> Triggers:
    api = shop.api
    await api.ok("PUT", "/v1/attributes/customer.tier", json={"type": "string"})
    for name in ("payment", "order"):
        body = {"name": name, "json_schema": {"properties": PROPERTIES}, "personal": ["iban"]}
        await api.ok("PUT", f"/v1/event-types/{name}", json=body)
    await api.ok("PUT", "/v1/customers/ann", json={"attributes": {"tier": "A"}})
    await api.ok("PUT", "/v1/customers/bob", json={"attributes": {"tier": "B"}})
    return Triggers(shop)


async def test_a_trigger_fires_by_the_properties_of_its_event(triggers: Triggers) -> None:
    when = "event.amount > 100.0 && event.method == 'card' && customer.tier == 'A'"
    await triggers.declare("large", {"event": "payment"}, when=when)
    for customer_id in ("ann", "bob"):
        for number, (amount, method) in enumerate(((99, "card"), (150, "transfer"), (150.5, "card"))):
            await triggers.tell(
                "payment", customer_id, f"{customer_id}-{number}", amount=amount, method=method
            )
    await triggers.tell("payment", "ann", "ann-without", method="card")
    assert await triggers.follow() == 1, "what the event does not tell does not hold"
    assert await triggers.fired("large") == [("ann", "event ann-2")]


async def test_what_is_waited_for_is_asked_of_the_event_that_began_it(triggers: Triggers) -> None:
    on = {"event": "payment", "after_s": 60, "unless": ["order"]}
    await triggers.declare("waited", on, when="event.amount > 100.0")
    await triggers.tell("payment", "small", "small-1", amount=50)
    await triggers.tell("payment", "grown", "grown-1", amount=50)
    await triggers.tell("payment", "grown", "grown-2", amount=200)
    await triggers.follow()
    triggers.job = triggers.make()  # another worker ends the wait
    triggers.ahead_ms = 120_000
    await triggers.follow()
    assert await triggers.fired("waited") == [("grown", "event grown-2")]
    triggers.ahead_ms = 0


async def test_nobody_is_read_for_a_condition_on_the_event_alone(
    triggers: Triggers, monkeypatch: pytest.MonkeyPatch
) -> None:
    await triggers.declare("alone", {"event": "order"}, when="event.amount > 100.0")

    async def refuse(*_: Any) -> Any:
        raise AssertionError("a customer was read")

    monkeypatch.setattr(Conditions, "_facts", refuse)
    await triggers.tell("order", "ann", "ann-few", amount=1)
    await triggers.tell("order", "ann", "ann-many", amount=1000)
    await triggers.follow()
    assert await triggers.fired("alone") == [("ann", "event ann-many")]
    await triggers.nextbest.api.ok("DELETE", "/v1/triggers/alone", role="ops")


@pytest.mark.parametrize(
    ("on", "when", "told"),
    [
        ({"event": "payment"}, "event.amuont > 1.0", "write event.amount > 1.0"),
        ({"event": "payment"}, "event.amount > 'x'", "does not go with"),
        ({"event": "payment"}, "event.method == 'crad'", "did you mean 'card'?"),
        ({"event": "payment"}, "event.iban == 'x'", "it is personal"),
        ({"idle": ["payment"], "after_s": 60}, "event.amount > 1.0", "no attribute 'event.amount'"),
    ],
)
async def test_what_the_event_does_not_have_is_refused(
    triggers: Triggers, on: dict[str, Any], when: str, told: str
) -> None:
    body = {"on": on, "when": when, "placement": "home", "deliver": STREAM}
    answer = await triggers.nextbest.api.call("PUT", "/v1/triggers/odd", json=body)
    assert told in str(problem_of(answer, 422, "triggers.odd.when"))


async def test_an_event_cannot_lose_a_property_that_a_trigger_asks_for(triggers: Triggers) -> None:
    await triggers.declare("asks", {"event": "payment"}, when="event.amount > 100.0")
    body = {"name": "payment", "json_schema": {"properties": {"method": {"type": "string"}}}}
    answer = await triggers.nextbest.api.call("PUT", "/v1/event-types/payment", json=body)
    assert "event.amount" in answer.text
    assert answer.status_code == 422


async def test_what_a_removed_trigger_waited_for_is_not_that_of_one_of_its_name(triggers: Triggers) -> None:
    on = {"event": "payment", "after_s": 60, "restart": False}
    api = triggers.nextbest.api
    await triggers.declare("again", on)
    for customer_id in ("early", "both"):
        await triggers.tell("payment", customer_id, f"{customer_id}-1", ago_s=30)
    await triggers.follow()
    await api.ok("DELETE", "/v1/triggers/again", role="ops")
    body = {"on": on, "placement": "home", "deliver": STREAM, "again_after_s": 0}
    await api.ok("PUT", "/v1/triggers/again", json=body, role="ops")  # before any worker has seen it gone
    await triggers.tell("payment", "both", "both-2")
    await triggers.follow()
    triggers.ahead_ms = 120_000
    await triggers.follow()
    assert await triggers.fired("again") == [("both", "event both-2")]
    triggers.ahead_ms = 0
    await triggers.settle()
    assert await triggers.rows("again", "trigger_waits", "since") == []


async def test_a_worker_with_an_older_catalogue_forgets_no_waits_that_it_does_not_know(
    triggers: Triggers,
) -> None:
    other = triggers.make()
    await other._refresh()
    await triggers.declare("newer", {"event": "payment", "after_s": 60})
    await triggers.tell("payment", "ann", "ann-newer")
    await triggers.follow()
    while not await other.settle():
        pass
    assert len(await triggers.rows("newer", "trigger_waits", "since")) == 1


async def test_the_follower_wakes_for_what_a_trigger_looks_at_alone(triggers: Triggers) -> None:
    await triggers.nextbest.api.ok("PUT", "/v1/event-types/noise", json={"name": "Noise"})
    await triggers.declare("wakes", {"event": "order"})
    follower, plan = triggers.job.follower, triggers.job._plan
    before = dict(follower._read)
    waits = asyncio.create_task(follower.wait(plan, 30_000))
    await triggers.tell("noise", "ann", "noise-1")

    async def passed_over() -> bool:
        return follower._read != before

    await eventually(passed_over, "the event to be passed over")
    assert not waits.done()
    await triggers.tell("order", "ann", "wakes-1")
    await within(waits, "the follower to wake up", 10)
    assert await triggers.follow() >= 1, "what it was woken by is still to be read"
    assert await triggers.fired("wakes") == [("ann", "event wakes-1")]
    await triggers.nextbest.api.ok("DELETE", "/v1/triggers/wakes", role="ops")


async def test_an_idle_trigger_that_is_declared_again_begins_again_with_the_archive(
    triggers: Triggers,
) -> None:
    body = {"on": {"idle": ["order"], "after_s": 86_400}, "placement": "home", "deliver": STREAM}
    await triggers.tell("order", "idle", "idle-1", ago_s=60)
    await triggers.nextbest.worker.archive()
    api = triggers.nextbest.api
    for _ in range(2):
        await api.ok("PUT", "/v1/triggers/idle", json=body, role="ops")
        await triggers.follow()
        await triggers.settle()
        await api.ok("DELETE", "/v1/triggers/idle", role="ops")
    await api.ok("PUT", "/v1/triggers/idle", json=body, role="ops")  # no worker has seen that it was gone
    await triggers.follow()
    await triggers.settle()
    rows = await triggers.rows("idle", "trigger_waits", "since")
    assert "event idle-1" in {row.occasion for row in rows}
