"""Waits for dates that events hold: what fires is what a search through all events finds."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisioning.model.trigger import DAY_OVER, Trigger, TriggerDelivery, TriggerOn
from decisioning.triggers.days import due_of
from decisioning.triggers.event_days import end_date, fold_date, is_newer, is_of_date, subject_of, wait_key
from decisioning.triggers.firing import Candidate
from decisioning.triggers.waiting import Happening, Wait, WaitKey
from storage.clock import DAY_MS, to_datetime, to_ms

ON = TriggerOn(event="order", date="event.arrives", days=-2, at="00:00", key="number")
KEYED = Trigger("t", ON, TriggerDelivery(stream="s"), placement="home")
SINGLE = replace(KEYED, on=replace(ON, key=None))
T0_MS = 20_000 * DAY_MS
HOUR_MS = DAY_MS // 24


def order(event_id: str, at_ms: int, number: str | None, arrives: Any) -> Happening:
    properties = {"number": number, "arrives": arrives}
    cause = {"event_id": event_id, "properties": {n: v for n, v in properties.items() if v is not None}}
    return Happening("event", "order", "c", event_id, at_ms, cause)


def day(n: int) -> str:
    return to_datetime(T0_MS + n * DAY_MS).date().isoformat()


@pytest.mark.parametrize("time_zone", ["America/New_York", "Pacific/Kiritimati", None])
@pytest.mark.parametrize("held", ["9999-12-31", "0001-01-01"])
@pytest.mark.parametrize("at", ["00:00", "23:00"])
def test_a_day_at_the_end_of_time_is_one_that_can_be_stored_or_none(
    held: str, at: str, time_zone: str | None
) -> None:
    due = due_of(replace(ON, days=0, at=at), held, time_zone)
    assert due is None or to_ms(to_datetime(due.at_ms)) == due.at_ms


@pytest.mark.parametrize("value", ["界" * 1000, "x" * 257, "x" * 100_000])
def test_a_value_of_any_length_has_a_name_that_an_index_takes(value: str) -> None:
    key = wait_key(KEYED, order("e", T0_MS, value, day(3)))
    assert key is not None
    assert len(key[2].encode()) < 300
    assert key == wait_key(KEYED, order("e2", T0_MS, value, day(4)))
    assert key != wait_key(KEYED, order("e", T0_MS, value + "!", day(3)))


@pytest.mark.parametrize(
    ("event_id", "late_ms", "newer"),
    [
        ("e2", 1, True),
        ("e2", 0, True),
        ("e1", 0, False),
        ("e0", 0, False),
        ("e2", -1, False),
    ],
)
def test_what_corrects_a_wait_is_about_the_same_and_happened_later(
    event_id: str, late_ms: int, newer: bool
) -> None:
    waits: dict[WaitKey, Wait] = {}
    fold_date(waits, KEYED, order("e1", T0_MS, "17", day(9)), None)
    (wait,) = waits.values()
    assert subject_of(KEYED, wait) == ("c", "order", "number", "17")
    assert subject_of(SINGLE, wait) is None
    assert is_newer(wait, T0_MS + late_ms, event_id) is newer


def test_whole_numbers_are_the_same_however_they_are_written() -> None:
    keys = {
        wait_key(KEYED, order("e", T0_MS, number, day(3)))  # type: ignore[arg-type]
        for number in (17, 17.0)
    }
    assert keys == {("t", "c", "/17")}


TOLD = st.tuples(
    st.sampled_from(("1", "2")),
    st.integers(0, 20 * 24),
    st.integers(0, 7 * 24),
    st.none() | st.integers(-3, 30),
)


@pytest.mark.parametrize("trigger", [KEYED, SINGLE])
@given(told=st.lists(TOLD, max_size=12), looks=st.sets(st.integers(0, 60 * 24), max_size=25))
def test_what_fires_is_what_a_search_finds(
    trigger: Trigger, told: list[tuple[str, int, int, int | None]], looks: set[int]
) -> None:
    # Each is told so many hours after it happened, as late as may be.
    events = [
        (
            hour + late,
            order(f"e{n:02}", T0_MS + hour * HOUR_MS, number, None if day_ is None else day(day_)),
            day_,
        )
        for n, (number, hour, late, day_) in enumerate(told)
    ]
    events.sort(key=lambda e: e[0])
    waits: dict[WaitKey, Wait] = {}
    fired: set[tuple[str, int]] = set()
    past: set[str] = set()
    plain: set[tuple[str, int]] = set()
    done: set[str] = set()
    had = 0
    for hour in sorted({*looks, 60 * 24}):
        now_ms = T0_MS + hour * HOUR_MS
        while had < len(events) and events[had][0] <= hour:
            over = fold_date(waits, trigger, events[had][1], None)
            past |= set() if over is None else {over.cause["event_id"]}
            had += 1
        for wait in [w for w in waits.values() if w.due_ms <= now_ms]:
            del waits[wait.key]
            ended = end_date(trigger, wait, None, now_ms)
            if isinstance(ended, Candidate) and ended.occasion not in {one for one, _ in fired}:
                fired.add((ended.occasion, ended.fired_at_ms))
        # The search: of what has been told, the last of each thing.
        of: dict[str, tuple[int, str, int | None]] = {}
        for _, one, day_ in events[:had]:
            name = f"event {one.id}" if trigger is SINGLE else f"order {one.cause['properties']['number']}"
            of[name] = max(of.get(name, (0, "", None)), (one.at_ms, one.id, day_), key=lambda o: o[:2])
        for name, (at_ms, _, day_) in of.items():
            due_ms = None if day_ is None else T0_MS + (day_ - 2) * DAY_MS
            if due_ms is not None and at_ms < due_ms <= now_ms and name not in done:
                done.add(name)
                plain.add((name, due_ms))
    assert fired == plain
    assert past == {one.id for _, one, d in events if d is not None and T0_MS + (d - 2) * DAY_MS <= one.at_ms}


def test_a_correction_moves_the_day_and_one_without_a_date_takes_it_back() -> None:
    waits: dict[WaitKey, Wait] = {}
    fold_date(waits, KEYED, order("a", T0_MS, "7", day(10)), None)
    (wait,) = waits.values()
    assert is_of_date(wait)
    assert (wait.key, wait.due_ms, wait.occasion) == (("t", "c", "/7"), T0_MS + 8 * DAY_MS, "order 7")
    assert wait.cause["day"] == day(8)
    fold_date(waits, KEYED, order("b", T0_MS + 1, "7", day(12)), None)
    assert [w.due_ms for w in waits.values()] == [T0_MS + 10 * DAY_MS]
    fold_date(waits, KEYED, order("c", T0_MS + 2, "7", None), None)
    fold_date(waits, KEYED, order("late", T0_MS + 1, "7", day(9)), None)
    (wait,) = waits.values()
    assert end_date(KEYED, wait, None, wait.due_ms) is None


def test_what_is_over_is_told_and_waits_for_nothing() -> None:
    waits: dict[WaitKey, Wait] = {}
    firing = fold_date(waits, SINGLE, order("a", T0_MS, None, day(1)), None)
    assert waits == {}
    assert firing is not None
    assert (firing.dropped, firing.occasion, firing.cause["day"]) == (DAY_OVER, "event a past", day(-1))
    assert fold_date(waits, SINGLE, order("b", T0_MS, None, "soon"), None) is None
    assert wait_key(KEYED, order("b", T0_MS, None, day(9))) is None
    assert waits == {}


def test_the_zone_and_the_days_are_those_of_the_moment_in_which_it_is_due() -> None:
    waits: dict[WaitKey, Wait] = {}
    fold_date(waits, SINGLE, order("a", T0_MS, None, day(10)), "Asia/Tokyo")
    (wait,) = waits.values()
    assert wait.due_ms == T0_MS + 8 * DAY_MS - 9 * HOUR_MS
    longer = end_date(SINGLE, wait, "UTC", wait.due_ms)
    assert isinstance(longer, Wait)
    assert longer.due_ms == T0_MS + 8 * DAY_MS
    fires = end_date(SINGLE, longer, "UTC", longer.due_ms)
    assert isinstance(fires, Candidate)
    later = replace(SINGLE, on=replace(SINGLE.on, days=0))
    assert isinstance(end_date(later, longer, "UTC", longer.due_ms), Wait)
    other = replace(SINGLE, on=TriggerOn(event="order"))
    assert end_date(other, wait, "UTC", wait.due_ms) is None
