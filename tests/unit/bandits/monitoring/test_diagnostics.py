"""Diagnostics of exploration: laws of entropy, and what counts as died early and as settled."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandits.errors import EvaluationError
from bandits.monitoring.diagnostics import (
    ExplorationDiagnosis,
    diagnose_exploration,
    is_settled,
    leading_arm,
    normalised_entropy,
)

shares = st.lists(st.floats(0, 1.7e308), min_size=1, max_size=20).filter(any)


@pytest.mark.parametrize("n", [2, 3, 20, 1000])
def test_entropy_is_one_for_even_choices_and_zero_for_a_single_one(n: int) -> None:
    assert normalised_entropy([1 / n] * n) == pytest.approx(1.0)
    assert normalised_entropy([0.0] * (n - 1) + [1.0]) == 0.0


def test_entropy_of_two_arms_is_in_bits() -> None:
    for p in (0.01, 0.3, 0.5):
        assert normalised_entropy([p, 1 - p]) == pytest.approx(-p * math.log2(p) - (1 - p) * math.log2(1 - p))


def test_entropy_is_relative_to_the_number_of_arms() -> None:
    assert normalised_entropy([0.5, 0.5, 0.0, 0.0]) == pytest.approx(0.5)
    assert normalised_entropy([1 / 3] * 3 + [0.0] * 6) == pytest.approx(0.5)


def test_fewer_than_two_arms_are_chosen_evenly() -> None:
    assert (normalised_entropy([]), normalised_entropy([0.3])) == (1.0, 1.0)


@given(shares, st.randoms(use_true_random=False))
def test_entropy_is_bounded_and_free_of_order_and_unit(share: list[float], random: object) -> None:
    value = normalised_entropy(share)
    assert 0.0 <= value <= 1.0
    assert normalised_entropy(sorted(share)) == pytest.approx(value, abs=1e-9)
    assert normalised_entropy(np.array(share) / max(share)) == pytest.approx(value, abs=1e-9)


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=20), st.floats(0, 1))
def test_mixing_with_even_choices_only_adds_entropy(share: list[float], weight: float) -> None:
    p = np.array(share) / sum(share)
    assert normalised_entropy((1 - weight) * p + weight / len(p)) >= normalised_entropy(p) - 1e-12


def test_the_leader_has_the_highest_mean_and_of_equals_is_the_first() -> None:
    assert leading_arm([]) is None
    assert leading_arm([0.3]) == 0
    assert leading_arm([0.1, 0.4, 0.4]) == 1


def explore(
    share: Sequence[float], high: Sequence[float], observations: Sequence[float], **options: float
) -> ExplorationDiagnosis:
    """The first arm has mean 0.3 in [0.25, 0.35], the others 0.1 in [0.05, high]."""
    others = len(share) - 1
    return diagnose_exploration(
        [0.3] + [0.1] * others, [0.25] + [0.05] * others, [0.35, *high], observations, share, **options
    )


def test_a_concentration_on_one_arm_is_early_while_another_may_be_as_good() -> None:
    found = explore([0.998, 0.001, 0.001], [0.31, 0.29], [5_000, 500, 500])
    assert found.neglected
    assert found.neglected == (1,)
    assert found.favourite == 0
    assert found.entropy == pytest.approx(normalised_entropy([0.998, 0.001, 0.001]))


def test_a_concentration_on_an_arm_that_is_clearly_best_is_not_early() -> None:
    assert not explore([0.998, 0.001, 0.001], [0.29, 0.29], [5_000, 500, 500]).neglected
    assert not explore([1.0, 0.0, 0.0], [0.29, 0.29], [5_000, 5, 0]).neglected


def test_an_interval_that_just_reaches_the_favourites_mean_counts() -> None:
    assert explore([1.0, 0.0], [0.3], [5_000, 500]).neglected == (1,)
    assert explore([1.0, 0.0], [np.nextafter(0.3, 0)], [5_000, 500]).neglected == ()


def test_an_arm_hardly_tried_is_neglected_though_choices_are_spread() -> None:
    share, high = [0.5, 0.499, 0.001], [0.4, 0.9]
    assert explore(share, high, [5_000, 5_000, 99]).neglected == (2,)
    assert explore(share, high, [5_000, 5_000, 0]).neglected == (2,)
    assert not explore(share, high, [5_000, 5_000, 100]).neglected
    assert explore(share, high, [5_000, 5_000, 100], few=101).neglected == (2,)


def test_how_little_is_hardly_selected() -> None:
    """Below 0.01, and below a tenth of the even share from ten arms on."""
    assert explore([0.991, 0.009], [0.4], [500, 500]).neglected == (1,)
    assert not explore([0.99, 0.01], [0.4], [500, 500]).neglected
    many = [0.981] + [0.001] * 19
    assert explore(many, [0.4] * 19, [500] * 20).neglected == tuple(range(1, 20))
    assert not explore(many, [0.4] * 19, [500] * 20, hardly=0.02).neglected
    assert not explore([0.9] + [0.1 / 19] * 19, [0.4] * 19, [0] * 20).neglected


def test_concentrated_begins_at_its_threshold() -> None:
    share = [0.5, 0.49609375, 0.00390625]
    assert explore(share, [0.4, 0.4], [500] * 3, concentrated=0.5).neglected == (2,)
    assert not explore(share, [0.4, 0.4], [500] * 3, concentrated=0.501).neglected


def test_the_favourite_is_never_neglected() -> None:
    found = explore([1 / 200] * 200, [0.4] * 199, [0] * 200, hardly=3)
    assert found.neglected == tuple(range(1, 200))


def test_the_favourite_need_not_have_the_highest_mean() -> None:
    """A better arm that is not selected is the worst case of all."""
    found = diagnose_exploration([0.1, 0.3], [0.05, 0.25], [0.15, 0.35], [5_000, 5_000], [1.0, 0.0])
    assert (found.favourite, found.neglected) == (0, (1,))


@pytest.mark.parametrize("n", [2, 5, 20])
def test_sampling_from_the_posterior_is_not_warned_about(n: int) -> None:
    """One arm known to be good, the others' 95 % intervals just reaching its mean: sampling still serves them."""
    rng = np.random.default_rng(n)
    mean, deviation = np.array([0.3] + [0.1] * (n - 1)), np.array([0.002] + [0.2 / 1.96] * (n - 1))
    draws = mean + deviation * rng.standard_normal((200_000, n))
    share = np.bincount(draws.argmax(axis=1), minlength=n) / 200_000
    half = 1.96 * deviation
    half[1:] += 1e-9
    found = diagnose_exploration(mean, mean - half, mean + half, np.full(n, 10), share)
    assert not found.neglected


def test_without_arms_or_with_one_there_is_nothing_to_neglect() -> None:
    assert diagnose_exploration([], [], [], [], []) == ExplorationDiagnosis(1.0, None, ())
    assert diagnose_exploration([0.5], [0.0], [1.0], [0], [1.0]) == ExplorationDiagnosis(1.0, 0, ())


def test_without_data_even_choices_are_fine() -> None:
    nothing = diagnose_exploration([0.5] * 4, [0.0] * 4, [1.0] * 4, [0] * 4, [0.25] * 4)
    assert nothing.entropy == pytest.approx(1.0)
    assert not nothing.neglected
    assert not is_settled([0.5] * 4, [0.0] * 4, [1.0] * 4)


def test_settled_by_intervals() -> None:
    assert is_settled([0.3, 0.1], [0.25, 0.05], [0.35, 0.24])
    assert not is_settled([0.3, 0.1], [0.25, 0.05], [0.35, 0.25])
    assert not is_settled([0.3, 0.1, 0.2], [0.25, 0.05, 0.1], [0.35, 0.2, 0.3])
    assert is_settled([0.1, 0.3], [0.05, 0.25], [0.24, 0.35])


def test_settled_by_the_probability_of_being_best() -> None:
    arms = [0.3, 0.28], [0.25, 0.1], [0.35, 0.32]
    assert is_settled(*arms, best=[0.95, 0.05])
    assert not is_settled(*arms, best=[0.949, 0.051])
    assert not is_settled(*arms, best=[0.05, 0.95])  # not the leader's
    assert is_settled([0.3, 0.1], [0.25, 0.05], [0.35, 0.2], best=[0.6, 0.4])  # intervals suffice


def test_settled_with_one_arm_none_and_ties() -> None:
    assert is_settled([0.5], [0.0], [1.0])
    assert not is_settled([], [], [])
    assert not is_settled([0.3, 0.3], [0.3, 0.3], [0.3, 0.3])


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=2, max_size=8), st.randoms(use_true_random=False))
def test_a_settled_leader_is_never_a_reason_to_warn(
    drawn: list[tuple[float, float, float]], random: object
) -> None:
    low, mean, high = np.sort(np.array(drawn), axis=1).T
    first = leading_arm(mean)
    share = np.eye(len(mean))[first]
    if is_settled(mean, low, high):
        assert not diagnose_exploration(mean, low, high, np.zeros(len(mean)), share).neglected


OK = {"mean": [0.3, 0.1], "low": [0.2, 0.0], "high": [0.4, 0.2], "observations": [9, 9], "share": [0.5, 0.5]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": [0.3, math.nan]}, "mean"),
        ({"low": [0.5, 0.0]}, "low must not be above high"),
        ({"high": [math.inf, 0.2]}, "high"),
        ({"observations": [9, -1]}, "observations"),
        ({"share": [0.5, -0.5]}, "share must not be negative"),
        ({"share": [0.0, 0.0]}, "share must not be all zero"),
        ({"share": [0.5, 0.2, 0.3]}, "one entry for each arm.*share 3"),
        ({"low": [0.2]}, "one entry for each arm.*low 1"),
        ({"mean": [[0.3, 0.1]]}, "mean .*one dimension"),
    ],
)
def test_what_cannot_be_diagnosed_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        diagnose_exploration(**{**OK, **change})  # type: ignore[arg-type]


def test_probabilities_of_being_best_are_checked() -> None:
    for best, message in (([0.5], "best 1"), ([1.5, 0.0], "best must be"), ([-0.1, 1.0], "best must be")):
        with pytest.raises(EvaluationError, match=message):
            is_settled([0.3, 0.1], [0.2, 0.0], [0.4, 0.2], best=best)
