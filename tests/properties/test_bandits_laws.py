"""Laws of arms and choices: sums are free of order, decay is one factor, shifting odds keeps the customers' order."""

import math
from fractions import Fraction

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from bandits.algorithms.thompson import ThompsonPolicy
from bandits.intervals import wilson_interval
from bandits.policy import (
    PERIOD_HALF_LIVES,
    QUANTUM,
    TICKS_PER_HALF_LIFE,
    BoolArray,
    Candidates,
    FloatArray,
    ForwardDecay,
    Observation,
    quantise,
)
from bandits.sampling import draw_slots, sample_index, uniform_draw, with_floor
from bandits.state import ArmTable, arm_contributions, decode_state, encode_state, fold_observations
from tests.support.bandits_selection import arms, specification

half_lives = st.floats(60.0, 36_500 * 86_400.0) | st.sampled_from([86_400.0, 90 * 86_400.0])
times = st.integers(0, 2**42).map(lambda ms: ms / 1000.0)  # until 2109, in ms as they are logged
rewards = st.sampled_from([0.0, 1.0]) | st.floats(0, 1)
propensities = st.floats(0, 1, width=32)
observed = st.tuples(
    st.builds(
        Observation, offer=st.integers(1, 3), reward=rewards, base_propensity=propensities | st.just(math.nan)
    ),
    times,
)


@given(half_lives, times)
def test_weights_stay_inside_their_period(half_life_s: float, t: float) -> None:
    decay = ForwardDecay(half_life_s)
    assert 1.0 <= decay.weight(t) < 2.0**PERIOD_HALF_LIVES
    assert decay.tick(t) // (PERIOD_HALF_LIVES * TICKS_PER_HALF_LIFE) == decay.period(t)
    assert 2.0**-PERIOD_HALF_LIVES < decay.scale(decay.period(t), decay.tick(t)) <= 1.0


@given(half_lives, times, times)
def test_what_is_read_depends_on_age_alone(half_life_s: float, t: float, now: float) -> None:
    decay = ForwardDecay(half_life_s)
    age = (now - t) / half_life_s
    assume(0 <= age < 20)
    read = decay.weight(t) * decay.scale(decay.period(t), decay.tick(now))
    tick_age = decay.tick(now) / TICKS_PER_HALF_LIFE - t / half_life_s
    assert math.isclose(read, 2.0**-tick_age, rel_tol=1e-6)
    assert 2.0**-age * (1 - 1e-6) <= read <= 2.0 ** (1 / TICKS_PER_HALF_LIFE - age) * (1 + 1e-6)


@given(half_lives, times, st.integers(-(2**40), 2**40))
def test_reading_is_finite_and_bounded_whatever_the_clock_says(
    half_life_s: float, t: float, tick: int
) -> None:
    decay = ForwardDecay(half_life_s)
    assert 0.0 <= decay.scale(decay.period(t), tick) <= 1.0


@given(half_lives, times, st.integers(0, 10**6))
def test_time_only_diminishes(half_life_s: float, t: float, ticks: int) -> None:
    decay = ForwardDecay(half_life_s)
    period, tick = decay.period(t), decay.tick(t)
    assert decay.scale(period, tick + ticks) <= decay.scale(period, tick)


amounts = st.lists(st.floats(-256, 256), min_size=1, max_size=60)


@given(amounts, st.randoms(use_true_random=False))
def test_quantised_sums_are_exact_hence_free_of_order_and_grouping(
    values: list[float], random: object
) -> None:
    exact = [float(value) for value in quantise(np.array(values))]
    expected = float(sum(map(Fraction, exact)))
    shuffled = list(exact)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # Hypothesis gives a random.Random
    middle = len(exact) // 2
    for total in (sum(exact), sum(shuffled), sum(exact[:middle]) + sum(exact[middle:]), sum(exact[::-1])):
        assert total == expected
    assert all(abs(a - b) <= QUANTUM / 2 for a, b in zip(exact, values, strict=True))


@given(st.lists(observed, max_size=40), st.data())
def test_arms_do_not_depend_on_who_folded_what_and_when(
    seen: list[tuple[Observation, float]], data: st.DataObject
) -> None:
    policy = ThompsonPolicy(
        specification("thompson", half_life_days=data.draw(st.sampled_from([0.0, 1.0, 90.0])))
    )
    one_by_one = ArmTable(policy.width)
    for observation, at_s in seen:
        (field,), delta = arm_contributions(policy, observation, at_s)
        one_by_one.add(field, delta)
    buckets = data.draw(st.lists(st.integers(0, 3), min_size=len(seen), max_size=len(seen)))
    order = data.draw(st.permutations(range(len(seen))))
    merged = ArmTable(policy.width)
    for bucket in data.draw(st.permutations(range(4))):
        part = fold_observations(policy, [seen[i] for i in order if buckets[i] == bucket])
        for field, delta in part.items():
            merged.add(field, delta)
    assert dict(merged.fields()) == dict(one_by_one.fields())


@given(st.lists(st.floats(allow_nan=False), max_size=8))
def test_states_survive_storage(values: list[float]) -> None:
    state = np.array(values, dtype=np.float64)
    assert decode_state(encode_state(state), len(values)).tobytes() == state.tobytes()


counts = st.integers(0, 10_000)


@given(
    counts,
    counts,
    st.integers(0, 10_000),
    st.lists(st.floats(2.0**-16, 1 - 2.0**-13, width=32), min_size=2, max_size=9),
)
def test_the_order_of_customers_is_kept_whatever_the_evidence(
    accepted: int, rejected: int, expected_per_10k: int, base_propensities: list[float]
) -> None:
    policy, n = ThompsonPolicy(specification("thompson")), accepted + rejected
    state = np.array([[n, accepted, n * expected_per_10k / 10_000]])
    prepared = policy.prepare(arms(np.array([7], dtype=np.uint32), state))
    estimates = [
        policy.propensities(
            prepared, Candidates(np.array([7], np.uint32), np.array([q], np.float32), np.ones(1))
        )
        for q in sorted(set(base_propensities))
    ]
    values = np.concatenate(estimates)
    assert (np.diff(values) > 0).all() or values.max() > 1 - 1e-6  # next to 1 float64 cannot tell them apart
    assert (np.diff(values) >= 0).all()


@given(propensities | st.just(math.nan), st.floats(0.1, 1e6), st.floats(1e-4, 0.9999))
def test_without_evidence_the_estimate_is_the_propensity(q: float, strength: float, default: float) -> None:
    policy = ThompsonPolicy(specification("thompson", strength=strength, default_propensity=default))
    offers = np.array([7], dtype=np.uint32)
    found = policy.propensities(
        policy.prepare(arms(offers, np.zeros((1, 3)))),
        Candidates(offers, np.array([q], np.float32), np.ones(1)),
    )[0]
    expected = default if math.isnan(q) else min(max(q, 1e-6), 1 - 1e-6)
    assert math.isclose(found, expected, rel_tol=1e-9)


@st.composite
def distributions(draw: st.DrawFn) -> tuple[FloatArray, BoolArray]:
    """Win counts and a mask with something available that won."""
    wins = np.array(draw(st.lists(st.integers(0, 128), min_size=1, max_size=30)), dtype=np.float64)
    available = np.array(draw(st.lists(st.booleans(), min_size=len(wins), max_size=len(wins))))
    wins[~available] = 0.0
    assume(wins.any())
    return wins, available


@given(distributions(), st.floats(1e-4, 1), st.floats(0, 1, exclude_max=True))
def test_what_is_picked_had_a_chance(drawn: tuple[FloatArray, BoolArray], epsilon: float, u: float) -> None:
    wins, available = drawn
    probabilities = with_floor(wins, available, epsilon)
    assert math.isclose(math.fsum(probabilities), 1.0, rel_tol=1e-12)
    assert (probabilities[available] >= epsilon / np.count_nonzero(available)).all()
    assert not probabilities[~available].any()
    index = sample_index(probabilities, u)
    assert available[index]
    below = math.fsum(probabilities[:index])
    assert below - 1e-12 <= u <= below + probabilities[index] + 1e-12


@given(distributions(), st.integers(0, 40), st.text(max_size=20))
def test_slots_are_filled_once_each_while_there_is_something_left(
    drawn: tuple[FloatArray, BoolArray], slots: int, seed: str
) -> None:
    _, available = drawn
    chosen = draw_slots(lambda left: left / np.count_nonzero(left), available, slots, seed)
    rows = [row for row, _ in chosen]
    n = int(np.count_nonzero(available))
    assert len(rows) == len(set(rows)) == min(slots, n)
    assert all(available[row] for row in rows)
    assert [probability for _, probability in chosen] == [1 / (n - slot) for slot in range(len(rows))]


@given(st.text())
def test_uniform_numbers_lie_in_the_unit_interval_and_are_repeatable(seed: str) -> None:
    assert 0.0 <= uniform_draw(seed) < 1.0
    assert uniform_draw(seed) == uniform_draw(seed)


@given(st.floats(0, 1e9), st.floats(1e-3, 1e9), st.floats(0.1, 5))
def test_wilson_holds_the_rate_and_stays_inside(successes: float, trials: float, z: float) -> None:
    rate, low, high = wilson_interval(min(successes, trials), trials, z)
    assert rate is not None
    assert 0.0 <= low <= rate + 1e-12
    assert rate - 1e-12 <= high <= 1.0
    _, wider_low, wider_high = wilson_interval(min(successes, trials), trials, z + 1)
    assert wider_low <= low + 1e-12
    assert high <= wider_high + 1e-12
