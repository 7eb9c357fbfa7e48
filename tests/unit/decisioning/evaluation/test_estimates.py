"""Estimates side by side, with warnings when they are not to be trusted."""

from dataclasses import replace

import numpy as np
import pytest

from bandits.ope.estimators import doubly_robust, inverse_propensity
from decisioning.evaluation.estimates import (
    Earned,
    Judgement,
    as_numbers,
    estimate,
    notes_on,
    notes_on_imported,
    shares,
    summary,
    with_reason,
)

ROWS = 2000
LOGGING = np.array([0.5, 0.3, 0.2])
RATE = np.array([0.1, 0.3, 0.6])


def judged(target: np.ndarray, logging: np.ndarray = LOGGING, says: np.ndarray = LOGGING) -> Judgement:
    """Choices of a policy, with what it ``says`` to have logged, as a target sees them that knows the rates."""
    rng = np.random.default_rng(4)
    chosen = rng.choice(3, ROWS, p=logging)
    reward = (rng.random(ROWS) < RATE[chosen]).astype(float)
    direct = np.full(ROWS, float(target @ RATE))
    agrees = chosen == np.argmax(target)
    return Judgement(range(ROWS), reward, says[chosen], target[chosen], RATE[chosen], direct, agrees)


def known(found: Earned | None) -> Earned:
    assert found is not None
    return found


def test_all_estimates_are_of_the_same_rows() -> None:
    columns = judged(np.array([0.2, 0.2, 0.6]))
    earned, warnings = estimate(columns)
    found = known(earned)
    assert warnings == []
    assert found.rows == ROWS
    r, p, q = columns.reward, columns.logging_probability, columns.target_probability
    assert found.earned.value == pytest.approx(np.mean(np.asarray(r)))
    for name, normal in (
        ("ips", inverse_propensity(r, p, q)),
        ("dr", doubly_robust(r, p, q, columns.estimate, columns.direct)),
    ):
        held = getattr(found, name)
        assert replace(held, low=normal.low, high=normal.high) == normal
        # Narrower where the weights, whose mean is known to be 1, say that the estimate is too high.
        assert held.high - held.low < 1.15 * (normal.high - normal.low)
        assert held.low <= 0.2 * 0.1 + 0.2 * 0.3 + 0.6 * 0.6 <= held.high
    assert found.lift.value == pytest.approx(found.dr.value - found.earned.value)
    assert found.lift.low > 0.1
    assert found.agreement == pytest.approx(0.2, abs=0.04)
    assert found.same == pytest.approx(np.mean(np.asarray(q)))


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    found = known(estimate(judged(LOGGING))[0])
    assert found.lift.high - found.lift.low < 0.8 * (
        found.dr.high - found.dr.low + found.earned.high - found.earned.low
    )


def test_slots_of_one_answer_are_not_independent() -> None:
    columns = judged(np.array([0.2, 0.2, 0.6]))
    twice = Judgement(*(np.repeat(np.asarray(getattr(columns, name)), 2) for name in Judgement.__slots__))
    once, doubled = known(estimate(columns)[0]), known(estimate(twice)[0])
    assert doubled.rows == 2 * once.rows
    for name in ("earned", "ips", "snips", "dr", "lift"):
        assert as_numbers(getattr(doubled, name)) == pytest.approx(as_numbers(getattr(once, name)))


def test_few_effective_rows_are_warned_of() -> None:
    lopsided = np.array([0.98, 0.018, 0.002])
    found, warnings = estimate(judged(np.array([0.0, 0.0, 1.0]), lopsided, lopsided))
    assert known(found).effective_rows < 100
    assert "Few rows carry most of the weight" in warnings[0]


def test_an_interval_that_says_too_little_is_refused_and_the_reason_says_what_would_help() -> None:
    lopsided = np.array([0.98, 0.018, 0.002])
    found = known(estimate(judged(np.array([0.0, 0.0, 1.0]), lopsided, lopsided))[0])
    told = with_reason(found.ips)
    assert (told["low"], told["high"]) == (None, None)
    assert "more exploration" in str(told["reason"])
    assert "agree with it" in str(told["reason"])
    assert with_reason(found.earned)["reason"] is None


def test_the_interval_holds_whatever_comes_of_choices_that_had_no_chance() -> None:
    """The target would show the last offer, which 6 in 10 accept, half of the time; nobody was ever shown it."""
    never = np.array([0.6, 0.4, 0.0])
    found = known(estimate(judged(np.array([0.48, 0.32, 0.2]), never, never))[0])
    truth = 0.48 * 0.1 + 0.32 * 0.3 + 0.2 * 0.6
    assert found.ips.high < 0.2 + found.ips.low + 0.1
    for held in (found.ips, found.snips, found.dr):
        assert held.low <= truth <= held.high


def test_no_interval_is_made_of_probabilities_that_cannot_be_right() -> None:
    found = known(estimate(judged(LOGGING, LOGGING, np.array([0.3, 0.15, 0.15])))[0])
    assert "cannot all be right" in str(found.dr.refused)
    assert found.earned.refused is None


def test_choices_that_had_no_chance_are_warned_of() -> None:
    never = np.array([0.6, 0.4, 0.0])
    found, warnings = estimate(judged(np.array([0.3, 0.2, 0.5]), never, never))
    assert known(found).weight == pytest.approx(0.5, abs=0.03)
    assert "had no chance" in warnings[0]
    assert "50" in warnings[0] or "49" in warnings[0] or "51" in warnings[0]


def test_probabilities_that_cannot_be_right_are_warned_of() -> None:
    found, warnings = estimate(judged(LOGGING, LOGGING, np.array([0.3, 0.15, 0.15])))
    assert known(found).weight > 1.2
    assert "cannot all be right" in warnings[0]


@pytest.mark.parametrize("rows", [0, 3])
def test_where_nothing_can_be_estimated_it_is_said_why(rows: int) -> None:
    columns = [[float(name in ("reward", "logging_probability"))] * rows for name in Judgement.__slots__]
    found, warnings = estimate(Judgement(*columns))
    assert found is None
    assert summary(found) is None
    assert len(warnings) == 1
    assert ("would have chosen nothing" in warnings[0]) == bool(rows)


def test_what_is_infinite_is_not_known() -> None:
    found = known(estimate(Judgement([0], [1.0], [0.5], [0.5], [0.5], [0.5], [True]))[0])
    reason = {"reason": "A single row says nothing of how much rewards vary; wait for more decisions."}
    assert as_numbers(found.ips) == {"value": 1.0, "low": None, "high": None}
    assert summary(found) == {
        "rows": 1,
        "effective_rows": 1.0,
        **{
            name: {"value": 1.0, "low": None, "high": None} | reason
            for name in ("earned", "ips", "snips", "dr")
        },
        "lift": {"value": 0.0, "low": None, "high": None} | reason,
        "mean_weight": 1.0,
        "largest_weight": 1.0,
        "agreement": 1.0,
        "same_choice": 0.5,
    }


def test_notes_say_what_else_matters() -> None:
    assert notes_on(0.1, False, 0, 10, 100) == []
    said = notes_on(0.0, True, 3, 30, 100)
    assert [
        word in text
        for word, text in zip(("explore", "learned", "3 decisions", "30 of 130"), said, strict=True)
    ] == [True] * 4


def test_rates_have_wilson_intervals() -> None:
    assert shares(0, 0) == {"value": None, "low": 0.0, "high": 1.0}
    found = shares(10, 100)
    assert found["value"] == 0.1
    assert found["low"] == pytest.approx(0.0552, abs=1e-4)


def test_an_estimate_outside_of_what_is_possible_has_its_interval_cut_and_says_why() -> None:
    """A model that expects too little of what was shown and accepted: the weighed errors take DR above 1."""
    n = 600
    columns = Judgement(
        unit=range(n),
        reward=np.array([1.0] * (n - 1) + [0.0]),
        logging_probability=np.full(n, 0.5),
        target_probability=np.full(n, 0.5),
        estimate=np.full(n, 0.0),
        direct=np.full(n, 0.3),
        agrees=np.ones(n, dtype=bool),
    )
    earned, warnings = estimate(columns)
    found = known(earned)
    assert found.dr.value > 1.2
    assert found.dr.low <= found.dr.high <= 1.0
    told = with_reason(found.dr)
    assert "above 1, the largest value that is possible" in str(told["reason"])
    assert "cut" in str(told["reason"])
    assert any("Outside of what is possible: DR" in text for text in warnings)
    assert with_reason(found.snips)["reason"] is None
    assert -1.0 <= found.lift.low <= found.lift.high <= 1.0


def test_imported_history_is_told_with_the_way_to_use_it() -> None:
    assert notes_on_imported(0, learned=False) == []
    (text,) = notes_on_imported(20_000, learned=False)
    assert "20000 imported decisions are left out" in text
    assert "warm start" in text
    assert "the target learned from it" in notes_on_imported(3, learned=True)[0]
