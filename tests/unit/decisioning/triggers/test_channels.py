"""The choice among channels, against a plain calculation."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisioning.triggers.channels import (
    Prospect,
    describe_stops,
    expected_value,
    forbidden_now,
    preferred_channels,
    rank_channels,
    selected_offers,
)

CHANNELS = ("sms", "call", "mail", "push")
prospects = st.lists(
    st.builds(Prospect, st.uuids().map(str), st.sampled_from(CHANNELS), st.floats(0, 100), st.floats(0, 100))
)


@given(prospects, st.lists(st.sampled_from(CHANNELS), unique=True))
def test_the_first_is_the_best_of_the_most_preferred_channel_that_is_worth_its_cost(
    found: list[Prospect], preferred: list[str]
) -> None:
    ranked = rank_channels(found, preferred)
    worthwhile = [p for p in found if p.expected > p.cost]
    assert sorted(p.placement for p in ranked) == sorted(p.placement for p in worthwhile)
    if not worthwhile:
        return
    of_first = next((c for c in preferred if any(p.channel == c for p in worthwhile)), None)
    left = [p for p in worthwhile if of_first is None or p.channel == of_first]
    assert ranked[0] == max(left, key=lambda p: p.expected - p.cost)


def offer(p: float, v: float) -> dict[str, Any]:
    """An offer of an answer."""
    return {"score": p * v, "factors": {"P": p, "V": v}}


def test_default_offers_are_not_selected_ones() -> None:
    default = {"score": None, "factors": None}
    assert selected_offers({"offers": [offer(0.5, 2.0), default]}) == [offer(0.5, 2.0)]
    assert expected_value([offer(0.5, 2.0), offer(0.1, 30.0)]) == 3.0
    assert expected_value([]) is None


def test_preferences_are_read_from_a_text_with_commas() -> None:
    assert preferred_channels({"preferred_channel": " sms,call , "}) == ("sms", "call")
    for odd in ({}, {"preferred_channel": 3}, {"preferred_channel": ""}):
        assert preferred_channels(odd) == ()


def test_what_stops_most_offers_is_named_first() -> None:
    def stopped(stage: str, name: str) -> dict[str, Any]:
        return {"result": "stopped", "stops": [{"stage": stage, "name": name, "observed": "secret"}]}

    found = [stopped("dates", "over"), *2 * [stopped("consent", "care")], {"result": "ready"}]
    assert describe_stops(found) == "stopped by consent 'care' (2), dates 'over' (1)"
    assert describe_stops([{"result": "ready"}]) == "nothing was selected"


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ([], None),
        (["contact", "capacity", "arbitration"], None),
        (["contact", "consent"], "consent 'a rule'"),
        (["quiet_hours"], "quiet_hours 'a rule'"),
        (["dates"], "dates 'a rule'"),
        (["holdout"], "holdout 'a rule'"),
    ],
)
def test_limits_do_not_hold_back_what_they_count_themselves(stages: list[str], expected: str | None) -> None:
    stops = [{"stage": stage, "name": "a rule"} for stage in stages]
    explanation: list[dict[str, Any]] = [
        {"offer_id": "x", "result": "stopped", "stops": stops},
        {"offer_id": "y", "result": "ready"},
    ]
    assert forbidden_now("x", explanation) == expected
    assert forbidden_now("y", explanation) is None
    assert forbidden_now("z", explanation) == "status 'deleted'"
