"""Features have to pay: an offer's model has them where the evidence is for them."""

import numpy as np
import pytest

from bandits.algorithms.calibrated import CalibratedPolicy, PreparedCalibrated
from bandits.algorithms.weighed_features import BothModels, FeatureWeighing, log_evidence
from bandits.errors import PolicyParameterError
from bandits.exact_math import inverses_of_factors
from bandits.features import Feature
from bandits.policy import Candidates, FloatArray, Observation, PolicySpec, Sums
from bandits.state import ArmTable, arm_contributions

FEATURES = tuple(
    Feature(f"x{column}", "numeric", f"customer.x{column}", low=-4.0, high=4.0, default=0.0)
    for column in range(8)
)
OFFERS = np.arange(1, 5, dtype=np.uint32)


def policy_of(auto: bool = True, **parameters: object) -> CalibratedPolicy:
    return CalibratedPolicy(PolicySpec("weighed", 2, "calibrated", parameters, FEATURES, auto=auto))


def learned(policy: CalibratedPolicy, signal: float, rounds: int, seed: int = 0) -> Sums:
    """Sums of offers shown at random; of the first ones the first feature says who accepts, of the others none."""
    rng = np.random.default_rng(seed)
    table = ArmTable(policy.width)
    for number in range(rounds):
        offer = int(rng.choice(OFFERS))
        x = rng.normal(size=8)
        log_odds = -1.0 + (signal * x[0] if offer <= 2 else 0.0)
        reward = float(rng.random() < 1.0 / (1.0 + np.exp(-log_odds)))
        facts = {f"customer.x{column}": value for column, value in enumerate(x.tolist())}
        encoded = policy.encoder.encode(facts, 0)
        seen = Observation(offer, reward, float("nan"), encoded, 0.3)
        fields, delta = arm_contributions(policy, seen, 1e9 + number)
        for field in fields:
            table.add(field, delta)
    return table.read(policy, OFFERS, policy.decay.tick(1e9 + rounds))


def pays(policy: CalibratedPolicy, sums: Sums) -> list[bool]:
    prepared = policy.prepare(sums)
    assert isinstance(prepared, PreparedCalibrated)
    assert prepared.weighed is not None
    return list(prepared.weighed.pays)


def test_features_pay_for_the_offers_that_they_say_something_about() -> None:
    policy = policy_of()
    assert pays(policy, learned(policy, 2.0, 3_000)) == [True, True, False, False]


def test_before_anything_is_observed_features_count() -> None:
    policy = policy_of()
    assert pays(policy, learned(policy, 2.0, 0)) == [True] * 4


def test_where_features_do_not_pay_estimates_do_not_depend_on_them() -> None:
    policy = policy_of()
    prepared = policy.prepare(learned(policy, 0.0, 3_000))

    def estimates(value: float) -> FloatArray:
        x = policy.encoder.encode({"customer.x1": value}, 0)
        cold = np.full(4, np.nan, dtype=np.float32)
        return policy.propensities(prepared, Candidates(OFFERS, cold, np.ones(4), x))

    np.testing.assert_allclose(estimates(-4.0), estimates(4.0), rtol=1e-3)


def test_the_evidence_is_that_of_the_marginal_likelihood() -> None:
    policy = policy_of()
    sums = learned(policy, 1.0, 200)
    both = FeatureWeighing(policy.regression, slice(1, 9)).prepare(sums).basis
    assert isinstance(both, BothModels)
    posterior, centres = both.with_features.posterior, both.with_features.centres
    found = log_evidence(both.with_features, both.determinants[0])
    precision, pull = centres.scaled.own, centres.pull[:, 0]
    centre = np.linalg.solve(precision, pull)
    for row in range(4):
        a = np.linalg.inv(inverses_of_factors(posterior.factors)[:, :, row]) - precision
        b = posterior.response[:, row]
        # With y = A^-1 b as the one observation of precision A: N(y; c, A^-1 + T^-1), without terms of A and b alone.
        spread = np.linalg.pinv(a) + np.linalg.inv(precision)
        y = np.linalg.pinv(a) @ b
        direct = (
            -0.5 * (y - centre) @ np.linalg.solve(spread, y - centre)
            - 0.5 * np.linalg.slogdet(precision + a)[1]
            + 0.5 * np.linalg.slogdet(precision)[1]
            + 0.5 * y @ b
        )
        assert found[row] == pytest.approx(direct, rel=1e-4, abs=1e-4)


def test_declared_features_are_not_weighed_unless_asked_for() -> None:
    for policy, weighs in (
        (policy_of(auto=False), False),
        (policy_of(auto=False, weigh_features=True), True),
    ):
        assert isinstance(policy.prepare(learned(policy, 1.0, 5)), PreparedCalibrated) == weighs
    with pytest.raises(PolicyParameterError, match="true or false"):
        policy_of(weigh_features="yes")
