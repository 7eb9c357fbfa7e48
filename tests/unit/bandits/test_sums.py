"""The sums of groups of offers: those of their offers, however they came about."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandits.conformance.scenarios import fingerprint
from bandits.policy import Candidates, FloatArray, GroupSums, Observation, PolicySpec
from bandits.registry import build_policy
from bandits.state import ArmTable, encode_state, fold_observations
from bandits.sums import HIGH_STEP, OfferGroups

NOW_S = 1_750_000_000.0
POLICY = build_policy(
    PolicySpec("p", 1, "logistic_thompson", {"group_shrinkage": 2.0, "half_life_days": 1.0})
)
PLAIN = build_policy(PolicySpec("p", 2, "logistic_thompson", {"half_life_days": 1.0}))
OFFERS = np.array([2, 3, 5, 8], dtype=np.uint32)
GROUPS = OfferGroups.of({2: "b", 3: "a", 5: "b", 13: "a"})
TICK = POLICY.decay.tick(NOW_S)


def by_group(table: ArmTable, groups: OfferGroups | None = GROUPS, tick: int = TICK) -> GroupSums:
    found = table.read(POLICY, OFFERS, tick, groups=groups).by_group
    assert found is not None
    return found


def arm_sums(table: ArmTable, offer: int) -> FloatArray:
    sums: FloatArray = table.read(PLAIN, np.array([offer], dtype=np.uint32), TICK).own[0]
    return sums


def taught(seen: list[tuple[int, float, float]]) -> ArmTable:
    table = ArmTable(POLICY.width)
    observations = [(Observation(offer, reward, 0.3), NOW_S - age) for offer, reward, age in seen]
    for field, delta in fold_observations(POLICY, observations).items():
        table.add(field, delta)
    return table


def test_groups_are_numbered_by_name() -> None:
    assert GROUPS.names == ("a", "b")
    assert GROUPS.rows(OFFERS).tolist() == [1, 0, 1, -1]
    assert OfferGroups.of({13: "a", 5: "b", 3: "a", 2: "b"}) == GROUPS != OfferGroups.of({2: "b"})
    assert OfferGroups.of({}).rows(OFFERS).tolist() == [-1] * 4


def test_the_sums_of_a_group_are_those_of_its_offers_wherever_they_may_appear() -> None:
    table = taught([(2, 1.0, 0.0), (5, 0.0, 9e4), (5, 1.0, 9e5), (13, 1.0, 0.0), (8, 1.0, 0.0)])
    found = by_group(table)
    np.testing.assert_allclose(found.sums[1], arm_sums(table, 2) + arm_sums(table, 5), rtol=1e-12)
    np.testing.assert_array_equal(found.sums[0], arm_sums(table, 13))  # it is none of the offers asked for
    assert found.row.tolist() == [1, 0, 1, -1]


def test_a_policy_that_does_not_learn_by_group_is_told_none() -> None:
    assert taught([(2, 1.0, 0.0)]).read(PLAIN, OFFERS, TICK, groups=GROUPS).by_group is None
    assert taught([(2, 1.0, 0.0)]).read(POLICY, OFFERS, TICK).by_group is None


@pytest.mark.parametrize(
    "algorithm", ["calibrated", "logistic_thompson", "lin_ucb", "squarecb", "apprentice"]
)
def test_a_version_that_does_not_learn_by_group_decides_as_before(algorithm: str) -> None:
    policy = build_policy(PolicySpec("p", 1, algorithm))
    table = ArmTable(policy.width)
    observations = [
        (Observation(offer, float(i % 3 == 0), 0.3), NOW_S) for i in range(30) for offer in (2, 3)
    ]
    for field, delta in fold_observations(policy, observations).items():
        table.add(field, delta)
    tick = policy.decay.tick(NOW_S)
    told, untold = (policy.prepare(table.read(policy, OFFERS, tick, groups=each)) for each in (GROUPS, None))
    assert fingerprint(told) == fingerprint(untold)


def test_what_was_told_does_not_change() -> None:
    table = taught([(2, 1.0, 0.0)])
    found = by_group(table)
    before = found.sums.copy()
    for field, delta in fold_observations(POLICY, [(Observation(2, 1.0, 0.3), NOW_S)]).items():
        table.add(field, delta)
    assert by_group(table).sums[1, 0] == 2.0 * before[1, 0]
    np.testing.assert_array_equal(found.sums, before)


# Sizes around where a sum is kept in two parts.
sizes = st.sampled_from([1.0, 0.25, HIGH_STEP / 2, 3 * HIGH_STEP, 2**45 + 0.5, -1.0, -HIGH_STEP])
changes = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from([2, 3, 5, 8, 13]), st.integers(0, 2), sizes),
        st.tuples(st.just("add"), st.sampled_from([2, 3, 5, 8, 13]), st.integers(0, 2), sizes),
        st.tuples(st.just("read"), st.integers(0, 1), st.integers(0, 3), st.none()),
    ),
    max_size=20,
)


@given(changes)
def test_sums_that_were_kept_up_equal_those_made_anew(
    taken: list[tuple[str, int, int, float | None]],
) -> None:
    """Bit for bit, in whatever order arms change, offers move between groups and time passes."""
    others = OfferGroups.of({2: "b", 3: "b", 8: "a"})
    first = POLICY.decay.period(NOW_S) - 2
    table = ArmTable(POLICY.width)
    for what, which, where, size in taken:
        if what == "read":
            by_group(table, (GROUPS, others)[which], TICK + where)
            continue
        assert size is not None
        field = f"{which}:{first + where}"
        if what == "add":
            table.add(field, np.full(POLICY.width, np.clip(size, -(2.0**31), 2.0**31)))
        else:
            high = np.floor(size / HIGH_STEP + 0.5) * HIGH_STEP
            parts = np.array([[size - high], [high]]).repeat(POLICY.width, axis=1)
            table.put(field, encode_state(parts if high else parts[0]))
    anew = ArmTable(POLICY.width)
    anew.put_all(table.fields())
    for groups in (GROUPS, others):
        kept, made = by_group(table, groups), by_group(anew, groups)
        assert kept.sums.tobytes() == made.sums.tobytes()
        assert kept.row.tolist() == made.row.tolist()


def test_a_cold_offer_starts_at_the_level_of_its_group() -> None:
    table = taught([(2, float(i % 2), 0.0) for i in range(400)] + [(3, 0.0, 0.0)] * 400)
    offers = np.array([2, 3, 5, 13, 99], dtype=np.uint32)  # of 5, 13 and 99 nothing is known; 99 has no group
    candidates = Candidates(offers, np.full(5, np.nan, dtype=np.float32), np.ones(5))

    def levels(groups: OfferGroups | None) -> list[float]:
        prepared = POLICY.prepare(table.read(POLICY, offers, TICK, groups=groups))
        return list(POLICY.propensities(prepared, candidates))

    good, bad, of_good, of_bad, of_none = levels(GROUPS)
    assert bad < of_bad < of_none < of_good < good
    # Nearly as much is known of it as of the offer that its group's outcomes are of.
    assert good - of_good < 0.2 * (good - of_none)
    assert of_bad - bad < 0.2 * (of_none - bad)
    *_, cold, other_cold, third_cold = levels(None)
    assert cold == other_cold == third_cold
