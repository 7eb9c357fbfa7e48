"""The laws of preparing and choosing (see ``checks``)."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import numpy as np

from bandits.conformance.scenarios import (
    NOW_S,
    SUM_TOLERANCE,
    all_answers,
    availability_masks,
    exercise_policy,
    fingerprint,
    learned_state,
    make_groups,
    make_observations,
    make_scenario,
    make_scenarios,
    require,
    require_equal,
)
from bandits.policy import Policy


def choosing_is_pure(policy: Policy) -> None:
    """The same arms and candidates give the same propensities and probabilities; nothing given is modified."""
    for w in (w for w in make_scenarios(policy) if len(w.offers) <= 20):
        before = fingerprint(w)
        prepared = policy.prepare(w.sums)
        ready = fingerprint(prepared)
        for twin in (policy, deepcopy(policy)):
            again = fingerprint(twin.prepare(w.sums))
            require(again == ready, "preparing again gave something else")
        first = all_answers(policy, prepared, w.candidates)
        exercise_policy(policy, make_scenario(policy, 9, seed=8))
        require(all_answers(policy, prepared, w.candidates) == first, "choosing again gave something else")
        require(fingerprint(prepared) == ready, "choosing modified what was prepared")
        require(fingerprint(w) == before, "the inputs were modified")
        for available in availability_masks(len(w.offers)):
            kept = available.copy()
            distribution = policy.selector(prepared, w.candidates)
            probabilities = distribution(available)
            require((available == kept).all(), "the mask was modified")
            expected = probabilities.copy()
            probabilities[:] = -1.0  # a caller may write into what it was given
            require_equal(distribution(available), expected, "the result is not the caller's own")


def refreshing_equals_preparing(policy: Policy) -> None:
    """Refreshing the rows that changed gives what preparing all of them anew would, bit for bit."""
    old, new = make_scenario(policy, 40, seed=9, seen=100), make_scenario(policy, 40, seed=9, seen=400)
    rng = np.random.default_rng(10)
    for count in (0, 1, 3, 40):
        rows = np.sort(rng.choice(40, count, replace=False)).astype(np.intp)
        own = old.sums.own.copy()
        own[rows] = new.sums.own[rows]
        # NaN where nothing changed: a policy that reads those rows gives itself away.
        changed = replace(new.sums, own=np.full_like(own, np.nan))
        changed.own[rows] = own[rows]
        given = fingerprint(changed)
        refreshed = policy.refresh(policy.prepare(old.sums), changed, rows)
        prepared = policy.prepare(replace(new.sums, own=own))
        require(fingerprint(refreshed) == fingerprint(prepared), f"refreshing {count} rows differs")
        require(
            all_answers(policy, refreshed, old.candidates) == all_answers(policy, prepared, old.candidates),
            f"after refreshing {count} rows it chooses differently",
        )
        require(fingerprint(changed) == given, "refreshing modified its inputs")


def placements_may_be_empty(policy: Policy) -> None:
    """A placement without offers can be prepared and refreshed, whatever was learned of others."""
    nobody = np.empty(0, dtype=np.uint32)
    learned = np.arange(1, 8, dtype=np.uint32)
    for seen in (0, 50):
        table = learned_state(policy, make_observations(policy, learned, seen, seed=3))
        sums = table.read(policy, nobody, policy.decay.tick(NOW_S), groups=make_groups(learned))
        prepared = policy.prepare(sums)
        before = fingerprint(prepared)
        refreshed = policy.refresh(prepared, sums, np.empty(0, dtype=np.intp))
        require(fingerprint(refreshed) == before, "refreshing nothing changed something")


def propensities_are_chances(policy: Policy) -> None:
    """Propensities are numbers in [0, 1], one a candidate."""
    for w in make_scenarios(policy):
        propensities = policy.propensities(policy.prepare(w.sums), w.candidates)
        require(propensities.shape == (len(w.offers),), f"{w.name}: shape {propensities.shape}")
        require(propensities.dtype == np.float64, f"{w.name}: {propensities.dtype}")
        inside = (propensities >= 0.0) & (propensities <= 1.0)
        require(inside.all(), f"{w.name}: {propensities[~inside][:1]}")


def distributions_are_exact(policy: Policy) -> None:
    """Probabilities sum to one over what is available, are zero elsewhere, and keep the floor `epsilon / n`."""
    for w in make_scenarios(policy):
        distribution = policy.selector(policy.prepare(w.sums), w.candidates)
        for available in availability_masks(len(w.offers)):
            probabilities = distribution(available)
            require(probabilities.shape == available.shape, f"{w.name}: shape {probabilities.shape}")
            require(probabilities.dtype == np.float64, f"{w.name}: {probabilities.dtype}")
            require((probabilities >= 0.0).all(), f"{w.name}: a probability is below 0, or no number")
            elsewhere = probabilities[~available]
            require((elsewhere == 0.0).all(), f"{w.name}: something unavailable may be chosen")
            total = float(probabilities.sum())
            require(abs(total - 1.0) <= SUM_TOLERANCE, f"{w.name}: the sum is {total!r}")
            floor, least = policy.epsilon / np.count_nonzero(available), probabilities[available].min()
            require(least >= floor * (1 - SUM_TOLERANCE), f"{w.name}: {least} is below the floor {floor}")


def masking_equals_leaving_out(policy: Policy) -> None:
    """A candidate that is masked has no influence: the others fare as if it had never been there, bit for bit."""
    for w in make_scenarios(policy):
        prepared = policy.prepare(w.sums)
        distribution = policy.selector(prepared, w.candidates)
        propensities = policy.propensities(prepared, w.candidates)
        for available in availability_masks(len(w.offers)):
            part = w.rows(available)
            alone = policy.prepare(part.sums)
            everything = np.ones(len(part.offers), dtype=bool)
            without = policy.selector(alone, part.candidates)(everything)
            require_equal(distribution(available)[available], without, f"{w.name}: probabilities differ")
            without = policy.propensities(alone, part.candidates)
            require_equal(propensities[available], without, f"{w.name}: propensities differ")


def order_is_immaterial(policy: Policy) -> None:
    """Candidates in another order have the same propensities and probabilities, bit for bit, unless scores tie."""
    for n in (2, 30, 200):
        w = make_scenario(policy, n, seed=11)
        order = np.random.default_rng(n).permutation(n)
        moved = w.rows(order)
        here, there = policy.prepare(w.sums), policy.prepare(moved.sums)
        a, b = policy.propensities(here, w.candidates), policy.propensities(there, moved.candidates)
        require_equal(a[order], b, f"{n} candidates: propensities differ")
        for available in availability_masks(n):
            a = policy.selector(here, w.candidates)(available)
            b = policy.selector(there, moved.candidates)(available[order])
            require_equal(a[order], b, f"{n} candidates: probabilities differ")


def learning_stays_with_its_offer(policy: Policy) -> None:
    """The outcomes of one offer change the estimate of that offer alone, apart from what all offers share."""
    w = make_scenario(policy, 12, seed=12)
    other = make_scenario(policy, 12, seed=12, seen=300)
    own = w.sums.own.copy()
    own[4] = other.sums.own[4]
    before = policy.propensities(policy.prepare(w.sums), w.candidates)
    after = policy.propensities(policy.prepare(replace(w.sums, own=own)), w.candidates)
    rest = np.arange(12) != 4
    require_equal(before[rest], after[rest], "other offers' propensities changed")
    require(before[4] != after[4], "what was learned has no effect")


CHOOSING_LAWS: tuple[Callable[[Policy], None], ...] = (
    choosing_is_pure,
    refreshing_equals_preparing,
    placements_may_be_empty,
    propensities_are_chances,
    distributions_are_exact,
    masking_equals_leaving_out,
    order_is_immaterial,
    learning_stays_with_its_offer,
)
