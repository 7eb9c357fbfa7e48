"""Results of decisions, and when they are known."""

from typing import Any

import pytest

from decisioning.model.deployment import Guardrails
from decisioning.rollout.drift import PlacementDrift
from decisioning.rollout.guardrail import GroupCounts, comparison
from decisioning.rollout.results import MadeDecision, Result, result_of, results_in_order

HORIZON_MS = 600


def made(*told: tuple[str, str, int], at_ms: int = 0, **more: Any) -> MadeDecision:
    """A decision with two offers."""
    values: dict[str, Any] = {"decision_id": "d", "customer_id": "ann", "group": "canary", "decider": "new@1"}
    values |= {"explicit": False, "offers": ["gold", "silver"], "until_ms": at_ms + 10_000}
    return MadeDecision(at_ms=at_ms, told=told, **(values | more))


@pytest.mark.parametrize(
    ("told", "now_ms", "accepted"),
    [
        ([], 600, None),
        ([], 601, {"gold": False, "silver": False}),
        ([("gold", "accepted", 10)], 100, None),
        ([("gold", "accepted", 10)], 601, {"gold": True, "silver": False}),
        ([("gold", "accepted", 10), ("silver", "rejected", 11)], 12, {"gold": True, "silver": False}),
        ([("gold", "expired", 10), ("silver", "expired", 10)], 12, {"gold": False, "silver": False}),
        ([("gold", "presented", 1), ("gold", "clicked", 2), ("silver", "presented", 1)], 100, None),
        ([("gold", "accepted", 600)], 700, {"gold": True, "silver": False}),
        ([("gold", "accepted", 601)], 700, {"gold": False, "silver": False}),
        ([("gold", "rejected", 10), ("gold", "accepted", 20)], 700, {"gold": False, "silver": False}),
    ],
)
def test_result(told: list[tuple[str, str, int]], now_ms: int, accepted: dict[str, bool] | None) -> None:
    result = result_of(made(*told), HORIZON_MS, now_ms)
    assert (None if result is None else result.accepted) == accepted


def test_only_what_was_confirmed_counts_where_it_has_to_be() -> None:
    def of(*told: tuple[str, str, int]) -> Any:
        result = result_of(made(*told, explicit=True), HORIZON_MS, 700)
        assert result is not None
        return result.accepted, result.counts, result.success

    assert of() == ({}, False, False)
    assert of(("gold", "expired", 5)) == ({}, False, False)
    assert of(("gold", "presented", 5)) == ({"gold": False}, True, False)
    assert of(("gold", "accepted", 5)) == ({"gold": True}, True, True)
    assert of(("gold", "presented", 601)) == ({}, False, False)


def test_an_answer_without_offers_is_known_at_once_and_was_not_accepted() -> None:
    result = result_of(made(offers=[]), HORIZON_MS, 0)
    assert result is not None
    assert result.counts
    assert not result.success
    spoken = result_of(made(offers=[], explicit=True), HORIZON_MS, 0)
    assert spoken is not None
    assert not spoken.counts


def test_what_was_not_delivered_counts_for_nothing() -> None:
    result = result_of(made(("gold", "withdrawn", 5), ("silver", "withdrawn", 5)), HORIZON_MS, 10)
    assert result is not None
    assert not result.counts


def test_no_horizon_is_longer_than_the_reward_window() -> None:
    assert result_of(made(until_ms=50), HORIZON_MS, 50) is None
    assert result_of(made(until_ms=50), HORIZON_MS, 51) is not None


def test_counting_stands_still_at_the_first_that_is_not_known() -> None:
    accepted = [("gold", "accepted", 5), ("silver", "rejected", 5)]
    decisions = [made(*accepted, decision_id="a"), made(decision_id="b"), made(*accepted, decision_id="c")]
    assert [r.made.decision_id for r in results_in_order(decisions, HORIZON_MS, 100)] == ["a"]
    assert [r.made.decision_id for r in results_in_order(decisions, HORIZON_MS, 601)] == ["a", "b", "c"]


@pytest.mark.parametrize("first", [0, 7])
def test_acceptances_do_not_count_before_silence(first: int) -> None:
    """300 decisions at a true acceptance of 5 %, told at once; the window is open for days, the horizon is a minute."""
    decisions = [
        made(
            *([("gold", "accepted", 100 * n + 1)] if n % 20 == first else []),
            at_ms=100 * n,
            until_ms=100 * n + 5 * 86_400_000,
            offers=["gold"],
        )
        for n in range(300)
    ]

    def counted(results: list[Result]) -> GroupCounts:
        return GroupCounts(observations=len(results), acceptances=sum(result.success for result in results))

    young = results_in_order(decisions, 60_000, 30_000)
    # What is ahead of the first silence is all that counts: as a rule nothing.
    assert len(young) == (first == 0)
    grown = results_in_order(decisions, 60_000, 90_001)
    assert (len(grown), counted(grown).rate) == (300, 0.05)
    for results in (young, grown):
        found = comparison(counted(results), counted(results), Guardrails())
        assert found.canary.low < 0.05 < found.canary.high
        assert found.difference.low < 0 < found.difference.high
    watch = PlacementDrift()
    assert not any(watch.take(result) for result in grown)
    (window,) = watch.pop_changed()
    assert window.observations == 300
    assert window.acceptances == pytest.approx(15)
