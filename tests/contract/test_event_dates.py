"""Triggers on a date that an event holds: once, whatever is sent again, corrected, or started anew."""

from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from pydantic_core import to_json
from sqlalchemy import text

from app.api.catalogue.trigger_schemas import TriggerBody
from decisioning.model.trigger import DAY_OVER
from decisioning.triggers.event_days import Subject, name_of
from decisioning.triggers.store_following import TriggerTurn
from storage import clock
from storage.clock import DAY_MS
from tests.support.api import Nextbest, problem_of
from tests.support.triggers import STREAM, Triggers

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCHEMA = {
    "properties": {
        "order_id": {"type": "string"},
        "delivery_date": {"type": "string", "format": "date"},
        "name": {"type": "string"},
    }
}
ON = {"event": "order", "date": "event.delivery_date", "days": -7, "at": "00:00"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def triggers(shop: Nextbest) -> Triggers:
    body = {"name": "Order", "json_schema": SCHEMA, "personal": ["name"]}
    await shop.api.ok("PUT", "/v1/event-types/order", json=body)
    found = Triggers(shop)
    await found.declare("single", ON)
    await found.declare("delivery", ON | {"key": "order_id"})
    return found


def day(n: int) -> str:
    """The date of so many days from now."""
    return (clock.to_datetime(clock.now_ms()) + timedelta(days=n)).date().isoformat()


async def test_it_fires_once_a_week_before_also_after_a_restart(triggers: Triggers) -> None:
    await triggers.tell("order", "ann", "o1", order_id="1", delivery_date=day(10))
    await triggers.tell("order", "ann", "o2", order_id="2", delivery_date=day(12))
    assert await triggers.follow() == 0
    triggers.job = triggers.make()
    triggers.ahead_ms = 4 * DAY_MS
    triggers.job = triggers.make()
    assert await triggers.follow() == 2
    await triggers.tell("order", "ann", "o1", order_id="1", delivery_date=day(10))
    assert await triggers.follow() == 0
    assert await triggers.fired("single") == [("ann", "event o1")]
    assert await triggers.fired("delivery") == [("ann", "order 1")]
    (row,) = await triggers.rows("delivery")
    assert row.cause["day"] == day(3)
    assert row.cause["date"] == "event.delivery_date"
    triggers.ahead_ms = 6 * DAY_MS
    assert await triggers.follow() == 2
    assert await triggers.fired("delivery") == [("ann", "order 1"), ("ann", "order 2")]
    triggers.ahead_ms = 0
    triggers.job = triggers.make()


async def test_a_correction_moves_the_day_and_never_fires_twice(triggers: Triggers) -> None:
    await triggers.tell("order", "bob", "b1", 60, order_id="3", delivery_date=day(9))
    await triggers.follow()
    await triggers.tell("order", "bob", "b2", 30, order_id="3", delivery_date=day(20))
    await triggers.follow()
    triggers.ahead_ms = 5 * DAY_MS
    assert await triggers.follow() == 1, "the one without a key"
    triggers.ahead_ms = 14 * DAY_MS
    await triggers.follow()
    await triggers.tell("order", "bob", "b3", order_id="3", delivery_date=day(30))
    await triggers.follow()
    triggers.ahead_ms = 30 * DAY_MS
    await triggers.follow()
    mine = [one for one in await triggers.fired("delivery") if one[0] == "bob"]
    assert mine == [("bob", "order 3")]
    triggers.ahead_ms = 0
    triggers.job = triggers.make()


async def test_a_day_that_is_over_does_not_fire_and_says_so(triggers: Triggers) -> None:
    await triggers.tell("order", "carl", "c1", order_id="4", delivery_date=day(3))
    assert await triggers.follow() == 0
    for name in ("single", "delivery"):
        found = await triggers.nextbest.api.ok(
            "GET", f"/v1/firings?trigger={name}&customer_id=carl", role="ops"
        )
        (firing,) = found["firings"]
        assert (firing["status"], firing["reason"]) == ("dropped", DAY_OVER)
    await triggers.tell("order", "carl", "c2", order_id="4", delivery_date=day(10))
    triggers.ahead_ms = 4 * DAY_MS
    assert await triggers.follow() == 2, "a correction counts"
    triggers.ahead_ms = 0


async def test_a_day_that_is_over_is_counted_but_is_no_time_at_which_a_trigger_fired(
    triggers: Triggers,
) -> None:
    async def counted() -> Any:
        answer = await triggers.nextbest.api.ok("GET", "/v1/firings/counts", role="ops")
        (found,) = [one for one in answer["triggers"] if one["trigger"] == "late"]
        return found

    await triggers.declare("late", ON)
    await triggers.tell("order", "fay", "f1", delivery_date=day(3))
    await triggers.follow()
    assert await counted() == {"trigger": "late", "counts": {"dropped": 1}, "last_fired_at": None}
    await triggers.tell("order", "fay", "f2", delivery_date=day(8))
    triggers.ahead_ms = 2 * DAY_MS
    await triggers.follow()
    fired = await counted()
    assert fired["counts"] == {"dropped": 1, "due": 1}
    await triggers.tell("order", "fay", "f3", delivery_date=day(3))
    triggers.ahead_ms = 0
    await triggers.follow()
    assert await counted() == fired | {"counts": {"dropped": 2, "due": 1}}
    assert fired["last_fired_at"][:10] == day(1)


async def test_who_confirmed_meanwhile_is_not_reminded(triggers: Triggers) -> None:
    api = triggers.nextbest.api
    await api.ok("PUT", "/v1/event-types/confirmed", json={"name": "Confirmed"})
    confirmations = {"event": "confirmed", "function": "count", "window": "90d"}
    await api.ok("PUT", "/v1/aggregates/confirmations", json=confirmations)
    await triggers.declare("remind", ON | {"key": "order_id"}, when="events.confirmations == 0")
    for customer in ("dora", "eve"):
        await triggers.tell("order", customer, customer, order_id=customer, delivery_date=day(10))
    await triggers.follow()
    await triggers.tell("confirmed", "eve", "yes")
    triggers.ahead_ms = 4 * DAY_MS
    await triggers.follow()
    assert await triggers.fired("remind") == [("dora", "order dora")]
    triggers.ahead_ms = 0


async def archive(
    shop: Nextbest, customer_id: str, told: list[tuple[str, int, Any]], late_ms: int = 0
) -> None:
    """Archive events: id, when (Unix ms), and the value that names what they are about."""
    query = """INSERT INTO events SELECT id, :customer_id, 'order', at, extract(epoch FROM at) * 1000 + :late_ms,
        cast(properties AS jsonb), '{}', 0, '1-0'
        FROM unnest(cast(:ids AS text[]), cast(:times AS timestamptz[]), cast(:properties AS text[]))
        AS n (id, at, properties)"""
    values = {
        "customer_id": customer_id,
        "late_ms": late_ms,
        "ids": [event_id for event_id, _, _ in told],
        "times": [clock.to_datetime(at_ms) for _, at_ms, _ in told],
        "properties": [to_json({"thing": value}).decode() for _, _, value in told],
    }
    async with shop.api.state.engine.begin() as connection:
        await connection.execute(text(query), values)


async def newest(shop: Nextbest, asked: list[tuple[Subject, int]]) -> dict[Subject, tuple[int, str]]:
    async with shop.api.state.engine.begin() as connection:
        return await TriggerTurn(connection).newest_about(asked)


@pytest.mark.parametrize(
    "value",
    ["17", 17, 17.0, -3, 10**20, 1.5, True, "True", "true", "", "/ a", "界" * 85, "界" * 86, "x" * 257],
)
async def test_postgres_names_what_events_are_about_as_waits_do(shop: Nextbest, value: Any) -> None:
    customer, now_ms = f"named {value!r}", clock.now_ms()
    subject = Subject(customer, "order", "thing", name_of(value))
    await archive(shop, customer, [("n0", now_ms, value), ("n1", now_ms, "another"), ("n2", now_ms, None)])
    assert await newest(shop, [(subject, now_ms)]) == {subject: (now_ms, "n0")}
    assert await newest(shop, [(subject, now_ms + 1), (subject._replace(type="call"), now_ms)]) == {}
    assert await newest(shop, [(subject._replace(key="name"), now_ms)]) == {}


async def test_the_newest_is_by_time_then_by_id_and_never_later_than_it_was_told(shop: Nextbest) -> None:
    now_ms = clock.now_ms()
    one, two = (Subject("order-of", "order", "thing", name) for name in ("1", "2"))
    await archive(shop, "order-of", [("a", now_ms, 1), ("B", now_ms, 1), ("z", now_ms - 1, 1)])
    assert await newest(shop, [(one, now_ms - 9), (two, now_ms)]) == {one: (now_ms, "a")}, "a is behind B"
    await archive(shop, "order-of", [("c", now_ms + 500, 2)], late_ms=-600)
    assert await newest(shop, [(two, now_ms), (one, now_ms)]) == {
        one: (now_ms, "a"),
        two: (now_ms - 100, "c"),
    }


async def test_many_waits_of_one_customer_with_many_events_are_compared_in_postgres(shop: Nextbest) -> None:
    now_ms = clock.now_ms()
    await archive(shop, "bot", [(f"m{n}", now_ms + n, n % 20_000) for n in range(40_000)])
    asked = [(Subject("bot", "order", "thing", str(n)), now_ms) for n in range(1000)]
    async with shop.api.state.engine.begin() as connection:
        await connection.execute(text("SET LOCAL statement_timeout = 5000"))
        found = await TriggerTurn(connection).newest_about(asked)
    assert found == {subject: (now_ms + 20_000 + n, f"m{20_000 + n}") for n, (subject, _) in enumerate(asked)}


async def test_what_cannot_be_waited_for_is_refused(triggers: Triggers) -> None:
    async def refused(**on: Any) -> str:
        body = {"on": ON | on, "placement": "home", "deliver": STREAM}
        return str(
            problem_of(await triggers.nextbest.api.call("PUT", "/v1/triggers/x", json=body, role="ops"), 422)
        )

    assert "on.date" in await refused(date="event.name")
    assert "on.date" in await refused(date="event.deliver_date")
    assert "on.key" in await refused(key="delivery")
    assert "on.unless" in await refused(unless=["order"])


async def test_a_trigger_without_a_key_is_kept_as_earlier_versions_take_it() -> None:
    body = {"on": ON, "placement": "home", "deliver": STREAM}
    assert "key" not in TriggerBody.model_validate(body).stored()["on"]
    keyed = body | {"on": ON | {"key": "order_id"}}
    assert TriggerBody.model_validate(keyed).stored()["on"]["key"] == "order_id"
