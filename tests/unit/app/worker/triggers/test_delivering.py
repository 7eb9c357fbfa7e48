"""Room for the firings of each destination."""

from collections.abc import Mapping
from typing import Any

import pytest

from app.worker.triggers.delivering import MAX_AT_ONCE, FiringDelivery, destination_of
from decisioning.model.trigger import Trigger, TriggerDelivery, TriggerOn


def trigger(trigger_id: str, **deliver: Any) -> Trigger:
    """A trigger that delivers somewhere."""
    return Trigger(trigger_id, TriggerOn(event="e"), TriggerDelivery(**deliver), "sms")


def rooms(triggers: Mapping[str, Trigger], **in_flight: int) -> dict[str, int]:
    """The room of each trigger while so many of each trigger's destination are at work."""
    nothing: Any = None
    job = FiringDelivery(nothing, nothing, lambda: triggers, lambda: 1, nothing, lambda: 0)
    for trigger_id, count in in_flight.items():
        job._in_flight[destination_of(triggers[trigger_id])] = count
    return job._rooms()


def test_triggers_of_one_destination_share_its_room() -> None:
    same = {name: trigger(name, webhook="https://a.example/x") for name in "ab"}
    alone = {"c": trigger("c", stream="nb:triggered")}
    assert rooms(same | alone) == {"a": MAX_AT_ONCE // 2, "b": MAX_AT_ONCE // 2, "c": MAX_AT_ONCE}


@pytest.mark.parametrize(("sharing", "at_work"), [(40, 0), (40, 30), (3, 0), (5, 29)])
def test_no_destination_gets_more_than_its_places_and_each_trigger_has_its_turn(
    sharing: int, at_work: int
) -> None:
    triggers = {f"t{i}": trigger(f"t{i}", webhook="https://a.example/x") for i in range(sharing)}
    nothing: Any = None
    job = FiringDelivery(nothing, nothing, lambda: triggers, lambda: 1, nothing, lambda: 0)
    job._in_flight["https://a.example/x"] = at_work
    room, had = MAX_AT_ONCE - at_work, set()
    for _ in range(-(-sharing // room)):
        found = job._rooms()
        assert sum(found.values()) == room
        had |= set(found)
    assert had == set(triggers)


@pytest.mark.parametrize("at_work", [MAX_AT_ONCE, MAX_AT_ONCE + 1])
def test_a_destination_that_is_full_leaves_the_others_theirs(at_work: int) -> None:
    triggers = {"a": trigger("a", webhook="https://a.example/x"), "c": trigger("c", stream="s")}
    assert rooms(triggers, a=at_work) == {"c": MAX_AT_ONCE}
