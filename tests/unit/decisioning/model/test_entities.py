"""The things of a catalogue: statuses at a time, and weights."""

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisioning.catalog.catalogue import build_catalogue
from decisioning.catalog.kind import Entry
from decisioning.model.entities import NEXT_STATUS, Offer, Status, effective_status, percent


@given(
    st.sampled_from(("draft", "scheduled", "live", "paused", "ended")),
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 6),
)
def test_effective_status(status: str, starts_ms: int, ends_ms: int, now_ms: int) -> None:
    entries: list[Entry] = [
        ("group", "g", {"name": "g", "goal": "grow"}),
        ("placement", "p", {"channel": "web"}),
        ("treatment", "o/x", {"channel": "web", "language": "en", "title": "o", "message": ""}),
        (
            "offer",
            "o",
            {
                "name": "o",
                "group": "g",
                "value": 1,
                "status": status,
                "starts_ms": starts_ms,
                "ends_ms": ends_ms,
            },
        ),
    ]
    catalogue = build_catalogue(1, entries, {"o": 1})
    offer: Offer = catalogue.offers["o"]
    view = catalogue.view("p")
    offered = bool(view.offers) and bool(view.starts_ms[0] <= now_ms < view.ends_ms[0])
    shown = effective_status(offer, now_ms)
    assert (shown == "live") == offered
    if status in ("draft", "ended"):
        assert shown == status
    elif now_ms >= ends_ms:
        assert shown == "ended"


@given(st.lists(st.floats(-300, 300), max_size=4))
def test_levers_add_up_and_are_normalised_once(levers: list[float]) -> None:
    assert percent(*levers) == pytest.approx(max(0.0, (100 + sum(levers)) / 100))
    assert percent(*levers) >= 0


def test_no_lever_is_neutral_and_less_than_nothing_is_nothing() -> None:
    assert (percent(), percent(25), percent(-100), percent(-80, -80)) == (1.0, 1.25, 0.0, 0.0)


def test_a_paused_offer_whose_end_has_passed_has_ended() -> None:
    paused = Offer("o", 1, "o", "g", 1.0, status="paused", starts_ms=10, ends_ms=20)
    assert [effective_status(paused, now_ms) for now_ms in (5, 10, 19, 20)] == ["paused"] * 3 + ["ended"]
    live = replace(paused, status="live")
    assert [effective_status(live, now_ms) for now_ms in (9, 10, 19, 20)] == [
        "scheduled",
        "live",
        "live",
        "ended",
    ]


def test_every_status_but_the_last_can_be_left_and_ended_is_reached_from_all() -> None:
    assert set(NEXT_STATUS) == set(get_args(Status))
    assert [status for status, after in NEXT_STATUS.items() if not after] == ["ended"]
    assert all("ended" in after and status not in after for status, after in NEXT_STATUS.items() if after)
