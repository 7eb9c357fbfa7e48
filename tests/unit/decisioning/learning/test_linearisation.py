"""Imported history is learned as it was: contributions are linearised anew until the estimates stand."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from bandits.features import Feature
from bandits.policy import Observation, PolicySpec
from bandits.registry import build_policy
from bandits.regression.linearisation import (
    LinearisationPoints,
    can_relinearise,
    largest_move,
    linearisation_points,
)
from bandits.regression.regression_policy import RegressionPolicy
from bandits.state import ArmTable
from bandits.sums import OfferGroups
from decisioning.learning.fold import Linearisation, fold_outcomes
from decisioning.learning.linearisation import MAX_PASSES, STANDS, Relinearisation
from decisioning.model.deciders import HISTORY
from decisioning.model.outcome import Outcome
from storage.clock import HOUR_MS
from tests.support.bandits_learning_world import asking
from tests.support.logged import ACCEPTED, DECIDED_MS

TRUTHS = (0.32, 0.10, 0.02)
VALUES = np.array([1.0, 5.0, 10.0])
NOW_MS = DECIDED_MS + 24 * HOUR_MS
AGE = Feature("age", "numeric", "customer.age", low=18, high=80)


def regression(
    algorithm: str = "calibrated", features: tuple[Feature, ...] = (), **parameters: Any
) -> RegressionPolicy:
    policy = build_policy(PolicySpec("p", 1, algorithm, parameters, features=features))
    assert isinstance(policy, RegressionPolicy)
    return policy


def history(rows: int, propensity: float = math.nan) -> list[Outcome]:
    """``rows`` imported outcomes of each offer, accepted as often as its truth says."""
    imported = structs.replace(
        ACCEPTED, policy=HISTORY, estimate=math.nan, base_propensity=propensity, facts={}
    )
    made = []
    for number, truth in enumerate(TRUTHS, start=1):
        for row in range(rows):
            accepted = math.floor((row + 1) * truth) > math.floor(row * truth)
            at_ms = DECIDED_MS + row
            made.append(
                structs.replace(
                    imported,
                    decision_id=f"{number}-{row}",
                    offer=number,
                    reward=float(accepted),
                    decided_at_ms=at_ms,
                    at_ms=at_ms,
                )
            )
    return made


def relinearised(policy: RegressionPolicy, outcomes: Sequence[Outcome]) -> Relinearisation:
    found = Relinearisation(PolicySpec("p", 1, "calibrated"), policy, NOW_MS)
    while True:
        found.fold(outcomes)
        if found.end_pass():
            return found


def estimates(policy: RegressionPolicy, table: ArmTable, propensity: float) -> np.ndarray:
    offers = np.arange(1, len(TRUTHS) + 1, dtype=np.uint32)
    sums = table.read(policy, offers, policy.decay.tick(NOW_MS / 1000.0))
    asked = asking(offers.tolist(), [], np.full(len(TRUTHS), propensity))
    return policy.propensities(policy.prepare(sums), asked)


@pytest.mark.parametrize("propensity", [math.nan, 0.5, 0.02])
@pytest.mark.parametrize("algorithm", ["calibrated", "logistic_thompson"])
def test_estimates_after_imported_history_are_the_rates_that_it_has(
    algorithm: str, propensity: float
) -> None:
    policy = regression(algorithm)
    found = estimates(policy, relinearised(policy, history(2_000, propensity)).table, propensity)
    assert np.abs(found - TRUTHS).mean() < 0.005
    assert np.abs(found - TRUTHS).max() < 0.01
    assert (np.argsort(found * VALUES) == np.argsort(TRUTHS * VALUES)).all()


def test_passes_end_when_the_estimates_stand() -> None:
    policy = regression()
    outcomes = history(500)
    found = relinearised(policy, outcomes)
    assert 2 <= found.passes <= MAX_PASSES
    assert found.linearisation is not None
    again = Relinearisation(PolicySpec("p", 1, "calibrated"), policy, NOW_MS, found.linearisation)
    again.fold(outcomes)
    assert again.end_pass()
    assert again.linearisation is found.linearisation
    assert dict(again.table.fields()) == dict(found.table.fields())


def test_what_is_expected_already_is_folded_once() -> None:
    policy = regression()
    outcomes = [structs.replace(o, estimate=TRUTHS[o.offer - 1]) for o in history(5_000)]
    found = relinearised(policy, outcomes)
    assert (found.passes, found.linearisation) == (1, None)


def test_without_outcomes_there_is_nothing_to_linearise() -> None:
    found = relinearised(regression(), [])
    assert (found.passes, found.linearisation) == (1, None)


def test_an_acceptance_takes_silence_back_from_where_it_was_counted() -> None:
    """One shown before the relinearisation, accepted after: together they are one acceptance, bit for bit."""
    policy, spec = regression(features=(AGE,)), PolicySpec("p", 1, "calibrated")
    table = ArmTable(policy.width)
    outcomes = [structs.replace(o, facts={"customer.age": 20 + n % 50}) for n, o in enumerate(history(300))]
    for name, delta in fold_outcomes(outcomes, spec, policy)[0].items():
        table.add(name, delta)
    at = Linearisation(NOW_MS, linearisation_points(policy, table, NOW_MS / 1000))
    shown = structs.replace(
        ACCEPTED, offer=1, outcome="shown", reward=None, at_ms=DECIDED_MS, silence_ms=DECIDED_MS
    )
    accepted = structs.replace(ACCEPTED, offer=1, silence_ms=DECIDED_MS)
    for linearisation in (None, at, Linearisation(DECIDED_MS, at.points)):
        both = ArmTable(policy.width)
        for part in ([shown], [accepted]):
            for name, delta in fold_outcomes(part, spec, policy, linearisation)[0].items():
                both.add(name, delta)
        once = structs.replace(accepted, silence_ms=None, at_ms=DECIDED_MS)
        alone = ArmTable(policy.width)
        for name, delta in fold_outcomes([once], spec, policy, linearisation)[0].items():
            alone.add(name, delta)
        assert dict(both.fields()) == dict(alone.fields())


def test_decisions_since_then_are_linearised_as_they_were_logged() -> None:
    policy, spec = regression(), PolicySpec("p", 1, "calibrated")
    at = relinearised(policy, history(200)).linearisation
    assert at is not None
    before, since = (structs.replace(ACCEPTED, decided_at_ms=NOW_MS + shift) for shift in (-1, 0))
    logged = fold_outcomes([since], spec, policy)[0]
    for name, delta in fold_outcomes([since], spec, policy, at)[0].items():
        assert delta.tolist() == logged[name].tolist()
    anew = fold_outcomes([before], spec, policy, at)[0]
    assert any(delta.tolist() != logged[name].tolist() for name, delta in anew.items())


@pytest.mark.parametrize("groups", [None, OfferGroups.of({1: "a", 2: "b", 3: "a"})])
def test_points_are_the_estimates_of_the_posterior(groups: OfferGroups | None) -> None:
    parameters: dict[str, Any] = {} if groups is None else {"group_shrinkage": 2.0}
    policy = regression(features=(AGE,), **parameters)
    table = ArmTable(policy.width)
    outcomes = [
        structs.replace(o, facts={"customer.age": 20 + n % 50}, base_propensity=(math.nan, 0.3)[n % 2])
        for n, o in enumerate(history(300))
    ]
    for name, delta in fold_outcomes(outcomes, PolicySpec("p", 1, "x"), policy)[0].items():
        table.add(name, delta)
    points = linearisation_points(policy, table, NOW_MS / 1000, groups)
    offers = np.array([1, 2, 3, 99], dtype=np.uint32)
    sums = table.read(policy, offers, policy.decay.tick(NOW_MS / 1000), groups=groups)
    prepared = policy.prepare(sums)
    for age in (None, 30, 70):
        x = policy.encoder.encode({} if age is None else {"customer.age": age}, NOW_MS)
        for propensity in (math.nan, 0.01, 0.4):
            expected = policy.propensities(prepared, asking(offers.tolist(), x, np.full(4, propensity)))
            found = [points.estimate(policy, Observation(int(o), 0.0, propensity, x)) for o in offers]
            assert found == pytest.approx(expected.tolist(), rel=1e-5)
    packed = LinearisationPoints.unpack(points.pack())
    assert packed.offers == points.offers
    assert packed.coefficients.tobytes() == points.coefficients.tobytes()
    assert largest_move(policy, points, packed, [Observation(1, 0.0, 0.3, x)]) == 0.0 < STANDS


@pytest.mark.parametrize(
    ("algorithm", "can"),
    [
        ("calibrated", True),
        ("logistic_thompson", True),
        ("linear_thompson", False),
        ("thompson", False),
        ("random", False),
    ],
)
def test_only_logistic_regressions_are_linearised_anew(algorithm: str, can: bool) -> None:
    assert can_relinearise(build_policy(PolicySpec("p", 1, algorithm))) is can
