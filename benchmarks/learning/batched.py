"""``python -m benchmarks.learning.batched``: what features are worth to ``calibrated``, over many seeds at once.

Differences between ways of using features are small against what one seed differs from the next, and the product's
own code plays a few hundred rounds a second. So here the same rules are computed by LAPACK, for all seeds beside each
other: twenty times as fast, but not to the last bit, and only what these comparisons need (no late outcomes, no decay).
All variants meet the same customers, luck and draws.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bandits.algorithms.calibrated import CalibratedPolicy
from bandits.algorithms.pooled_evidence import MAX_PART
from bandits.algorithms.weighed_features import LEAD, MAX_POOLED
from bandits.features import Feature
from bandits.policy import FloatArray, PolicySpec
from bandits.regression.design import LOGIT_SCALE, MAX_RESPONSE_SHIFT, logit, sigmoid
from bandits.regression.regression_policy import DEFAULT_EXPLORATION
from benchmarks.learning.entrants import chosen_features
from benchmarks.learning.measure import streams
from benchmarks.learning.ours import ROUND_S, START_S
from benchmarks.learning.rounds import Rounds
from benchmarks.learning.worlds import GROUPED
from decisioning.rollout.defaults import DEFAULT_PARAMETERS

VARIANTS = ("no features", "declared", "chosen, not weighed", "chosen, weighed alone", "as installed")
RESCALED_EVERY, ALWAYS_RESCALED = 8, 64
"""Scales of columns are computed anew in every round at first, then in every eighth."""
MAX_LOG_ODDS = 8.0
EVIDENCE_PRECISION: float = DEFAULT_PARAMETERS["evidence_precision"]


class Games:
    """Seeds of one stream and one variant, with arrays along seeds first: ``S`` seeds, ``T`` rounds, ``n`` offers."""

    def __init__(
        self, made: Sequence[Rounds], seeds: Sequence[int], variant: str, *, group: bool = True
    ) -> None:
        self.groups = made[0].groups if group else None
        self.rounds = min(map(len, made))
        self.weighed, self.pooled = variant in VARIANTS[3:], variant == VARIANTS[4]
        self.policies = [
            _policy(variant, rounds, seed, self.groups is not None)
            for rounds, seed in zip(made, seeds, strict=True)
        ]
        self.width = max(policy.design.width for policy in self.policies)
        self.x = np.zeros((len(seeds), self.rounds, self.width))
        for row, (policy, rounds) in enumerate(zip(self.policies, made, strict=True)):
            if policy.encoder.width:
                for t in range(self.rounds):
                    now_ms = 1000 * (START_S + ROUND_S * t)
                    self.x[row, t, 1 : policy.design.common] = policy.encoder.encode(rounds.facts[t], now_ms)
        self.x[:, :, 0] = 1.0
        self.expected = np.array([rounds.expected[: self.rounds] for rounds in made])
        self.rewards = np.array([rounds.rewards[: self.rounds] for rounds in made])
        self.since = np.array([rounds.since for rounds in made])
        shape = self.expected.shape
        known = [rounds.base_propensity for rounds in made]
        q = np.array([np.full(shape[1:], np.nan) if each is None else each[: self.rounds] for each in known])
        self.none = np.isnan(q).astype(np.float64)
        self.logits = np.where(np.isnan(q), 0.0, logit(np.where(np.isnan(q), 0.5, q)) / LOGIT_SCALE)
        self.luck = np.array([np.random.default_rng([777, seed]).random((self.rounds, 3)) for seed in seeds])
        self.draws = np.array(
            [np.random.default_rng([778, seed]).normal(size=(shape[2], 128)) for seed in seeds]
        )

    def places(self, row: int) -> NDArray[np.intp]:
        """Return where the columns of one seed's policy are: those of the propensity come last in all."""
        return np.concatenate(
            (np.arange(self.policies[row].design.common), np.arange(self.width - 2, self.width))
        )


def _policy(variant: str, rounds: Rounds, seed: int, group: bool) -> CalibratedPolicy:
    features: tuple[Feature, ...] = ()
    if variant == "declared":
        features = rounds.features
    elif variant != "no features":
        features = chosen_features(rounds, seed)
    # What else new versions of the default have is part of the variant.
    parameters = {"group_shrinkage": DEFAULT_PARAMETERS["group_shrinkage"]} if group else {}
    return CalibratedPolicy(PolicySpec("batched", 1, "calibrated", parameters, features))


class Model:
    """The posteriors of all offers of all seeds, on some of the columns."""

    def __init__(
        self, games: Games, columns: NDArray[np.intp], offers: int, slope_factor: float = 1.0
    ) -> None:
        """``slope_factor``: the multiple of the precision that slopes of features have."""
        self.columns = columns
        self._groups, self._firmness = games.groups, games.policies[0].regression.prior.group
        seeds, width = len(games.policies), games.width
        mean = np.zeros((seeds, width))
        precision, deviation = (np.full((seeds, width), 1e6) for _ in range(2))
        for row, policy in enumerate(games.policies):
            prior, places = policy.regression.prior, games.places(row)
            mean[row, places], precision[row, places] = prior.mean, prior.precision
            deviation[row, places] = prior.deviation
        for tau in (precision, deviation):
            tau[:, 1:-2] *= slope_factor
        self.prior_mean = mean[:, columns]
        self._precision, self._deviation = precision[:, columns], deviation[:, columns]
        self.shared = np.array([np.diag(each) for each in self._precision])
        self.own = np.array([np.diag(each) for each in self._deviation])
        self.inverse = np.repeat(np.linalg.inv(self.own)[:, None], offers, axis=1)
        self.log_determinant = np.repeat(np.linalg.slogdet(self.own)[1][:, None], offers, axis=1)

    def rescale(self, row: int, unscaling: FloatArray) -> None:
        """Put one seed's columns on another scale."""
        part = unscaling[np.ix_(self.columns, self.columns)]
        self.shared[row] = part * self._precision[row] @ part.T
        self.own[row] = part * self._deviation[row] @ part.T

    def fit(self, rows: NDArray[np.intp], offers: NDArray[np.intp], a: FloatArray) -> None:
        """Fit offers anew to their sums."""
        matrices = a[rows, offers][:, self.columns[:, None], self.columns] + self.own[rows]
        self.inverse[rows, offers] = np.linalg.inv(matrices)
        self.log_determinant[rows, offers] = np.linalg.slogdet(matrices)[1]

    def centre(
        self,
        a: FloatArray,
        b: FloatArray,
        own_b: FloatArray,
        of_groups: tuple[FloatArray, FloatArray] | None = None,
    ) -> None:
        """Compute what offers have in common from the shared sums, and their means around it.

        With the sums of groups, ``(S, g, D, D)`` and ``(S, g, D)``, they are around what offers' groups are like.
        """
        matrices = a[:, self.columns[:, None], self.columns] + self.shared
        pulled = b[:, self.columns] + np.einsum("sij,sj->si", self.shared, self.prior_mean)
        centre = np.linalg.solve(matrices, pulled[..., None])[..., 0]
        self._centre = centre[:, None]  # for all offers, or below for each
        if of_groups is not None and self._groups is not None:
            held = self._firmness * self.own
            matrices = of_groups[0][:, :, self.columns[:, None], self.columns] + held[:, None]
            pulled = of_groups[1][:, :, self.columns] + np.einsum("sij,sj->si", held, centre)[:, None]
            self._centre = np.linalg.solve(matrices, pulled[..., None])[..., 0][:, self._groups]
        self._pull = np.einsum("sij,snj->sni", self.own, self._centre)
        self._response = own_b[:, :, self.columns] + self._pull
        self._mean = (self.inverse @ self._response[..., None])[..., 0]

    def predict(self, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return means and deviations of log odds: shape ``(S, n)`` each."""
        z = z[:, :, self.columns]
        variance = ((self.inverse @ z[..., None])[..., 0] * z).sum(axis=-1)
        return (z * self._mean).sum(axis=-1), np.sqrt(np.maximum(variance, 0.0))

    def evidence(self) -> FloatArray:
        """Return the log evidence of offers' sums around the shared centre: shape ``(S, n)``."""
        constant = np.linalg.slogdet(self.own)[1][:, None] - (self._centre * self._pull).sum(axis=-1)
        found: FloatArray = 0.5 * (
            constant - self.log_determinant + (self._response * self._mean).sum(axis=-1)
        )
        return found

    def evidence_alone(self, row: NDArray[np.intp], offer: NDArray[np.intp], b: FloatArray) -> FloatArray:
        """Return the log evidence of some offers' sums around the prior's mean."""
        pull = np.einsum("sij,sj->si", self.own[row], self.prior_mean[row])
        response = b[row, offer][:, self.columns] + pull
        explained = np.einsum("si,sij,sj->s", response, self.inverse[row, offer], response)
        constant = np.linalg.slogdet(self.own[row])[1] - (self.prior_mean[row] * pull).sum(axis=-1)
        found: FloatArray = 0.5 * (constant - self.log_determinant[row, offer] + explained)
        return found


class Learners:
    """The sums and models of the policies of all seeds, and what follows from both."""

    def __init__(self, games: Games) -> None:
        self._games = games
        seeds, _, offers = games.expected.shape
        width = games.width
        self.offers = offers
        self.a, self.b = np.zeros((seeds, offers, width, width)), np.zeros((seeds, offers, width))
        self.shared_a, self.shared_b = np.zeros((seeds, width, width)), np.zeros((seeds, width))
        count = 0 if games.groups is None else 1 + int(games.groups.max())
        self.group_a, self.group_b = np.zeros((seeds, count, width, width)), np.zeros((seeds, count, width))
        every, self.rows = np.arange(width), np.arange(seeds)
        self._full = Model(games, every, offers)
        self._plain = Model(games, every[[0, -2, -1]], offers) if games.weighed else None
        self._narrow = Model(games, every, offers, EVIDENCE_PRECISION) if games.pooled else None
        self._models = [m for m in (self._full, self._plain, self._narrow) if m is not None]
        self.parts = np.zeros((seeds, offers))
        self._exploration = np.array([policy.exploration for policy in games.policies])[:, None]
        nothing = [np.zeros(policy.design.width) for policy in games.policies]
        self._scales = [
            policy.design.scale(zero, zero) for policy, zero in zip(games.policies, nothing, strict=True)
        ]

    def expect(self, t: int) -> tuple[FloatArray, FloatArray]:
        """Return log odds of all offers for the customers of a round, and the deviations of draws: ``(S, n)`` each."""
        games, full, plain = self._games, self._full, self._plain
        for model in (full, plain):
            if model is not None:
                model.centre(self.shared_a, self.shared_b, self.b, (self.group_a, self.group_b))
        self._z = np.repeat(games.x[:, t, None], self.offers, axis=1)
        self._z[:, :, -2], self._z[:, :, -1] = games.logits[:, t], games.none[:, t]
        self._mean, deviation = full.predict(self._z)
        spread = self._exploration * deviation
        if plain is not None:
            if games.pooled:
                pooled = np.clip(self.parts.sum(axis=1, keepdims=True), -MAX_POOLED, MAX_POOLED)
                pays = self.parts + LEAD + pooled >= 0.0
            else:
                pays = full.evidence() - plain.evidence() + LEAD >= 0.0
            plain_mean, plain_deviation = plain.predict(self._z)
            self._mean = np.where(pays, self._mean, plain_mean)
            spread = np.where(pays, spread, DEFAULT_EXPLORATION * plain_deviation)
        return self._mean, spread

    def learn(self, t: int, chosen: NDArray[np.intp], rewards: FloatArray) -> None:
        """Learn what came of the offers that were chosen in the round that ``expect`` was asked for."""
        rows = self.rows
        s, seen = np.clip(self._mean[rows, chosen], -MAX_LOG_ODDS, MAX_LOG_ODDS), self._z[rows, chosen]
        p = sigmoid(s)
        gradient = rewards - p
        weight = np.maximum(p * (1.0 - p), np.abs(gradient) / MAX_RESPONSE_SHIFT)
        more_a = weight[:, None, None] * seen[:, :, None] * seen[:, None, :]
        more_b = (weight * s + gradient)[:, None] * seen
        self.a[rows, chosen] += more_a
        self.b[rows, chosen] += more_b
        self.shared_a += more_a
        self.shared_b += more_b
        if self._games.groups is not None:
            self.group_a[rows, self._games.groups[chosen]] += more_a
            self.group_b[rows, self._games.groups[chosen]] += more_b
        if t < ALWAYS_RESCALED or t % RESCALED_EVERY == 0:
            for row in rows.tolist():
                self._rescale(row, always=t == 0)
        for model in self._models:
            model.fit(rows, chosen, self.a)
        if self._plain is not None and self._narrow is not None:
            lead = self._narrow.evidence_alone(rows, chosen, self.b)
            lead -= self._plain.evidence_alone(rows, chosen, self.b)
            self.parts[rows, chosen] = np.clip(lead, -MAX_PART, MAX_PART)

    def fade(self, rows: NDArray[np.intp], factor: float) -> None:
        """Let what some seeds' policies have learned weigh less; 0: nothing."""
        for sums in (self.a, self.b, self.shared_a, self.shared_b, self.group_a, self.group_b):
            sums[rows] *= factor
        if not factor:
            self.parts[rows] = 0.0
        self._refit(rows)

    def copy(self, source: int, rows: NDArray[np.intp]) -> None:
        """Let some policies have learned what another one has."""
        learned = (self.a, self.b, self.shared_a, self.shared_b, self.group_a, self.group_b, self.parts)
        for sums in learned:
            sums[rows] = sums[source]
        self._refit(rows)

    def _refit(self, rows: NDArray[np.intp]) -> None:
        for row in rows.tolist():
            if not self._rescale(row):
                for model in self._models:
                    model.fit(np.full(self.offers, row), np.arange(self.offers), self.a)

    def _rescale(self, row: int, *, always: bool = False) -> bool:
        """Put columns on the scale of what was seen; returns whether that is another one, and all is fitted anew."""
        policy, places = self._games.policies[row], self._games.places(row)
        moments = self.shared_a[row]
        scale = policy.design.scale(moments[0, places], moments.diagonal()[places])
        if scale.is_same(self._scales[row]) and not always:
            return False
        self._scales[row] = scale
        unscaling = np.eye(self._games.width)
        unscaling[np.ix_(places, places)] = policy.design.unscaling(scale)
        for model in self._models:
            model.rescale(row, unscaling)
            model.fit(np.full(self.offers, row), np.arange(self.offers), self.a)
        return True


def choose(games: Games, t: int, mean: FloatArray, spread: FloatArray) -> NDArray[np.intp]:
    """Draw an offer of a round for each seed."""
    rows = np.arange(len(mean))
    which = (games.luck[:, t, 0] * games.draws.shape[2]).astype(np.intp)
    drawn = mean + spread * games.draws[rows, :, which]
    available = games.since <= t
    chosen: NDArray[np.intp] = np.where(available, drawn, -np.inf).argmax(axis=1)
    for row in np.flatnonzero(games.luck[:, t, 1] < games.policies[0].epsilon).tolist():
        chosen[row] = np.flatnonzero(available[row])[int(games.luck[row, t, 2] * available[row].sum())]
    return chosen


def play(games: Games) -> FloatArray:
    """Return the mean reward of each seed."""
    seeds, rounds, _ = games.expected.shape
    learners, rows = Learners(games), np.arange(seeds)
    reward = np.zeros(seeds)
    for t in range(rounds):
        chosen = choose(games, t, *learners.expect(t))
        reward += games.expected[rows, t, chosen] / rounds
        learners.learn(t, chosen, games.rewards[rows, t, chosen])
    return reward


def mean_and_half_width(values: FloatArray) -> tuple[float, float]:
    """Return the mean over seeds, and half of its 95 % interval (Student's t)."""
    error = values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(stats.t.ppf(0.975, len(values) - 1) * error)


def compare_groups(name: str, made: Sequence[Rounds], seeds: Sequence[int], variants: Sequence[str]) -> None:
    """Play variants with groups and without, and print both, as the share of the way from random to the oracle."""
    random = np.array([rounds.expected.mean() for rounds in made])
    oracle = np.array([rounds.expected.max(axis=1).mean() for rounds in made])
    print(f"{name}, seeds {seeds[0]} to {seeds[-1]}: random {random.mean():.5f}, oracle {oracle.mean():.5f}")
    for variant in variants:
        rewards = [play(Games(made, seeds, variant, group=group)) for group in (False, True)]
        alone, together = (100.0 * (each - random) / (oracle - random) for each in rewards)
        figures = [
            "{:.1f} ± {:.1f} %".format(*mean_and_half_width(each))
            for each in (alone, together, together - alone)
        ]
        print(
            f"  {variant:22} {rewards[0].mean():.5f} and by group {rewards[1].mean():.5f};"
            f" of the way: {figures[0]} and {figures[1]}, more by group: {figures[2]}",
            flush=True,
        )


def main() -> None:
    """Play the streams that are asked for, and print a line for each variant."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning.batched")
    parser.add_argument("--stream", action="append", required=True, help="the name of a stream")
    parser.add_argument("--first", type=int, default=200, help="the first seed")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--data", type=Path, help="the folder of the real data sets")
    parser.add_argument("--variant", action="append", default=[], help="only this one, beside no features")
    parser.add_argument("--groups-of", type=int, help="put offers into groups of so many, that tell nothing")
    options = parser.parse_args()
    known = {stream.name: stream for stream in (*streams(options.data), *GROUPED)}
    for name in options.stream:
        if name not in known:
            sys.exit(f"no such stream; there are: {', '.join(known)}")
        seeds = range(options.first, options.first + options.seeds)
        made = [known[name].make(seed) for seed in seeds]
        if options.groups_of:
            made = [replace(each, groups=np.arange(each.offers) // options.groups_of) for each in made]
        if made[0].groups is not None:
            compare_groups(name, made, seeds, options.variant or ("no features", "declared", "as installed"))
            continue
        best = np.array([rounds.expected.mean(axis=0).max() for rounds in made])
        print(f"{name}, seeds {seeds[0]} to {seeds[-1]}; the best constant offer: {best.mean():.4f}")
        without = play(Games(made, seeds, VARIANTS[0]))
        print("  {:22} {:.4f} ± {:.4f}".format(VARIANTS[0], *mean_and_half_width(without)), flush=True)
        for variant in options.variant or VARIANTS[1:]:
            found = play(Games(made, seeds, variant))
            (mean, half), (more, width) = mean_and_half_width(found), mean_and_half_width(found - without)
            print(
                f"  {variant:22} {mean:.4f} ± {half:.4f}; more than without: {more:+.4f} ± {width:.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
