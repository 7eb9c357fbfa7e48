"""Waits as events and outcomes begin, prolong and cancel them."""

from dataclasses import replace

import pytest

from decisioning.model.trigger import Trigger, TriggerDelivery, TriggerOn
from decisioning.triggers.waiting import Happening, Plan, Wait, WaitKey


def trigger(trigger_id: str, on: TriggerOn) -> Trigger:
    return Trigger(trigger_id, on, TriggerDelivery(stream="s"), placement="home")


BASKET = trigger("basket", TriggerOn(event="basket", unless=("order",), after_s=10))
FIRST = trigger("first", TriggerOn(event="basket", after_s=10, restart=False))
NOW = trigger("now", TriggerOn(event="basket"))
IDLE = trigger("idle", TriggerOn(idle=("login", "order"), after_s=100))
QUOTED = trigger("quoted", TriggerOn(outcome="quoted", offer="gold", unless=("accepted",), after_s=10))
CARDS = trigger("cards", TriggerOn(outcome="quoted", group="cards"))
RESTS = replace(trigger("rests", TriggerOn(event="basket")), status="paused")
PLAN = Plan({t.trigger_id: t for t in (BASKET, FIRST, NOW, IDLE, QUOTED, CARDS, RESTS)})


def event(name: str, at_s: int, number: int = 1) -> Happening:
    return Happening("event", name, "c", f"{name}-{number}", at_s * 1000, {})


def outcome(name: str, at_s: int, offer_id: str = "gold", group: str = "cards") -> Happening:
    item = f"d/{offer_id}"
    return Happening("outcome", name, "c", f"{item}/{name}", at_s * 1000, {}, item, offer_id, group)


def folded(*happenings: Happening) -> dict[WaitKey, Wait]:
    waits: dict[WaitKey, Wait] = {}
    for happening in happenings:
        assert {wait.key for wait in waits.values()} == waits.keys()
        PLAN.fold(waits, happening)
    return waits


def since(trigger_id: str, *happenings: Happening) -> int | None:
    wait = next((w for w in folded(*happenings).values() if w.key[0] == trigger_id), None)
    return None if wait is None else wait.since_ms // 1000


@pytest.mark.parametrize(
    ("happenings", "basket", "first", "idle"),
    [
        ([event("basket", 5)], 5, 5, None),
        ([event("basket", 5), event("basket", 8, 2)], 8, 5, None),
        ([event("basket", 8), event("basket", 5, 2)], 8, 8, None),
        ([event("basket", 5), event("order", 6)], None, 5, 6),
        ([event("basket", 5), event("order", 5)], None, 5, 5),
        ([event("basket", 5), event("order", 4)], 5, 5, 4),
        ([event("basket", 5), event("order", 6), event("basket", 7, 2)], 7, 5, 6),
        ([event("login", 5), event("order", 9), event("login", 7, 2)], None, None, 9),
    ],
)
def test_events(happenings: list[Happening], basket: int | None, first: int | None, idle: int | None) -> None:
    found = [since(trigger_id, *happenings) for trigger_id in ("basket", "first", "idle")]
    assert found == [basket, first, idle]


def test_a_wait_is_due_after_its_time_and_knows_what_it_is_about() -> None:
    (wait,) = folded(event("login", 5)).values()
    assert wait == Wait(("idle", "c", ""), 5000, 105_000, "event login-1", {})


def test_outcomes_of_one_decided_offer() -> None:
    assert folded(outcome("quoted", 5)).keys() == {("quoted", "c", "d/gold")}
    assert folded(outcome("quoted", 5), outcome("accepted", 6)) == {}
    assert folded(outcome("quoted", 5), outcome("accepted", 6, "silver")).keys() == {
        ("quoted", "c", "d/gold")
    }
    assert folded(outcome("quoted", 5, "silver")) == {}


def test_what_fires_at_once() -> None:
    assert [t.trigger_id for t in PLAN.fires(event("basket", 5))] == ["now"]
    assert [t.trigger_id for t in PLAN.fires(outcome("quoted", 5))] == ["cards"]
    assert [t.trigger_id for t in PLAN.fires(outcome("quoted", 5, group="other"))] == []


def test_what_is_looked_at() -> None:
    assert PLAN.looks_at("event", "order")
    assert PLAN.looks_at("outcome", "accepted")
    assert not PLAN.starts("outcome", "accepted")
    assert not PLAN.looks_at("event", "accepted")
    assert PLAN.waits_of(event("order", 5)) == {("basket", "c", ""), ("idle", "c", "")}
    assert PLAN.waits_of(outcome("accepted", 5)) == {("quoted", "c", "d/gold")}
    assert PLAN.idle == [IDLE]
