"""How far a customer is off what is usual among all: surveyed by a worker, known to rules, logged and replayed."""

import pytest

from decisioning.events.store_population import PopulationStore, PopulationSurvey
from profiles.events.definitions import EventDefinitions
from storage import clock
from tests.support.api import Nextbest, decide
from tests.support.triggers import Triggers

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMPLAINTS = {"event": "complaint", "function": "deviation", "window": "90d", "against": "all"}


async def complain(nextbest: Nextbest, customer: str, times: int) -> None:
    """Tell complaints of a customer."""
    events = [
        {"event_id": f"{customer}-{n}", "customer_id": customer, "type": "complaint"} for n in range(times)
    ]
    answer = await nextbest.api.ok("POST", "/v1/events/batch", json={"items": events})
    assert answer["refused"] == 0


async def test_who_complains_far_more_than_others_is_left_in_peace(shop: Nextbest) -> None:
    api, state = shop.api, shop.api.state
    await api.ok("PUT", "/v1/event-types/complaint", json={"name": "Complaint"})
    await api.ok("PUT", "/v1/aggregates/complaints_vs_all", json=COMPLAINTS)
    await api.ok("PUT", "/v1/reasons/in-peace", json={"name": "Leave in peace"})
    signal = {"when": "events.complaints_vs_all > 3.0", "reason": "in-peace"}
    await api.ok("PUT", "/v1/signals/complaining", json=signal)
    await api.ok(
        "PUT", "/v1/placements/sure", json={"channel": "web", "control_share": 0, "deadline_ms": 5000}
    )
    for n in range(40):
        await complain(shop, f"usual-{n}", 1 + n % 2)
    await complain(shop, "often", 9)

    assert (await api.ok("GET", "/v1/customers/often/told"))["events"] == {}  # nobody has surveyed yet
    assert (await decide(api, "often", "sure"))["offers"]

    async def definitions() -> EventDefinitions:
        return state.current_catalogue().event_definitions

    job = PopulationSurvey(PopulationStore(state.redis), definitions, clock.now_ms, 3600.0)
    assert await job.round() == 30.0
    (usual,) = (await state.population.refresh()).values()
    assert usual.customers == 41
    assert usual.mean == pytest.approx(69 / 41)
    await job.round()
    assert list((await state.population.refresh()).values()) == [usual]  # it is not due yet

    found = (await api.ok("GET", "/v1/customers/often/told"))["events"]["complaints_vs_all"]
    assert found == pytest.approx((9 - usual.mean) / usual.deviation)
    made = await decide(api, "often", "sure")
    assert made["offers"] == []
    assert [s["signal"] for s in made["signals"]] == ["complaining"]
    assert (await decide(api, "usual-1", "sure"))["offers"]

    for customer in ("often", "usual-1"):
        await api.ok("PUT", f"/v1/customers/{customer}", json={})
    preview = await api.ok("POST", "/v1/rules/preview", json={"expression": "events.complaints_vs_all > 3.0"})
    assert (preview["matching"], preview["examples"], preview["sample"]) == (1, ["often"], 2)
    change = {
        "kind": "signal",
        "id": "complaining",
        "body": signal | {"when": "events.complaints_vs_all < 3.0"},
    }
    simulated = await api.ok("POST", "/v1/simulations", json={"placement": "sure", "changes": [change]})
    # Each of the two gets what the other one got.
    assert (simulated["customers"], simulated["customers_with_another_answer"]) == (2, 2)

    await shop.worker.drain()
    await complain(shop, "usual-2", 60)  # what is usual changes, and the record stays as it was
    await PopulationStore(state.redis).survey(await definitions(), clock.now_ms())
    record = await api.ok("GET", f"/v1/decisions/{made['decision_id']}")
    assert record["seen"]["events"]["complaints_vs_all"] == found
    explained = await api.ok("GET", f"/v1/decisions/{made['decision_id']}/explanation")
    stages = {c["offer_id"]: c.get("stage") for c in explained["candidates"]}
    assert stages["gold"] == "signal"


async def test_conditions_of_triggers_know_what_is_usual(shop: Nextbest) -> None:
    triggers = Triggers(shop)
    await PopulationStore(shop.api.state.redis).survey(
        shop.api.state.current_catalogue().event_definitions, clock.now_ms()
    )
    await triggers.declare("unusual", {"event": "complaint"}, when="events.complaints_vs_all > 3.0")
    for customer in ("usual-2", "usual-3"):
        event = {"event_id": f"{customer}-more", "customer_id": customer, "type": "complaint"}
        await shop.api.ok("POST", "/v1/events", json=event)
    await triggers.follow()
    assert await triggers.fired("unusual") == [("usual-2", "event usual-2-more")]
