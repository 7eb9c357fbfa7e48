"""Contacts about one case, against all cases: who has far more than is usual is left in peace, but served."""

from typing import Any

import pytest
import pytest_asyncio

from decisioning.events.store_population import PopulationStore
from decisioning.recovery.store_rebuild import Rebuilder
from storage import clock
from storage.clock import HOUR_MS
from tests.support.api import Nextbest, decide, problem_of, put_offer
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCHEMA = {"properties": {"case_id": {"type": "string"}, "reason": {"enum": ["bill", "complaint"]}}}
ABOUT = {
    "event": "contact",
    "function": "deviation",
    "against": "all",
    "key": "case_id",
    "closed_by": "case-closed",
    "window": "90d",
    "where": "event.reason == 'complaint'",
}
SIGNAL = {
    "when": "events.vs_cases > 3.0",
    "reason": "in-peace",
    "scope": {"except_goals": ["serve", "retain"]},
}


async def tell(nextbest: Nextbest, customer: str, case: str, times: int, closes: bool = False) -> None:
    """Tell contacts about a case, or that it is closed."""
    events: list[dict[str, Any]] = [
        {
            "event_id": f"{customer}-{case}-{n}{closes}",
            "customer_id": customer,
            "type": "case-closed" if closes else "contact",
            "properties": {"case_id": case} | ({} if closes else {"reason": "complaint"}),
        }
        for n in range(times)
    ]
    answer = await nextbest.api.ok("POST", "/v1/events/batch", json={"items": events})
    assert answer["refused"] == 0, answer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(shop: Nextbest) -> Nextbest:
    """Sales and service offers, and 40 cases of which most have one contact or two."""
    api = shop.api
    await api.ok("PUT", "/v1/reasons/in-peace", json={"name": "Leave in peace"})
    await api.ok("PUT", "/v1/groups/service", json={"name": "Service", "goal": "serve"})
    await put_offer(api, "call-back", group="service")
    open_ = {"slots": 9, "control_share": 0, "deadline_ms": 5000}
    await api.ok("PUT", "/v1/placements/wide", json=open_ | {"channel": "web"})
    await api.ok("PUT", "/v1/event-types/contact", json={"name": "Contact", "json_schema": SCHEMA})
    await api.ok("PUT", "/v1/event-types/case-closed", json={"name": "Closed", "json_schema": SCHEMA})
    await api.ok("PUT", "/v1/aggregates/vs_cases", json=ABOUT)
    body = ABOUT | {"function": "count", "against": "self"}
    await api.ok("PUT", "/v1/aggregates/one_case", json=body)
    await api.ok("PUT", "/v1/signals/same-complaint", json=SIGNAL)
    for n in range(40):
        await tell(shop, f"usual-{n}", f"case-{n}", 1 + n % 2)
    return shop


async def survey(nextbest: Nextbest) -> None:
    """Survey all cases, and let the API know."""
    state = nextbest.api.state
    store = PopulationStore(state.redis)
    await store.survey(state.current_catalogue().event_definitions, clock.now_ms())
    await state.population.refresh()


async def offered(nextbest: Nextbest, customer: str) -> tuple[set[str], list[str]]:
    """The offers of a decision, and the signals that close others."""
    made = await decide(nextbest.api, customer, "wide")
    return {o["offer_id"] for o in made["offers"]}, [s["name"] for s in made.get("signals", ())]


async def told(nextbest: Nextbest, customer: str) -> dict[str, Any]:
    """What events tell of a customer."""
    found: dict[str, Any] = (await nextbest.api.ok("GET", f"/v1/customers/{customer}/told"))["events"]
    return found


async def test_far_more_contacts_about_one_case_close_sales_but_not_service_until_it_is_closed(
    desk: Nextbest,
) -> None:
    await tell(desk, "often", "one", 7)
    for n in range(7):
        await tell(desk, "many-matters", f"matter-{n}", 1)
    everything, none = await offered(desk, "often")
    assert "call-back" in everything
    assert len(everything) > 1
    assert none == []  # nobody has surveyed yet
    await survey(desk)
    assert (await told(desk, "often"))["vs_cases"] > 3.0
    assert (await told(desk, "often"))["one_case"] == 7
    assert await offered(desk, "often") == ({"call-back"}, ["Leave in peace"])
    assert (await told(desk, "many-matters"))["one_case"] == 1
    assert await offered(desk, "many-matters") == (everything, [])
    await tell(desk, "often", "one", 1, closes=True)
    assert await offered(desk, "often") == (everything, [])
    assert await told(desk, "often") == {"one_case": 0}


async def test_contacts_of_a_visitor_about_the_same_case_add_up_and_a_rebuild_reads_the_same(
    desk: Nextbest,
) -> None:
    await tell(desk, "visitor:before", "two", 3)
    await tell(desk, "whole", "two", 4)
    await desk.api.ok("POST", "/v1/customers/whole/merge", json={"visitor_id": "before"})
    await survey(desk)
    before = await told(desk, "whole")
    assert before["one_case"] == 7
    await desk.worker.drain()
    state = desk.api.state
    await state.redis.delete(state.keys.events("whole"))
    assert (await told(desk, "whole"))["one_case"] == 0
    await Rebuilder(
        state.engine, state.redis, state.keys, state.roster, state.catalogues, clock.now_ms
    ).rebuild()
    assert await told(desk, "whole") == before


async def test_an_erasure_takes_what_was_counted(desk: Nextbest) -> None:
    await tell(desk, "gone", "three", 5)
    assert (await told(desk, "gone"))["one_case"] == 5
    await desk.api.ok("POST", "/v1/customers/gone/erase", json={"keep_out": False}, role="ops")
    assert (await told(desk, "gone"))["one_case"] == 0


async def test_what_cannot_be_compared_is_refused(desk: Nextbest) -> None:
    body = ABOUT | {"against": "self"}
    answer = problem_of(await desk.api.call("PUT", "/v1/aggregates/wrong", json=body), 422)
    assert "key" in str(answer)


async def test_an_open_complaint_or_a_promise_past_its_time_stops_sales_but_not_service(
    desk: Nextbest,
) -> None:
    api = desk.api
    properties = {
        "case_id": {"type": "string"},
        "due_at": {"type": "string", "format": "date-time"},
        "kind": {"enum": ["complaint", "fault"]},
    }
    body: dict[str, Any] = {"name": "Opened", "json_schema": {"properties": properties}}
    await api.ok("PUT", "/v1/event-types/case-opened", json=body)
    cases = {"event": "case-opened", "key": "case_id", "closed_by": "case-closed"}
    complaints = {"function": "open", "where": "event.kind == 'complaint'"}
    await api.ok("PUT", "/v1/aggregates/open_complaints", json=cases | complaints)
    overdue = {"function": "overdue", "due": "due_at"}
    await api.ok("PUT", "/v1/aggregates/broken_promises", json=cases | overdue)
    when = {"when": "events.open_complaints > 0 || events.broken_promises > 0"}
    await api.ok("PUT", "/v1/signals/open-case", json=SIGNAL | when)

    async def open_case(customer: str, event_id: str, kind: str, due_in_ms: int = 0) -> None:
        told = {"case_id": "a", "kind": kind, "due_at": clock.to_iso(clock.now_ms() + due_in_ms)}
        event = {"event_id": event_id, "customer_id": customer, "type": "case-opened", "properties": told}
        await api.ok("POST", "/v1/events", json=event)

    everything, none = await offered(desk, "complains")
    assert len(everything) > 1
    assert none == []
    await open_case("complains", "open-1", "complaint", HOUR_MS)
    assert await offered(desk, "complains") == ({"call-back"}, ["Leave in peace"])
    await tell(desk, "complains", "a", 1, closes=True)
    assert await offered(desk, "complains") == (everything, [])
    await open_case("complains", "open-2", "complaint", HOUR_MS)
    assert await offered(desk, "complains") == ({"call-back"}, ["Leave in peace"])

    await open_case("waits", "fault-1", "fault", HOUR_MS)
    assert await offered(desk, "waits") == (everything, [])
    await open_case("waited", "fault-2", "fault", 1000)

    async def is_in_peace() -> bool:
        return await offered(desk, "waited") == ({"call-back"}, ["Leave in peace"])

    await eventually(is_in_peace, "the promise to be past its time, without any event")
