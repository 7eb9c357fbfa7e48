"""Our policies in the arena, with the product's own code: what it logs, folds, refreshes and draws."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandits.policy import NO_FEATURES, Candidates, Observation, PolicySpec, Sums
from bandits.registry import build_policy
from bandits.sampling import draw_slots
from bandits.state import ArmTable, arm_contributions
from bandits.sums import OfferGroups
from benchmarks.learning.rounds import Choice, Round, Rounds

START_S = 1_750_000_000
ROUND_S = 60
"""A round is a minute of simulated time: half-lives are in days, and 5,000 rounds are three and a half of them."""


class Ours:
    """One policy, its arms in memory, and its decisions one after the other.

    Estimating and drawing are the decision; the fold and the refresh of what it changed are the update, as they are
    in the service, where outcomes are folded at once. Facts are encoded beforehand: all libraries take numbers.
    """

    def __init__(self, rounds: Rounds, seed: int, spec: PolicySpec) -> None:
        self._policy = build_policy(spec)
        self._seed = seed
        self._shows = False
        self._numbers = np.arange(1, rounds.offers + 1, dtype=np.uint32)
        self._since = rounds.since
        self._cold = np.full(rounds.offers, np.nan, dtype=np.float32)
        self._weight = np.ones(rounds.offers)
        encoder = self._policy.encoder
        self._x = [NO_FEATURES] * len(rounds)
        if encoder.width:
            self._x = [
                encoder.encode(facts, 1000 * (START_S + ROUND_S * number))
                for number, facts in enumerate(rounds.facts[: len(rounds)])
            ]
        self._table = ArmTable(self._policy.width)
        self._tick = self._policy.decay.tick(START_S)
        self._groups = None
        if rounds.groups is not None:
            names = map(str, rounds.groups.tolist())
            self._groups = OfferGroups.of(dict(zip(self._numbers.tolist(), names, strict=True)))
        self._prepared = self._policy.prepare(self._sums())

    def choose(self, now: Round) -> Choice:
        """Draw one slot, as a decision does."""
        candidates = self._candidates(now)
        available = np.zeros(len(self._numbers), dtype=bool)
        available[now.offers] = True
        selector = self._policy.selector(self._prepared, candidates)
        (offer, probability), *_ = draw_slots(selector, available, 1, f"{self._seed}/{now.number}")
        return Choice(offer, probability, self._memo(candidates, offer))

    def logged(self, now: Round, offer: int, probability: float) -> Choice:
        """Keep what a policy in the shadow needs of a decision."""
        return Choice(offer, probability, self._memo(self._candidates(now), offer))

    def show(self, now: Round, choice: Choice) -> None:
        """Learn that nothing has come of it yet."""
        self._shows = True
        self._fold(now, choice, 0.0)

    def learn(self, then: Round, choice: Choice, reward: float) -> None:
        """Fold the outcome into the arms, in the place of silence if that was learned; make ready what has changed."""
        if self._shows and reward:
            self._fold(then, choice, 0.0, -1.0)
        if reward or not self._shows:
            self._fold(then, choice, reward)

    def _fold(self, then: Round, choice: Choice, reward: float, sign: float = 1.0) -> None:
        base_propensity, estimate, x = choice.memo
        observation = Observation(
            offer=choice.offer + 1,
            reward=reward,
            base_propensity=base_propensity,
            x=x,
            estimate=estimate,
            facts=then.facts,
        )
        at_s = float(START_S + ROUND_S * then.number)
        fields, delta = arm_contributions(self._policy, observation, at_s)
        for field in fields:
            self._table.add(field, sign * delta)
        rows = np.array([choice.offer])
        tick = max(self._policy.decay.tick(at_s), self._tick)  # an outcome may be of an earlier round
        if tick == self._tick:
            self._prepared = self._policy.refresh(self._prepared, self._sums(rows), rows)
        else:
            self._tick = tick
            self._prepared = self._policy.prepare(self._sums())

    def _sums(self, rows: NDArray[np.intp] | None = None) -> Sums:
        return self._table.read(self._policy, self._numbers, self._tick, rows, self._groups)

    def _candidates(self, now: Round) -> Candidates:
        base_propensity = self._cold if now.base_propensity is None else now.base_propensity
        return Candidates(self._numbers, base_propensity, self._weight, self._x[now.number], now.facts)

    def _memo(self, candidates: Candidates, offer: int) -> tuple[float, float, Any]:
        estimate = self._policy.propensities(self._prepared, candidates)[offer]
        return float(candidates.base_propensity[offer]), float(estimate), candidates.x
