"""The laws of a policy's description, its features, its learning and its stored state (see ``checks``)."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from itertools import product

import numpy as np

from bandits.conformance.scenarios import (
    NOW_MS,
    NOW_S,
    LawViolation,
    all_answers,
    exercise_policy,
    fingerprint,
    learned_arms,
    make_facts,
    make_observation,
    make_observations,
    make_scenario,
    require,
    require_equal,
    with_other_facts,
)
from bandits.errors import PolicyParameterError, StateCodecError
from bandits.feature_columns import MAX_COLUMN_VALUE
from bandits.features import Encoder
from bandits.policy import SHARED, ForwardDecay, Policy, PolicySpec
from bandits.state import ArmTable, decode_state, encode_state, fold_observations


def is_described(policy: Policy) -> None:
    """Name, version, width, epsilon and what else describes a policy are of their types and ranges."""
    # As ``Any``: what is checked here is that the types which the protocol promises are true.
    name, version, width = (getattr(policy, field) for field in ("name", "version", "width"))
    require(isinstance(name, str) and name, "name is not a string")
    require(isinstance(version, int) and version >= 1, "version is not a positive integer")
    require(isinstance(width, int) and width >= 0, "width is not a count")
    require(isinstance(policy.shared, bool), "shared is not a truth value")
    require(isinstance(policy.encoder, Encoder), "encoder is not an Encoder")
    require(isinstance(policy.decay, ForwardDecay), "decay is not a ForwardDecay")
    require(0.0 <= policy.epsilon <= 1.0, f"epsilon is {policy.epsilon}, which is no share")


def refuses_unknown_parameters(policy: Policy) -> None:
    """A parameter that the algorithm does not have is refused."""
    algorithm: Callable[..., Policy] = type(policy)  # called as the registry does
    try:
        algorithm(PolicySpec(policy.name, policy.version, "any", {"no_such_parameter": 1.0}))
    except PolicyParameterError as error:
        require("no_such_parameter" in str(error), "the message does not name the parameter")
    else:
        raise LawViolation("no_such_parameter was taken")


def learns_finite_numbers(policy: Policy) -> None:
    """Learning gives `width` finite numbers, the same ones every time."""
    rng, none = np.random.default_rng(13), float("nan")
    for reward, base_propensity in product((0.0, 0.25, 1.0), (0.0, 1e-6, 0.3, 1.0, none)):
        for estimate in (none, 0.0, 0.02, 1.0):
            facts = make_facts(policy.encoder, rng)
            seen = make_observation(
                policy, 7, reward, base_propensity, estimate, facts, by_caller=reward != 0.25
            )
            before = fingerprint(seen)
            learned = policy.learn(seen)
            require(learned.shape == (policy.width,), f"learn gave shape {learned.shape}")
            require(learned.dtype == np.float64, f"learn gave {learned.dtype}")
            require(np.isfinite(learned).all(), f"learn gave {learned} for {seen}")
            require_equal(learned, policy.learn(seen), "learning from the same gave something else")
            require_equal(learned, deepcopy(policy).learn(seen), "a copy learns something else")
            require(fingerprint(seen) == before, "learning modified the observation")


def features_are_pure(policy: Policy) -> None:
    """The same facts are encoded as the same `width` numbers between -4 and 4, bit for bit, whatever else is known."""
    encoder, rng = policy.encoder, np.random.default_rng(14)
    require(len(encoder.columns) == encoder.width, f"{len(encoder.columns)} names, {encoder.width} columns")
    for _ in range(50):
        facts = make_facts(encoder, rng)
        before = fingerprint(facts)
        x = encoder.encode(facts, NOW_MS)
        require(x.shape == (encoder.width,), f"encode gave shape {x.shape}")
        require(x.dtype == np.float64, f"encode gave {x.dtype}")
        require((np.abs(x) <= MAX_COLUMN_VALUE).all(), f"encode gave {x} for {facts}")
        for twin in (encoder, deepcopy(encoder)):
            require_equal(
                x, twin.encode(with_other_facts(facts), NOW_MS), "encoding the same facts gave something else"
            )
        require(fingerprint(facts) == before, "encoding modified the facts")


def facts_count_if_declared(policy: Policy) -> None:
    """Facts that no feature names have no influence on learning and choosing: they are not in the log."""
    w = make_scenario(policy, 12, seed=15)
    prepared = policy.prepare(w.sums)
    more = replace(w.candidates, facts=with_other_facts(w.candidates.facts))
    expected = all_answers(policy, prepared, w.candidates)
    require(all_answers(policy, prepared, more) == expected, "choosing depends on other facts")
    for seen, _ in make_observations(policy, w.offers, 50, seed=16):
        other = replace(seen, facts=with_other_facts(seen.facts))
        require_equal(policy.learn(seen), policy.learn(other), "learning depends on other facts")


def folds_commute(policy: Policy) -> None:
    """Folds of the same outcomes give the same arms bit for bit, in any order and any split over buckets."""
    seen = make_observations(policy, np.arange(1, 9, dtype=np.uint32), 600, seed=3)
    expected = dict(learned_arms(policy, seen).fields())
    rng = np.random.default_rng(4)
    for buckets in (1, 2, 7, 64):
        order = rng.permutation(len(seen))
        parts = [[seen[i] for i in order[start::buckets]] for start in range(buckets)]
        table = ArmTable(policy.width)
        for part in parts:
            for field, delta in fold_observations(policy, part).items():
                table.add(field, delta)
        require(dict(table.fields()) == expected, f"{buckets} buckets in another order gave other arms")


def states_survive_storage(policy: Policy) -> None:
    """A stored state is read back bit for bit, and a state of another width is refused."""
    table = learned_arms(policy, make_observations(policy, np.arange(1, 9, dtype=np.uint32), 200, seed=5))
    again = ArmTable(policy.width)
    for field, blob in table.fields():
        require(encode_state(decode_state(blob, policy.width)) == blob, f"field {field} changed")
        again.put(field, blob)
    require(dict(again.fields()) == dict(table.fields()), "a table changed in storage")
    offers, tick = np.arange(12, dtype=np.uint32), policy.decay.tick(NOW_S)
    read = again.read(policy, offers, tick)
    require(
        fingerprint(table.read(policy, offers, tick)) == fingerprint(read), "a stored table reads differently"
    )
    try:
        again.put("1:0", bytes(8 * (policy.width + 1)))
    except StateCodecError:
        return
    raise LawViolation("a state of another width was taken")


def states_stay_small(policy: Policy) -> None:
    """An arm takes `width` numbers a period, however much it has seen, and the policy itself remembers nothing."""
    before = fingerprint(policy.__getstate__())
    seen = make_observations(policy, np.array([1, 2], dtype=np.uint32), 3000, seed=6)
    fields = dict(learned_arms(policy, seen).fields())
    periods = {(o.offer, policy.decay.period(at_s)) for o, at_s in seen}
    periods |= {(SHARED, period) for _, period in periods if policy.shared}
    require(len(fields) == len(periods), f"{len(periods)} arms and periods take {len(fields)} fields")
    require(all(len(blob) == 8 * policy.width for blob in fields.values()), "a field is not `width` numbers")
    exercise_policy(policy, make_scenario(policy, 5))
    require(fingerprint(policy.__getstate__()) == before, "the policy changed while it was used")


LEARNING_LAWS: tuple[Callable[[Policy], None], ...] = (
    is_described,
    refuses_unknown_parameters,
    learns_finite_numbers,
    features_are_pure,
    facts_count_if_declared,
    folds_commute,
    states_survive_storage,
    states_stay_small,
)
