"""Evidence for features, added up over all offers that were ever observed."""

import numpy as np
import pytest

from bandits.algorithms.calibrated import CalibratedPolicy, PreparedCalibrated
from bandits.algorithms.pooled_evidence import MAX_PART
from bandits.algorithms.weighed_features import MAX_POOLED
from bandits.conformance.scenarios import fingerprint
from bandits.errors import PolicyParameterError
from bandits.features import Feature
from bandits.policy import QUANTUM, FloatArray, Observation, PolicySpec, Sums
from bandits.state import ArmTable, arm_contributions

FEATURES = tuple(
    Feature(f"x{column}", "numeric", f"customer.x{column}", low=-4.0, high=4.0, default=0.0)
    for column in range(4)
)
START_S = 1e9
Fold = tuple[tuple[str, ...], FloatArray]


def policy_of(pools: object = True, **more: object) -> CalibratedPolicy:
    return CalibratedPolicy(
        PolicySpec("pooled", 2, "calibrated", {"pool_evidence": pools, **more}, FEATURES, auto=True)
    )


def outcomes(
    policy: CalibratedPolicy, offers: list[int], count: int, signal: float, seed: int = 0
) -> list[Fold]:
    """Make up what outcomes of offers add to arms, where the first feature says who accepts."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        x = rng.normal(size=4)
        reward = float(rng.random() < 1.0 / (1.0 + np.exp(1.0 - signal * x[0])))
        facts = {f"customer.x{column}": value for column, value in enumerate(x.tolist())}
        offer = int(rng.choice(offers))
        seen = Observation(offer, reward, float("nan"), policy.encoder.encode(facts, 0), 0.3)
        found.append(arm_contributions(policy, seen, START_S + number))
    return found


def table_of(policy: CalibratedPolicy, folds: list[Fold]) -> ArmTable:
    table = ArmTable(policy.width)
    add(table, folds)
    return table


def add(table: ArmTable, folds: list[Fold]) -> None:
    for fields, delta in folds:
        for name in fields:
            table.add(name, delta)


def read(policy: CalibratedPolicy, table: ArmTable, *offers: int) -> Sums:
    return table.read(policy, np.array(offers, dtype=np.uint32), policy.decay.tick(START_S + 5_000))


def pays(policy: CalibratedPolicy, sums: Sums) -> list[bool]:
    prepared = policy.prepare(sums)
    assert isinstance(prepared, PreparedCalibrated)
    assert prepared.weighed is not None
    return list(prepared.weighed.pays)


def test_other_offers_outcomes_say_that_features_pay_for_an_offer_with_few_of_its_own() -> None:
    # Ten silences are no news of slopes, but slopes cost evidence.
    for pools, expected in ((False, False), (True, True)):
        policy = policy_of(pools)
        silent = [fold for fold in outcomes(policy, [9], 30, 0.0, seed=3) if fold[1][1] == 0.0][:10]
        known = [*outcomes(policy, [1, 2], 800, 2.0), *outcomes(policy, [3, 4], 800, -2.0, seed=1)]
        table = table_of(policy, [*known, *silent])
        assert pays(policy, read(policy, table, 9)) == [expected]


def test_other_offers_outcomes_say_that_features_do_not_pay() -> None:
    policy = policy_of()
    table = table_of(policy, outcomes(policy, [1, 2, 3], 1_500, 0.0))
    assert read(policy, table, 9).pooled < -MAX_POOLED
    assert pays(policy, read(policy, table, 9)) == [False]  # nothing is known of it itself


def test_an_offers_own_clear_evidence_outweighs_that_of_all_others() -> None:
    policy = policy_of()
    folds = [*outcomes(policy, [1, 2, 3], 3_000, 0.0), *outcomes(policy, [4], 1_000, 2.0)]
    table = table_of(policy, folds)
    assert read(policy, table, 4).pooled < 0.0
    assert pays(policy, read(policy, table, 4)) == [True]


def test_what_is_pooled_is_the_same_whatever_was_read_before_and_in_any_order() -> None:
    policy = policy_of()
    folds = outcomes(policy, [1, 2, 3, 4], 300, 1.0)
    stepwise = ArmTable(policy.width)
    for start in range(0, len(folds), 7):
        add(stepwise, folds[start : start + 7])
        read(policy, stepwise, 2)
    once = table_of(policy, folds[::-1])
    stored = ArmTable(policy.width)
    stored.put_all(once.fields())
    tables = (stepwise, once, stored)
    assert len({fingerprint(read(policy, table, 1, 3)) for table in tables}) == 1
    assert read(policy, once, 1).pooled % QUANTUM == 0.0


@pytest.mark.parametrize("precision", [None, 4.0])
def test_refreshing_from_a_table_equals_preparing_from_it(precision: float | None) -> None:
    policy = policy_of(evidence_precision=precision)
    folds = outcomes(policy, [1, 2, 3], 400, 1.0)
    table, offers = table_of(policy, folds[:200]), np.array([1, 2], dtype=np.uint32)
    tick = policy.decay.tick(START_S + 5_000)
    prepared = policy.prepare(table.read(policy, offers, tick))
    for fold in folds[200:]:
        add(table, [fold])
        offer = int(fold[0][0].partition(":")[0])
        rows = np.flatnonzero(offers == offer)
        prepared = policy.refresh(prepared, table.read(policy, offers, tick, rows), rows)
    fresh = policy.prepare(table.read(policy, offers, tick))
    assert fingerprint(prepared) == fingerprint(fresh)


def test_one_offer_says_a_bounded_part_and_nothing_before_it_is_observed() -> None:
    policy = policy_of()
    assert policy.pool is not None
    assert read(policy, ArmTable(policy.width), 1).pooled == 0.0
    context = policy.pool.context(np.zeros(policy.width))
    assert policy.pool.evidence(np.zeros((2, policy.width)), context).tolist() == [0.0, 0.0]
    table = table_of(policy, outcomes(policy, [1], 3_000, 3.0))
    assert read(policy, table, 1).pooled == MAX_PART


@pytest.mark.parametrize("precision", [None, 4.0])
def test_the_evidence_is_that_of_the_marginal_likelihood(precision: float | None) -> None:
    policy = policy_of(evidence_precision=precision)
    assert policy.pool is not None
    sums = read(policy, table_of(policy, outcomes(policy, [1, 2], 60, 0.5)), 1, 2)
    context = policy.pool.context(sums.shared)
    found, own = policy.pool.evidence(sums.own, context), context.scaled.own
    assert (None if sums.evidence is None else sums.evidence.tolist()) == (precision and found.tolist())
    # Of what is known of scales, only the precision of the four slopes is another one.
    plain = policy.regression.scaled_prior(sums.shared).own
    widened = 4 * np.log(precision or 1.0)
    assert np.linalg.slogdet(own)[1] == pytest.approx(np.linalg.slogdet(plain)[1] + widened)
    matrices, responses = policy.regression.layout.read(sums.own)
    for row in range(2):
        expected = []
        for columns in (list(range(7)), [0, 5, 6]):
            part = np.ix_(columns, columns)
            a, t, b = matrices[row][part], own[part], responses[row][columns]
            c = policy.regression.prior.mean[columns]
            pulled = b + t @ c
            expected.append(
                0.5 * (np.linalg.slogdet(t)[1] - np.linalg.slogdet(a + t)[1])
                + 0.5 * (pulled @ np.linalg.solve(a + t, pulled) - c @ t @ c)
            )
        assert found[row] == pytest.approx(expected[0] - expected[1], abs=1e-3)


def test_versions_that_do_not_ask_for_it_pool_nothing() -> None:
    policy = policy_of(False)
    assert policy.pool is None
    assert read(policy, table_of(policy, outcomes(policy, [1], 50, 2.0)), 1).pooled == 0.0
    with pytest.raises(PolicyParameterError, match="pool_evidence is true or false"):
        policy_of("yes")


def test_with_narrower_slopes_few_outcomes_say_less_against_features_that_are_there() -> None:
    """A wide prior is found wanting while outcomes are few, although slopes are there."""
    said = []
    for precision in (1.0, 4.0):
        policy = policy_of(evidence_precision=precision)
        table = table_of(policy, outcomes(policy, list(range(1, 31)), 400, 0.7, seed=5))
        said.append(read(policy, table, 1).pooled)
    assert said[0] < -3.0
    assert said[1] > 0.0


def test_an_offer_goes_by_its_own_part_of_the_evidence() -> None:
    policy = policy_of(evidence_precision=4.0)
    folds = [*outcomes(policy, [1, 2], 3_000, 0.0), *outcomes(policy, [3], 1_000, 2.0)]
    sums = read(policy, table_of(policy, folds), 1, 3, 9)
    assert sums.evidence is not None
    assert sums.evidence[0] < -MAX_POOLED < 0.0 == sums.evidence[2]
    assert sums.evidence[1] == MAX_PART
    assert pays(policy, sums) == [False, True, sums.pooled >= 0.0]


def test_a_precision_of_evidence_that_nothing_pools_is_refused() -> None:
    with pytest.raises(PolicyParameterError, match="has to be true") as refused:
        policy_of(False, evidence_precision=4.0)
    assert refused.value.field == "parameters.evidence_precision"
    with pytest.raises(PolicyParameterError, match="evidence_precision"):
        policy_of(evidence_precision=0.0)
