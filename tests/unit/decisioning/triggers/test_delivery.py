"""When a delivery that failed is tried again."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisioning.model.trigger import Trigger, TriggerChannel, TriggerDelivery, TriggerOn
from decisioning.triggers.delivery import (
    MAX_PAUSE_MS,
    OpenFiring,
    Plan,
    Progress,
    pause_ms,
    plan_of,
    put_off,
)


def firing(attempts: int = 1, deadline_at_ms: int = 3_600_000) -> OpenFiring:
    """A firing of the time 0."""
    return OpenFiring(
        "f1", "dropped", "ann", {}, 0, deadline_at_ms, "due", None, None, None, attempts, 60_000
    )


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_pauses_grow_up_to_a_bound_and_are_spread(attempts: int, spread: float) -> None:
    longest = pause_ms(attempts, 0.0)
    assert longest == min(1000 * 2 ** (attempts - 1), MAX_PAUSE_MS)
    assert longest / 2 - 1 <= pause_ms(attempts, spread) <= longest


@pytest.mark.parametrize(
    ("status", "deadline_at_ms", "expected"),
    [("due", 10_000, "due"), ("decided", 10_000, "decided"), ("due", 900, "dropped"), ("decided", 900, "failed")],
)  # fmt: skip
def test_what_would_be_tried_too_late_is_given_up(status: str, deadline_at_ms: int, expected: str) -> None:
    progress = put_off(Progress(firing(1, deadline_at_ms), status, "why"), 0, 0.0)  # type: ignore[arg-type]
    assert progress.status == expected
    assert progress.reason == "why"
    assert progress.next_attempt_ms == (1000 if status == expected else None)


def test_pauses_count_from_when_it_was_sent_again() -> None:
    again = replace(firing(attempts=12), status="decided", earlier_attempts=11)
    progress = put_off(Progress(again, "decided", "why"), 0, 0.0)
    assert (progress.status, progress.next_attempt_ms) == ("decided", 1000)


def test_a_plan_comes_back_from_its_firing() -> None:
    plan = Plan(("sms", "call"), 2)
    assert firing().plan is None
    assert firing().with_plan(plan).plan == plan
    assert plan.decision_id("f1", "sms") == "firing-f1:2:sms"
    assert plan.decision_id("f1", "call") != plan.decision_id("f1", "sms")


@pytest.mark.parametrize(
    ("placement", "channels", "expected"),
    [
        ("sms", (), Plan(("sms",))),
        (None, (TriggerChannel("sms"),), Plan(("sms",))),
        (None, (TriggerChannel("sms", 0.05),), None),
        (None, (TriggerChannel("sms"), TriggerChannel("mail")), None),
    ],
)
def test_a_plan_needs_no_comparison_where_there_is_one_placement_without_a_cost(
    placement: str | None, channels: tuple[TriggerChannel, ...], expected: Plan | None
) -> None:
    trigger = Trigger("t", TriggerOn(event="e"), TriggerDelivery(stream="s"), placement, channels)
    assert plan_of(trigger) == expected
