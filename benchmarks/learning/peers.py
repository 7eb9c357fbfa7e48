"""Other libraries in the arena. Each is used as its documentation says; what was chosen is in its docstring.

Features come to all of them as numbers. Precomputed propensities come as logits: as features of the offer where the
library knows such features (Vowpal Wabbit, gittins), as more features of the customer where it does not.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandits.policy import FloatArray
from benchmarks.learning.rounds import Choice, Round, Rounds

REFIT_EVERY = 50


def logits(base_propensity: NDArray[np.float32]) -> FloatArray:
    """The log odds of precomputed propensities, kept within 10."""
    p = np.clip(base_propensity.astype(np.float64), 4.5e-5, 1 - 4.5e-5)
    return np.asarray(np.log(p / (1.0 - p)))


def flat(now: Round) -> FloatArray:
    """The features, followed by the logits of all offers' precomputed propensities where there are any."""
    return now.x if now.base_propensity is None else np.concatenate([now.x, logits(now.base_propensity)])


class VowpalWabbit:
    """Vowpal Wabbit with action-dependent features: ``--cb_explore_adf``, a weight for each feature and offer (``-q``).

    A precomputed propensity is a feature of the offer twice: once with a weight of the offer's own, once with a
    shared one. Costs are negative rewards.
    """

    def __init__(self, rounds: Rounds, seed: int, options: str) -> None:
        import vowpalwabbit

        self._vw = vowpalwabbit.Workspace(
            f"--cb_explore_adf {options} -q sa --quiet --random_seed {seed + 1}"
        )
        self._rng = np.random.default_rng(seed)

    def choose(self, now: Round) -> Choice:
        """Sample from the distribution that it returns."""
        lines = self._lines(now)
        pmf = np.array(self._vw.predict(lines))
        at = int(self._rng.choice(len(pmf), p=pmf / pmf.sum()))
        return Choice(int(now.offers[at]), float(pmf[at]), (lines, at))

    def logged(self, now: Round, offer: int, probability: float) -> Choice:
        """It needs no more than the probability."""
        return Choice(offer, probability, (self._lines(now), int(np.searchsorted(now.offers, offer))))

    def learn(self, then: Round, choice: Choice, reward: float) -> None:
        """One labelled example."""
        lines, at = choice.memo
        lines[at + 1] = f"0:{-reward}:{choice.probability} {lines[at + 1]}"
        self._vw.learn(lines)

    @staticmethod
    def _lines(now: Round) -> list[str]:
        shared = "shared |s " + " ".join(
            f"{column}:{value:.5g}" for column, value in enumerate(now.x.tolist())
        )
        if now.base_propensity is None:
            return [shared, *(f"|a o{offer}" for offer in now.offers.tolist())]
        offers = zip(now.offers.tolist(), logits(now.base_propensity)[now.offers].tolist(), strict=True)
        return [shared, *(f"|a o{offer} |p own{offer}:{z:.5g} all:{z:.5g}" for offer, z in offers)]


class Mabwiser:
    """mabwiser, fed one observation after the other; its features get a constant, as it has no intercept."""

    def __init__(self, rounds: Rounds, seed: int, policy: Callable[[Any], Any]) -> None:
        from mabwiser.mab import MAB, LearningPolicy

        self._mab = MAB(np.flatnonzero(rounds.since == 0).tolist(), policy(LearningPolicy), seed=seed)
        self._fitted = False
        self._known = set(self._mab.arms)

    def choose(self, now: Round) -> Choice:
        """Its prediction; the first offer before it has learned anything, for then it has none."""
        x = np.concatenate([[1.0], flat(now)])
        for offer in set(now.offers.tolist()) - self._known:
            self._mab.add_arm(offer)
            self._known.add(offer)
        return Choice(int(self._mab.predict(x[None])) if self._fitted else int(now.offers[0]), 1.0, x)

    def logged(self, now: Round, offer: int, probability: float) -> Choice:
        """It learns from any choice."""
        return Choice(offer, probability, np.concatenate([[1.0], flat(now)]))

    def learn(self, then: Round, choice: Choice, reward: float) -> None:
        """One observation."""
        learn = self._mab.partial_fit if self._fitted else self._mab.fit
        learn([choice.offer], [reward], choice.memo[None])
        self._fitted = True


class ContextualBandits:
    """contextualbandits: its logistic methods cannot learn by the piece, so they are fitted to the whole past every
    50 rounds."""

    def __init__(self, rounds: Rounds, seed: int, method: Callable[[Any, int, int], Any]) -> None:
        from contextualbandits import online

        self._offers = int(np.count_nonzero(rounds.since == 0))
        self._model = method(online, self._offers, seed + 1)
        self._fitted = False
        self._rng = np.random.default_rng(seed)
        self._past: list[tuple[FloatArray, int, float]] = []

    def choose(self, now: Round) -> Choice:
        """Its prediction; at random before it has learned anything, for then it has none."""
        x = flat(now)
        while self._offers < len(now.offers):
            self._model.add_arm()
            self._offers += 1
        if not self._fitted:
            return Choice(int(self._rng.choice(now.offers)), 1.0, x)
        return Choice(int(self._model.predict(x[None])[0]), 1.0, x)

    def logged(self, now: Round, offer: int, probability: float) -> Choice:
        """It learns from any choice."""
        return Choice(offer, probability, flat(now))

    def learn(self, then: Round, choice: Choice, reward: float) -> None:
        """Every 50th time, fit to all of them."""
        self._past.append((choice.memo, choice.offer, reward))
        if len(self._past) % REFIT_EVERY == 0:
            xs, offers, rewards = zip(*self._past, strict=True)
            self._model.fit(np.array(xs), np.array(offers), np.array(rewards))
            self._fitted = True


class RiverLinUcb:
    """river's disjoint LinUCB; its features get a constant, as it has no intercept."""

    def __init__(self, rounds: Rounds, seed: int, alpha: float) -> None:
        from river.bandit import LinUCBDisjoint

        self._policy: Any = LinUCBDisjoint(alpha=alpha, seed=seed)

    def choose(self, now: Round) -> Choice:
        """Pull."""
        context = self._context(now)
        return Choice(int(self._policy.pull(now.offers.tolist(), context=context)), 1.0, context)

    def logged(self, now: Round, offer: int, probability: float) -> Choice:
        """It learns from any choice."""
        return Choice(offer, probability, self._context(now))

    def learn(self, then: Round, choice: Choice, reward: float) -> None:
        """Update."""
        self._policy.update(choice.offer, choice.memo, reward)

    @staticmethod
    def _context(now: Round) -> dict[int, float]:
        return {-1: 1.0, **dict(enumerate(flat(now).tolist()))}


class RiverLogistic:
    """river: a pipeline of scaling and logistic regression for each offer, chosen greedily but for one in twenty."""

    EPSILON = 0.05

    def __init__(self, rounds: Rounds, seed: int) -> None:
        from river import linear_model, optim, preprocessing

        self._models = [
            preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.05))
            for _ in range(rounds.offers)
        ]
        self._rng = np.random.default_rng(seed)

    def choose(self, now: Round) -> Choice:
        """The best estimate, mostly."""
        context = dict(enumerate(flat(now).tolist()))
        if self._rng.random() < self.EPSILON:
            return Choice(int(self._rng.choice(now.offers)), 1.0, context)
        estimates = [
            self._models[offer].predict_proba_one(context).get(True, 0.0) for offer in now.offers.tolist()
        ]
        return Choice(int(now.offers[int(np.argmax(estimates))]), 1.0, context)

    def logged(self, now: Round, offer: int, probability: float) -> Choice:
        """It learns from any choice."""
        return Choice(offer, probability, dict(enumerate(flat(now).tolist())))

    def learn(self, then: Round, choice: Choice, reward: float) -> None:
        """One observation."""
        self._models[choice.offer].learn_one(choice.memo, bool(reward))


class Gittins:
    """gittins, the engine of that name: its defaults, with a model of 2 ** 18 weights, a round a minute."""

    def __init__(self, rounds: Rounds, seed: int) -> None:
        import gittins

        self._gittins = gittins
        self._state = gittins.create(bits=18, horizon=1e9)
        self._salt = f"seed {seed}"

    def choose(self, now: Round) -> Choice:
        """Decide."""
        return self._decide(now, None)

    def logged(self, now: Round, offer: int, probability: float) -> Choice:
        """It learns from decisions of its own only, so it is told what to decide."""
        chosen = (now.offers == offer).astype(float).tolist()
        return self._decide(now, lambda *_: chosen)

    def learn(self, then: Round, choice: Choice, reward: float) -> None:
        """Resolve the decision."""
        self._gittins.learn(self._state, choice.memo, reward, then.number * 60.0)

    def _decide(self, now: Round, explore: Callable[..., list[float]] | None) -> Choice:
        context = {f"x{column}": value for column, value in enumerate(now.x.tolist())}
        z = None if now.base_propensity is None else logits(now.base_propensity).tolist()
        candidates = [(f"o{n}", {} if z is None else {"logit": z[n]}) for n in now.offers.tolist()]
        record = self._gittins.decide(
            self._state, context, candidates, now.number * 60.0, self._salt, None, explore
        )
        return Choice(int(now.offers[record.chosen]), float(record.propensity), record.decision_id)
