"""Small synthetic scenarios, and helpers that laws on them are stated with.

A scenario is arms that have learned from made-up outcomes, and a customer to choose for. States are always folds of
observations, never arbitrary numbers, so that they are possible ones for any policy.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np

from bandits.features import Encoder, Feature
from bandits.policy import BoolArray, Candidates, Facts, FloatArray, IntArray, Observation, Policy, Sums
from bandits.sequential_policy import ModelState, is_sequential, teach_model
from bandits.state import ArmTable, fold_observations
from bandits.sums import OfferGroups

NOW_S = 1_750_000_000.0
NOW_MS = 1_750_000_000_000
SUM_TOLERANCE = 1e-12
_DEFAULT_HALF_LIFE_S = 90 * 86_400.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """Arms and one customer: ``sums`` as ``prepare`` takes them, ``candidates`` of the same order."""

    name: str
    sums: Sums
    candidates: Candidates

    @property
    def offers(self) -> IntArray:
        """The offers' numbers."""
        return self.sums.offers

    def rows(self, rows: Any) -> "Scenario":
        """Return the same scenario with these rows only, in this order (an index array or a mask)."""
        c, s = self.candidates, self.sums
        by_group = None if s.by_group is None else replace(s.by_group, row=s.by_group.row[rows])
        evidence = None if s.evidence is None else s.evidence[rows]
        return Scenario(
            self.name,
            replace(s, offers=s.offers[rows], own=s.own[rows], evidence=evidence, by_group=by_group),
            replace(c, offers=c.offers[rows], base_propensity=c.base_propensity[rows], weight=c.weight[rows]),
        )


def make_facts(encoder: Encoder, rng: np.random.Generator) -> dict[str, Any]:
    """Make up the facts of a request under the paths that an encoder reads: expected, unexpected and missing ones."""
    facts = {}
    for path in sorted(encoder.paths):
        feature = next((each for each in encoder.features if each.path == path), Feature(path, "numeric"))
        kind = int(rng.integers(10))  # most are as declared, one in ten is missing, one is anything
        if kind > 1:
            facts[path] = _expected_value(feature, rng)
        elif kind:
            facts[path] = (None, "unexpected", -1e300, [], {"unexpected": 1.0})[int(rng.integers(5))]
    return facts


def _expected_value(feature: Feature, rng: np.random.Generator) -> Any:
    if feature.kind == "numeric":
        low, high = (feature.low or 0.0), (feature.high or 100.0)
        return float(low + (high - low) * rng.random())
    known = feature.values or feature.topics or tuple("abcdefgh")
    value = known[int(rng.integers(len(known)))]
    if feature.kind == "interests":
        return {value: float(rng.random()), known[0]: float(rng.random())}
    return value if rng.random() < 0.7 else [value, known[0]]


def make_groups(offers: IntArray) -> OfferGroups:
    """Put offers into three groups, and one in seven into none."""
    return OfferGroups.of({number: f"group {number % 3}" for number in offers.tolist() if number % 7})


def make_observations(
    policy: Policy, offers: IntArray, count: int, seed: int
) -> list[tuple[Observation, float]]:
    """Make up outcomes and their times (Unix seconds), with all kinds of rewards and propensities.

    Every third is of the caller's own choice. Their times reach back over several landmark periods of the decay.
    """
    rng = np.random.default_rng(seed)
    which = rng.choice(offers, count)
    reward = np.where(rng.random(count) < 0.1, rng.random(count), rng.random(count) < 0.2)
    base_propensity = rng.choice([np.nan, 0.0, 1.0, 0.01, 0.2], count)
    base_propensity = np.where(rng.random(count) < 0.7, rng.random(count), base_propensity).astype(np.float32)
    half_life_s = policy.decay.half_life_s or _DEFAULT_HALF_LIFE_S
    at_s = NOW_S - half_life_s * rng.choice([1.0, 20.0], count) * rng.random(count)
    estimate = np.where(rng.random(count) < 0.1, np.nan, rng.random(count))
    made = []
    for i, (o, r, q, e, t) in enumerate(zip(which, reward, base_propensity, estimate, at_s, strict=True)):
        facts = make_facts(policy.encoder, rng)
        seen = make_observation(policy, int(o), float(r), float(q), float(e), facts, by_caller=i % 3 == 0)
        made.append((seen, float(t)))
    return made


def make_observation(
    policy: Policy,
    offer: int,
    reward: float,
    base_propensity: float,
    estimate: float,
    facts: Facts,
    by_caller: bool = False,
) -> Observation:
    """Make an observation of a request with these facts."""
    x = policy.encoder.encode(facts, NOW_MS)
    return Observation(offer, reward, base_propensity, x, estimate, facts, by_caller)


def learned_arms(policy: Policy, seen: list[tuple[Observation, float]]) -> ArmTable:
    """Return the arms of a policy that has learned from ``seen``."""
    table = ArmTable(policy.width)
    for field, delta in fold_observations(policy, seen).items():
        table.add(field, delta)
    return table


def learned_state(policy: Policy, seen: list[tuple[Observation, float]]) -> ArmTable | ModelState:
    """Return the arms, or the sequential model, of a policy that has learned from ``seen`` in this order."""
    if not is_sequential(policy):
        return learned_arms(policy, seen)
    model = policy.fresh()
    teach_model(policy, model, seen)
    return ModelState(model)


def make_scenario(
    policy: Policy, n: int, *, seed: int = 0, name: str = "typical", seen: int | None = None
) -> Scenario:
    """Make ``n`` candidates with distinct scores; half of the arms are cold unless ``seen`` outcomes are asked for."""
    rng = np.random.default_rng([n, seed])
    # Numbers from 1 on: 0 is the shared arm.
    offers = np.sort(rng.choice(10 * n, n, replace=False).astype(np.uint32)) + np.uint32(1)
    warm = offers[: (n + 1) // 2] if seen is None else offers
    table = learned_state(policy, make_observations(policy, warm, 3 * n if seen is None else seen, seed))
    sums = table.read(policy, offers, policy.decay.tick(NOW_S), groups=make_groups(offers))
    base_propensity, weight = rng.random(n, dtype=np.float32), 0.1 + rng.random(n)
    facts = make_facts(policy.encoder, rng)
    candidates = Candidates(offers, base_propensity, weight, policy.encoder.encode(facts, NOW_MS), facts)
    return Scenario(name, sums, candidates)


def make_scenarios(policy: Policy) -> Iterator[Scenario]:
    """Yield typical scenarios of several sizes, and those at the borders of what is allowed."""
    for n in (1, 2, 7, 200, 2500):
        yield make_scenario(policy, n, name=f"{n} candidates")
    yield make_scenario(policy, 20, seen=5000, name="much evidence")
    yield make_scenario(policy, 20, seen=0, name="no evidence")
    base = make_scenario(policy, 20, seed=1)
    rng = np.random.default_rng(2)
    base_propensities = {
        "no priors": np.full(20, np.nan),
        "some priors": np.where(rng.random(20) < 0.5, np.nan, base.candidates.base_propensity),
        "priors 0 and 1": (np.arange(20) % 2).astype(np.float64),
    }
    for name, values in base_propensities.items():
        yield Scenario(name, base.sums, replace(base.candidates, base_propensity=values.astype(np.float32)))
    weights = {
        "all weights zero": np.zeros(20),
        "some weights zero": np.where(np.arange(20) % 3 == 0, base.candidates.weight, 0.0),
        "all weights zero but one": 1.0 * (np.arange(20) == 7),
        "unequal weights": 10.0 ** rng.uniform(-30, 30, 20),
    }
    for name, weight in weights.items():
        yield Scenario(name, base.sums, replace(base.candidates, weight=weight))


def availability_masks(n: int) -> Iterator[BoolArray]:
    """Yield masks of ``n`` candidates with at least one available: all, single ones, and random ones."""
    yield np.ones(n, dtype=bool)
    rng = np.random.default_rng(n)
    for row in {0, n // 2, n - 1}:
        yield np.arange(n) == row
    for share in (0.1, 0.5, 0.9):
        mask = rng.random(n) < share
        mask[rng.integers(n)] = True
        yield mask


def fingerprint(value: Any) -> Any:
    """Return a value that is equal for two arguments only if they are equal bit for bit, however they are nested."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if value is None or isinstance(value, str | bytes | bool | int | float | np.generic):
        return type(value).__name__, repr(value)
    if isinstance(value, Mapping):
        return "mapping", tuple((repr(key), fingerprint(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return type(value).__name__, tuple(fingerprint(item) for item in value)
    if isinstance(value, set | frozenset):
        return "set", tuple(sorted(repr(item) for item in value))
    if is_dataclass(value):
        return type(value).__name__, tuple(fingerprint(getattr(value, f.name)) for f in fields(value))
    return type(value).__name__, fingerprint(value.__getstate__())


class LawViolation(Exception):
    """A law is broken; the message says by what."""


def require(holds: Any, what: str) -> None:
    """Raise ``LawViolation`` unless it holds."""
    if not holds:
        raise LawViolation(what)


def require_equal(a: FloatArray, b: FloatArray, what: str) -> None:
    """Raise ``LawViolation`` unless both are equal bit for bit."""
    require(fingerprint(np.asarray(a)) == fingerprint(np.asarray(b)), what)


def with_other_facts(facts: Facts) -> Facts:
    """Return the same facts in another order, with facts added that no feature reads."""
    return {"context.nobody_asked": 7.0, **dict(reversed(list(facts.items()))), "customer.nobody_asked": "x"}


def all_answers(policy: Policy, prepared: Any, candidates: Candidates) -> Any:
    """Return a fingerprint of everything that a policy says about candidates."""
    distribution = policy.selector(prepared, candidates)
    chances = [distribution(available) for available in availability_masks(len(candidates))]
    return fingerprint([policy.propensities(prepared, candidates), *chances])


def exercise_policy(policy: Policy, w: Scenario) -> None:
    """Call every method of a policy once."""
    prepared = policy.prepare(w.sums)
    prepared = policy.refresh(prepared, w.sums, np.arange(1, dtype=np.intp))
    all_answers(policy, prepared, w.candidates)
    policy.learn(make_observation(policy, int(w.offers[0]), 1.0, 0.5, 0.5, w.candidates.facts))
