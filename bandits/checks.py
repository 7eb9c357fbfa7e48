"""Conformance checks: the laws that every policy keeps, whatever its algorithm.

They run on every registered policy by themselves, and a new policy is ready for use when they pass. What
the rest of the system relies on is stated here and nowhere else: replay needs purity, learners that work in
parallel need folds that commute, evaluation needs exact probabilities.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import wraps
from itertools import product
from typing import Any

import numpy as np

from bandits.columns import BOUND
from bandits.decay import ForwardDecay
from bandits.errors import ConformanceError, PolicyParameterError, StateCodecError
from bandits.features import Encoder
from bandits.policy import SHARED, Candidates, Facts, FloatArray, Policy, PolicySpec, Sums
from bandits.sequential_laws import SEQUENTIAL_LAWS, Unlawful
from bandits.sequential_policy import is_sequential
from bandits.state import ArmTable, decode_state, encode_state, fold
from bandits.worlds import (
    NOW_MS,
    NOW_S,
    World,
    fingerprint,
    made_up_facts,
    masks,
    observation,
    observations,
    table_of,
    world,
    worlds,
)

Check = Callable[[Policy], None]

SUM_TOLERANCE = 1e-12
_LAWS: list[Check] = []


class _Broken(Exception):
    """What exactly went against a law."""


def checks_for(policy: Policy) -> Iterator[Check]:
    """The checks that apply to ``policy``, each a function of a policy that is named after its law.

    Each raises ``ConformanceError`` if the law is broken. They do not depend on each other.
    """
    if is_sequential(policy):
        yield from (law for law in _LAWS if law in _ANY_STATE)
        yield from sequential_laws()
    else:
        yield from (law for law in _LAWS if policy.width or law not in _LEARNERS_ONLY)


def check(policy: Policy) -> None:
    """Run all checks.

    Raises
    ------
    ConformanceError
        For the first law that ``policy`` breaks; the message names the law.
    """
    for law in checks_for(policy):
        law(policy)


def _law(body: Check) -> Check:
    """Register a check. Its docstring is the law as it is told to people."""
    law = _stated(body)
    _LAWS.append(law)
    return law


def _stated(body: Callable[[Any], None]) -> Check:
    """A check that says whose law was broken, and how."""

    @wraps(body)
    def law(policy: Policy) -> None:
        try:
            body(policy)
        except Exception as error:
            what = str(error) if isinstance(error, _Broken | Unlawful) else f"it raised {error!r}"
            who = f"{getattr(policy, 'name', '?')}@{getattr(policy, 'version', '?')}"
            raise ConformanceError(f"{who} breaks {body.__name__!r} ({body.__doc__}): {what}") from error

    return law


def _require(holds: Any, what: str) -> None:
    if not holds:
        raise _Broken(what)


def _same(a: FloatArray, b: FloatArray, what: str) -> None:
    """Equal bit for bit."""
    _require(fingerprint(np.asarray(a)) == fingerprint(np.asarray(b)), what)


@_law
def is_described(policy: Policy) -> None:
    """Name, version, width, epsilon and what else describes a policy are of their types and ranges."""
    name: Any = policy.name
    version: Any = policy.version
    width: Any = policy.width
    _require(isinstance(name, str) and name, "name is not a string")
    _require(isinstance(version, int) and version >= 1, "version is not a positive integer")
    _require(isinstance(width, int) and width >= 0, "width is not a count")
    _require(isinstance(policy.shared, bool), "shared is not a truth value")
    _require(isinstance(policy.encoder, Encoder), "encoder is not an Encoder")
    _require(isinstance(policy.decay, ForwardDecay), "decay is not a ForwardDecay")
    _require(0.0 <= policy.epsilon <= 1.0, f"epsilon is {policy.epsilon}, which is no share")


@_law
def refuses_unknown_parameters(policy: Policy) -> None:
    """A parameter that the algorithm does not have is refused."""
    algorithm: Callable[..., Policy] = type(policy)  # called as the registry does
    try:
        algorithm(PolicySpec(policy.name, policy.version, "any", {"no_such_parameter": 1.0}))
    except PolicyParameterError as error:
        _require("no_such_parameter" in str(error), "the message does not name the parameter")
    else:
        raise _Broken("no_such_parameter was taken")


@_law
def learns_finite_numbers(policy: Policy) -> None:
    """Learning gives `width` finite numbers, the same ones every time."""
    rng, none = np.random.default_rng(13), float("nan")
    for reward, prior in product((0.0, 0.25, 1.0), (0.0, 1e-6, 0.3, 1.0, none)):
        for estimate in (none, 0.0, 0.02, 1.0):
            seen = observation(policy, 7, reward, prior, estimate, made_up_facts(policy.encoder, rng))
            before = fingerprint(seen)
            learned = policy.learn(seen)
            _require(learned.shape == (policy.width,), f"learn gave shape {learned.shape}")
            _require(learned.dtype == np.float64, f"learn gave {learned.dtype}")
            _require(np.isfinite(learned).all(), f"learn gave {learned} for {seen}")
            _same(learned, policy.learn(seen), "learning from the same gave something else")
            _same(learned, deepcopy(policy).learn(seen), "a copy learns something else")
            _require(fingerprint(seen) == before, "learning modified the observation")


@_law
def features_are_pure(policy: Policy) -> None:
    """The same facts are encoded as the same `width` numbers between -4 and 4, bit for bit, whatever else is known."""
    encoder, rng = policy.encoder, np.random.default_rng(14)
    _require(len(encoder.columns) == encoder.width, f"{len(encoder.columns)} names, {encoder.width} columns")
    for _ in range(50):
        facts = made_up_facts(encoder, rng)
        before = fingerprint(facts)
        x = encoder.encode(facts, NOW_MS)
        _require(x.shape == (encoder.width,), f"encode gave shape {x.shape}")
        _require(x.dtype == np.float64, f"encode gave {x.dtype}")
        _require((np.abs(x) <= BOUND).all(), f"encode gave {x} for {facts}")
        for twin in (encoder, deepcopy(encoder)):
            _same(x, twin.encode(_with_others(facts), NOW_MS), "encoding the same facts gave something else")
        _require(fingerprint(facts) == before, "encoding modified the facts")


@_law
def facts_count_if_declared(policy: Policy) -> None:
    """Facts that no feature names have no influence on learning and choosing: they are not in the log."""
    w = world(policy, 12, seed=15)
    prepared = policy.prepare(w.sums)
    more = replace(w.candidates, facts=_with_others(w.candidates.facts))
    answers = _answers(policy, prepared, w.candidates)
    _require(_answers(policy, prepared, more) == answers, "choosing depends on other facts")
    for seen, _ in observations(policy, w.offers, 50, seed=16):
        other = replace(seen, facts=_with_others(seen.facts))
        _same(policy.learn(seen), policy.learn(other), "learning depends on other facts")


@_law
def folds_commute(policy: Policy) -> None:
    """Folds of the same outcomes give the same arms bit for bit, in any order and any split over buckets."""
    seen = observations(policy, np.arange(1, 9, dtype=np.uint32), 600, seed=3)
    expected = dict(table_of(policy, seen).fields())
    rng = np.random.default_rng(4)
    for buckets in (1, 2, 7, 64):
        order = rng.permutation(len(seen))
        parts = [[seen[i] for i in order[start::buckets]] for start in range(buckets)]
        table = ArmTable(policy.width)
        for part in parts:
            for field, delta in fold(policy, part).items():
                table.add(field, delta)
        _require(dict(table.fields()) == expected, f"{buckets} buckets in another order gave other arms")


@_law
def states_survive_storage(policy: Policy) -> None:
    """A stored state is read back bit for bit, and a state of another width is refused."""
    table = table_of(policy, observations(policy, np.arange(1, 9, dtype=np.uint32), 200, seed=5))
    again = ArmTable(policy.width)
    for field, blob in table.fields():
        _require(encode_state(decode_state(blob, policy.width)) == blob, f"field {field} changed")
        again.put(field, blob)
    _require(dict(again.fields()) == dict(table.fields()), "a table changed in storage")
    offers, tick = np.arange(12, dtype=np.uint32), policy.decay.tick(NOW_S)
    read = again.read(policy, offers, tick)
    _require(
        fingerprint(table.read(policy, offers, tick)) == fingerprint(read), "a stored table reads differently"
    )
    try:
        again.put("1:0", bytes(8 * (policy.width + 1)))
    except StateCodecError:
        return
    raise _Broken("a state of another width was taken")


@_law
def states_stay_small(policy: Policy) -> None:
    """An arm takes `width` numbers a period, however much it has seen, and the policy itself remembers nothing."""
    before = fingerprint(policy.__getstate__())
    seen = observations(policy, np.array([1, 2], dtype=np.uint32), 3000, seed=6)
    fields = dict(table_of(policy, seen).fields())
    periods = {(o.offer, policy.decay.period(at_s)) for o, at_s in seen}
    periods |= {(SHARED, period) for _, period in periods if policy.shared}
    _require(len(fields) == len(periods), f"{len(periods)} arms and periods take {len(fields)} fields")
    _require(all(len(blob) == 8 * policy.width for blob in fields.values()), "a field is not `width` numbers")
    _use(policy, world(policy, 5))
    _require(fingerprint(policy.__getstate__()) == before, "the policy changed while it was used")


@_law
def choosing_is_pure(policy: Policy) -> None:
    """The same arms and candidates give the same propensities and probabilities; nothing given is modified."""
    for w in (w for w in worlds(policy) if len(w.offers) <= 20):
        before = fingerprint(w)
        prepared = policy.prepare(w.sums)
        ready = fingerprint(prepared)
        for twin in (policy, deepcopy(policy)):
            again = fingerprint(twin.prepare(w.sums))
            _require(again == ready, "preparing again gave something else")
        first = _answers(policy, prepared, w.candidates)
        _use(policy, world(policy, 9, seed=8))
        _require(_answers(policy, prepared, w.candidates) == first, "choosing again gave something else")
        _require(fingerprint(prepared) == ready, "choosing modified what was prepared")
        _require(fingerprint(w) == before, "the inputs were modified")
        for available in masks(len(w.offers)):
            kept = available.copy()
            distribution = policy.selector(prepared, w.candidates)
            probabilities = distribution(available)
            _require((available == kept).all(), "the mask was modified")
            expected = probabilities.copy()
            probabilities[:] = -1.0
            _same(distribution(available), expected, "the result is not the caller's own")


@_law
def refreshing_equals_preparing(policy: Policy) -> None:
    """Refreshing the rows that changed gives what preparing all of them anew would, bit for bit."""
    old, new = world(policy, 40, seed=9, seen=100), world(policy, 40, seed=9, seen=400)
    rng = np.random.default_rng(10)
    for count in (1, 3, 40):
        rows = np.sort(rng.choice(40, count, replace=False)).astype(np.intp)
        own = old.sums.own.copy()
        own[rows] = new.sums.own[rows]
        changed = Sums(old.offers, np.full_like(own, np.nan), new.sums.shared)
        changed.own[rows] = own[rows]
        given = fingerprint(changed)
        refreshed = policy.refresh(policy.prepare(old.sums), changed, rows)
        prepared = policy.prepare(Sums(old.offers, own, new.sums.shared))
        _require(fingerprint(refreshed) == fingerprint(prepared), f"refreshing {count} rows differs")
        _require(
            _answers(policy, refreshed, old.candidates) == _answers(policy, prepared, old.candidates),
            f"after refreshing {count} rows it chooses differently",
        )
        _require(fingerprint(changed) == given, "refreshing modified its inputs")


@_law
def propensities_are_chances(policy: Policy) -> None:
    """Propensities are numbers in [0, 1], one a candidate."""
    for w in worlds(policy):
        propensities = policy.propensities(policy.prepare(w.sums), w.candidates)
        _require(propensities.shape == (len(w.offers),), f"{w.name}: shape {propensities.shape}")
        _require(propensities.dtype == np.float64, f"{w.name}: {propensities.dtype}")
        inside = (propensities >= 0.0) & (propensities <= 1.0)
        _require(inside.all(), f"{w.name}: {propensities[~inside][:1]}")


@_law
def distributions_are_exact(policy: Policy) -> None:
    """Probabilities sum to one over what is available, are zero elsewhere, and keep the floor `epsilon / n`."""
    for w in worlds(policy):
        distribution = policy.selector(policy.prepare(w.sums), w.candidates)
        for available in masks(len(w.offers)):
            probabilities = distribution(available)
            _require(probabilities.shape == available.shape, f"{w.name}: shape {probabilities.shape}")
            _require(probabilities.dtype == np.float64, f"{w.name}: {probabilities.dtype}")
            _require((probabilities >= 0.0).all(), f"{w.name}: a probability is below 0, or no number")
            elsewhere = probabilities[~available]
            _require((elsewhere == 0.0).all(), f"{w.name}: something unavailable may be chosen")
            total = float(probabilities.sum())
            _require(abs(total - 1.0) <= SUM_TOLERANCE, f"{w.name}: the sum is {total!r}")
            floor, least = policy.epsilon / np.count_nonzero(available), probabilities[available].min()
            _require(least >= floor * (1 - SUM_TOLERANCE), f"{w.name}: {least} is below the floor {floor}")


@_law
def masking_equals_leaving_out(policy: Policy) -> None:
    """A candidate that is masked has no influence: the others fare as if it had never been there, bit for bit."""
    for w in worlds(policy):
        prepared = policy.prepare(w.sums)
        distribution = policy.selector(prepared, w.candidates)
        propensities = policy.propensities(prepared, w.candidates)
        for available in masks(len(w.offers)):
            part = w.rows(available)
            alone = policy.prepare(part.sums)
            everything = np.ones(len(part.offers), dtype=bool)
            without = policy.selector(alone, part.candidates)(everything)
            _same(distribution(available)[available], without, f"{w.name}: probabilities differ")
            without = policy.propensities(alone, part.candidates)
            _same(propensities[available], without, f"{w.name}: propensities differ")


@_law
def order_is_immaterial(policy: Policy) -> None:
    """Candidates in another order have the same propensities and probabilities, bit for bit, unless scores tie."""
    for n in (2, 30, 200):
        w = world(policy, n, seed=11)
        order = np.random.default_rng(n).permutation(n)
        moved = w.rows(order)
        here, there = policy.prepare(w.sums), policy.prepare(moved.sums)
        a, b = policy.propensities(here, w.candidates), policy.propensities(there, moved.candidates)
        _same(a[order], b, f"{n} candidates: propensities differ")
        for available in masks(n):
            a = policy.selector(here, w.candidates)(available)
            b = policy.selector(there, moved.candidates)(available[order])
            _same(a[order], b, f"{n} candidates: probabilities differ")


@_law
def learning_stays_with_its_offer(policy: Policy) -> None:
    """The outcomes of one offer change the estimate of that offer alone, apart from what all offers share."""
    w = world(policy, 12, seed=12)
    other = world(policy, 12, seed=12, seen=300)
    own = w.sums.own.copy()
    own[4] = other.sums.own[4]
    before = policy.propensities(policy.prepare(w.sums), w.candidates)
    after = policy.propensities(policy.prepare(Sums(w.offers, own, w.sums.shared)), w.candidates)
    rest = np.arange(12) != 4
    _same(before[rest], after[rest], "other offers' propensities changed")
    _require(before[4] != after[4], "what was learned has no effect")


_LEARNERS_ONLY: frozenset[Check] = frozenset({learning_stays_with_its_offer})
_ANY_STATE: frozenset[Check] = frozenset(
    {
        is_described,
        refuses_unknown_parameters,
        features_are_pure,
        facts_count_if_declared,
        propensities_are_chances,
        distributions_are_exact,
        masking_equals_leaving_out,
        order_is_immaterial,
    }
)
"""The laws that do not speak of sums."""


def sequential_laws() -> Iterator[Check]:
    """The laws of policies that are taught in one order."""
    for body in SEQUENTIAL_LAWS:
        yield _stated(body)


def _with_others(facts: Facts) -> Facts:
    """The same facts in another order, among others that are nobody's feature."""
    return {"context.nobody_asked": 7.0, **dict(reversed(list(facts.items()))), "customer.nobody_asked": "x"}


def _answers(policy: Policy, prepared: Any, candidates: Candidates) -> Any:
    """Everything that a policy says about candidates, as a fingerprint."""
    distribution = policy.selector(prepared, candidates)
    chances = [distribution(available) for available in masks(len(candidates))]
    return fingerprint([policy.propensities(prepared, candidates), *chances])


def _use(policy: Policy, w: World) -> None:
    """Let the policy do all that it does."""
    prepared = policy.prepare(w.sums)
    prepared = policy.refresh(prepared, w.sums, np.arange(1, dtype=np.intp))
    _answers(policy, prepared, w.candidates)
    policy.learn(observation(policy, int(w.offers[0]), 1.0, 0.5, 0.5, w.candidates.facts))
