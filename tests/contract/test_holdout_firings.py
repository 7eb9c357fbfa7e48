"""The report on a hold-out counts customers whom only triggers reach, and those whom they would have reached."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from scipy import stats
from sqlalchemy import text

from decisioning.decide.policy_runner import assign_holdouts
from decisioning.decide.store_profiles import CachedProfiles
from decisioning.holdouts.holdout import Holdout
from decisioning.log.lookup_service import decision_of
from decisioning.model.trigger import DAY_OVER
from decisioning.privacy.pseudonym import PREFIX
from decisioning.reporting.store_asked_days import AskedDays
from decisioning.triggers.decision_service import FiringDecisions
from decisioning.triggers.delivery_service import FiringService
from decisioning.triggers.firing import Counted, Firing
from decisioning.triggers.store_delivery import FiringDeliveries
from decisioning.triggers.store_firings import insert_firings
from storage import clock
from tests.support.api import Nextbest, decide, tell
from tests.support.triggers import Triggers

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALL = Holdout("all", 0.4)
ONE = "/v1/reports/holdout/all"
_IDS = [f"customer-{n}" for n in range(60)]
HELD = [c for c in _IDS if assign_holdouts(c, [ALL], 0)]
TREATED = [c for c in _IDS if not assign_holdouts(c, [ALL], 0)]
ORDERS = {TREATED[0]: 3, TREATED[1]: 1, TREATED[2]: 2, TREATED[3]: 4, HELD[0]: 1, HELD[1]: 0, HELD[2]: 5}
"""Of each customer who counts, how many orders; the last of each side asked as well."""


class NoSender:
    """Takes whatever is sent."""

    async def send(self, *args: Any) -> None:
        """Take a message."""


async def deliver(shop: Nextbest) -> None:
    """Decide and deliver what has fired, as a worker does."""
    state = shop.api.state
    store = FiringDeliveries(state.engine)
    profiles = CachedProfiles(state.profiles, state.numbers)
    find = partial(decision_of, decision_log=state.decision_log, archive=state.archive)
    decisions = FiringDecisions(state.decisions, state.current_catalogue, profiles, store, clock.now_ms, find)
    service = FiringService(
        decisions, lambda: state.current_catalogue().triggers, NoSender(), store, clock.now_ms, lambda: 0.5
    )
    for firing in await store.claim(
        dict.fromkeys(state.current_catalogue().triggers, 100), {}, clock.now_ms()
    ):
        await service.bring_forward(firing)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fired(shop: Nextbest) -> Triggers:
    """Customers of both sides for whom triggers fire: at once, with several channels, too late, and those who ask."""
    api = shop.api
    await api.ok("PUT", "/v1/placements/call", json={"channel": "agent", "slots": 1, "deadline_ms": 5000})
    script = {"channel": "agent", "language": "en", "title": "Gold"}
    await api.ok("PUT", "/v1/offers/gold/treatments/script", json=script)
    for name in ("order", "visit", "basket", "move"):
        await api.ok("PUT", f"/v1/event-types/{name}", json={"name": name})
    await api.ok("PUT", "/v1/segments/everybody", json={"when": "true"})
    triggers = Triggers(shop)
    await triggers.declare("called", {"event": "visit"}, placement="call")
    await triggers.tell("visit", "before-it-began", "early")
    await triggers.follow()
    body = {"name": "", "share": ALL.share, "events": [{"event": "order"}]}
    await api.ok("PUT", "/v1/holdouts/all", json=body)
    channels = {"channels": [{"placement": "home"}, {"placement": "call", "cost": 0.01}], "placement": None}
    await triggers.declare("best", {"event": "basket"}, **channels)
    await triggers.declare("accepted", {"outcome": "accepted"})
    for customer, type_ in (
        (TREATED[0], "visit"),
        (TREATED[1], "basket"),
        (TREATED[2], "visit"),
        (HELD[0], "visit"),
        (HELD[1], "basket"),
    ):
        await triggers.tell(type_, customer, f"{type_}-{customer}")
    await triggers.follow()
    async with state_of(shop).engine.begin() as connection:  # its time is over before it is decided
        late = "UPDATE trigger_firings SET deadline_at = fired_at WHERE customer_id = :c"
        await connection.execute(text(late), {"c": TREATED[2]})
    for customer in (TREATED[3], HELD[2]):
        answer = await decide(api, customer)
        for offer in answer["offers"][:1]:
            await tell(api, answer["decision_id"], offer["offer_id"], "accepted", value=7)
    await deliver(shop)
    await triggers.follow()
    await deliver(shop)  # what follows from the outcome
    for customer, orders in ORDERS.items():
        for number in range(orders):
            await triggers.tell("order", customer, f"order-{customer}-{number}")
    await shop.worker.drain()
    return triggers


def state_of(shop: Nextbest) -> Any:
    """The state of the API."""
    return shop.api.state


async def orders_by(shop: Nextbest, by: str) -> dict[Any, Any]:
    """Of each part: how many were treated and held out, and the difference of orders."""
    found = await shop.api.ok("GET", f"{ONE}?by={by}")
    return {
        row[by]: (row["treated"], row["held_out"], row["measures"][2]["difference"]) for row in found["rows"]
    }


async def test_who_was_reached_by_a_trigger_alone_counts_on_both_sides(
    shop: Nextbest, fired: Triggers
) -> None:
    statuses = {
        (r.trigger_id, r.customer_id): r.status
        for name in ("called", "best", "accepted")
        for r in await fired.rows(name)
    }
    assert statuses["best", TREATED[1]] == "delivered"
    assert statuses["called", TREATED[2]] == "dropped"
    assert statuses["called", HELD[0]] == statuses["best", HELD[1]] == "nothing"
    assert ("accepted", TREATED[3]) in statuses
    async with state_of(shop).engine.connect() as connection:
        query = text("SELECT customer_id FROM decisions WHERE customer_id = ANY(:c)")
        logged = set(await connection.scalars(query, {"c": list(ORDERS)}))
    # Of these nothing is in the log of decisions: only the firing tells that they count.
    assert set(ORDERS) - logged == {HELD[1], TREATED[2]}
    found = await shop.api.ok("GET", ONE)
    assert (found["treated"], found["held_out"]) == (4, 3)
    (order,) = (row for row in found["measures"] if row["measure"] == "order")
    ones, others = ([n for c, n in ORDERS.items() if (c in HELD) is held] for held in (False, True))
    assert order["difference"] == pytest.approx(10 / 4 - 6 / 3)
    interval = stats.ttest_ind(ones, others, equal_var=False).confidence_interval(0.95)
    assert (order["difference_low"], order["difference_high"]) == pytest.approx((interval.low, interval.high))


async def test_firings_fall_into_the_placement_that_does_not_depend_on_what_is_offered(
    shop: Nextbest, fired: Triggers
) -> None:
    # Called: (3 + 2) / 2 against 1; with several channels 1 against 0; who asked at home 4 against 5.
    expected = {"call": (2, 1, 1.5), None: (1, 1, 1.0), "home": (1, 1, -1.0)}
    assert await orders_by(shop, "placement") == expected
    channels = {"call": "agent", None: None, "home": "web"}
    assert await orders_by(shop, "channel") == {channels[k]: v for k, v in expected.items()}
    assert [(one[0], one[1]) for one in (await orders_by(shop, "day")).values()] == [(4, 3)]
    # The dropped one has no decision whose segments were known, and several channels tell of none on either side.
    assert await orders_by(shop, "segment") == {"everybody": (2, 2, 0.5), None: (2, 1, 1.5)}
    groups = await orders_by(shop, "control_group")
    assert sum(one[0] for one in groups.values()) == 4
    assert groups[None][:2] == (2, 1)


async def test_events_count_from_the_first_firing_on(shop: Nextbest, fired: Triggers) -> None:
    change = "UPDATE events SET occurred_at = occurred_at {} interval '1 hour' WHERE event_id = :id"
    values = {"id": f"order-{TREATED[2]}-0"}
    async with state_of(shop).engine.begin() as connection:
        await connection.execute(text(change.format("-")), values)
    try:
        (order,) = (m for m in (await shop.api.ok("GET", ONE))["measures"] if m["measure"] == "order")
        assert order["treated_total"] == 9
    finally:
        async with state_of(shop).engine.begin() as connection:
            await connection.execute(text(change.format("+")), values)


async def test_days_that_are_rolled_up_count_firings_alike(shop: Nextbest, fired: Triggers) -> None:
    await shop.worker.expire(ahead_s=7 * 86_400)
    await shop.worker.drain()
    engine = state_of(shop).engine
    tables = {"decisions": "decided_at", "outcomes": "decided_at", "events": "occurred_at"}
    tables |= {"acceptance": "hour", "fired_customers": "fired_at"}
    async with engine.begin() as connection:
        for table, column in tables.items():
            await connection.execute(text(f"UPDATE {table} SET {column} = {column} - interval '2 days'"))
        await connection.execute(text("ALTER TABLE catalog_entries DISABLE TRIGGER USER"))
        await connection.execute(
            text("UPDATE catalog_entries SET changed_at = changed_at - interval '9 days'")
        )
        await connection.execute(text("ALTER TABLE catalog_entries ENABLE TRIGGER USER"))
    before = await shop.api.ok("GET", f"{ONE}?by=placement")
    assert (before["treated"], before["held_out"]) == (4, 3)
    later = clock.to_datetime(clock.now_ms()) + timedelta(days=1)
    assert await AskedDays(engine).roll_up(later) >= 1
    after = await shop.api.ok("GET", f"{ONE}?by=placement")
    assert after | {"counted_to": None} == before | {"counted_to": None}


async def test_who_is_erased_goes_on_counting_under_the_pseudonym(shop: Nextbest, fired: Triggers) -> None:
    exported = await shop.api.ok("GET", f"/v1/customers/{TREATED[2]}/export", role="admin")
    (counted,) = exported["counted_firings"]
    assert (counted["placement"], counted["held"]) == ("call", [])
    await shop.api.ok("POST", f"/v1/customers/{TREATED[2]}/erase", json={"reason": "asked"}, role="admin")
    async with state_of(shop).engine.connect() as connection:
        names = set(await connection.scalars(text("SELECT customer_id FROM fired_customers")))
    assert TREATED[2] not in names
    assert any(name.startswith(PREFIX) for name in names)
    found = await shop.api.ok("GET", ONE)
    assert (found["treated"], found["held_out"]) == (4, 3)


async def test_a_visitor_is_a_customer_until_it_is_known_whose_page_it_is(
    shop: Nextbest, fired: Triggers
) -> None:
    api, page = (
        shop.api,
        next(v for v in (f"visitor:{n:->16}" for n in range(99)) if not assign_holdouts(v, [ALL], 0)),
    )
    await fired.tell("visit", page, "page-1")
    await fired.follow()
    found = await api.ok("GET", ONE)
    assert (found["treated"], found["held_out"]) == (5, 3)
    await api.ok("POST", f"/v1/customers/{HELD[5]}/merge", json={"visitor_id": page}, role="frontend")
    await fired.tell("visit", page, "page-2")
    await fired.follow()
    found = await api.ok("GET", ONE)
    assert (found["treated"], found["held_out"]) == (5, 4), "the page fires for the customer, on that side"


async def test_a_firing_that_comes_to_nothing_at_once_counts_nobody(shop: Nextbest) -> None:
    now_ms = clock.now_ms()
    counted = Counted(("all",), "in-a-call", "agent", decides=True)
    late = Firing("quoted", 1, "late", "event 1 past", {}, now_ms, now_ms, counted, dropped=DAY_OVER)
    due = Firing("quoted", 1, "due", "event 2", {}, now_ms, now_ms, counted)
    async with shop.api.state.engine.begin() as connection:
        assert await insert_firings(connection, [late, due]) == 2
        noted = text("SELECT customer_id FROM fired_customers WHERE customer_id IN ('late', 'due')")
        assert (await connection.execute(noted)).scalars().all() == ["due"]
        await connection.rollback()
