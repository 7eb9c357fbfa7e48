"""Regression policies written out plainly: one observation after the other, explicit design matrices, dense solves.

Nothing here is additive, vectorised or shared with the product: columns are scaled row by row before they are
used, weights of age multiply rows, and posteriors are solved from the whole design matrix.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bandits.algorithms.calibrated import MISSING_PRECISION
from bandits.features import Encoder, Feature
from bandits.policy import FloatArray, Observation

Row = list[float]


class Columns(Encoder):
    """An encoder of so many columns, whatever they are made of."""

    def __init__(
        self,
        width: int,
        *,
        scaled: Sequence[tuple[int, int | None]] = (),
        propensity: bool = False,
        features: int | None = None,
    ) -> None:
        super().__init__()
        self.width = width
        self.scaled = tuple(scaled)
        self.propensity = propensity
        self.features = tuple(
            Feature(f"f{i}", "numeric", f"f{i}") for i in range(width if features is None else features)
        )
        if propensity:
            self.features += (Feature("propensity", "propensity"),)


@dataclass
class Seen:
    """One outcome: how often it counts by its age, and what was observed."""

    age_weight: float
    observation: Observation


def plain_logit(p: float) -> float:
    p = min(max(p, 1e-6), 1 - 1e-6)
    return math.log(p / (1 - p))


def plain_sigmoid(s: float) -> float:
    return 1 / (1 + math.exp(-s))


class PlainRegression:
    """Posterior means and variances of offers' linear predictors, from all outcomes at once."""

    def __init__(
        self,
        encoder: Encoder,
        link: str,
        *,
        share: str,
        ridge: float,
        shrinkage: float,
        default: float,
        intercept_precision: float,
        trust: float | None = None,
        groups: Mapping[int, str] | None = None,
        group_shrinkage: float = 1.0,
    ) -> None:
        self.groups, self.group_shrinkage = groups or {}, group_shrinkage
        self.encoder, self.link, self.share, self.default = encoder, link, share, default
        features = max(1, sum(feature.kind != "propensity" for feature in encoder.features))
        self.wide = 1 + encoder.width + (2 if encoder.propensity else 0)
        self.prior = [intercept_precision] + [ridge * features] * (self.wide - 1)
        self.own = [intercept_precision] + [shrinkage * features] * (self.wide - 1)
        if share == "none":
            self.own = self.prior
        if share == "all":
            self.own = [intercept_precision] + [1e6] * (self.wide - 1)
        self.start = [0.0] * self.wide
        self.start[0] = default if link == "linear" else plain_logit(default)
        if trust is not None:
            self.start = [0.0] * self.wide
            self.start[-2:] = [4.0, plain_logit(default)]
            self.prior[-2:] = [trust, MISSING_PRECISION]
            if share != "all":
                self.own[-2:] = self.prior[-2:]

    def row(self, x: FloatArray, base_propensity: float) -> Row:
        extra: Row = []
        if self.encoder.propensity:
            extra = [0.0, 1.0] if math.isnan(base_propensity) else [plain_logit(base_propensity) / 4, 0.0]
        return [1.0, *x.tolist(), *extra]

    def example(self, seen: Seen) -> tuple[float, float, Row]:
        """Weight, response and columns of an outcome."""
        o = seen.observation
        if self.link == "linear":
            return seen.age_weight, o.reward, self.row(o.x, o.base_propensity)
        expected = next((p for p in (o.estimate, o.base_propensity) if 0 < p < 1), self.default)
        s0 = max(-8.0, min(8.0, plain_logit(expected)))
        p = plain_sigmoid(s0)
        curvature = max(p * (1 - p), abs(o.reward - p) / 6)
        return seen.age_weight * curvature, s0 + (o.reward - p) / curvature, self.row(o.x, o.base_propensity)

    def scale(self, examples: list[tuple[float, float, Row]]) -> Callable[[Row], Row]:
        """The function that puts numeric columns on one scale."""
        pairs = [(1 + i, None if k is None else 1 + k) for i, k in self.encoder.scaled]
        if self.encoder.propensity:
            pairs.append((self.wide - 2, self.wide - 1))
        found = []
        for i, k in pairs:
            present = [(w, z[i]) for w, _, z in examples if k is None or z[k] == 0]
            total = sum(w for w, _ in present)
            mean = sum(w * v for w, v in present) / max(total, 1.0)
            variance = max(sum(w * v * v for w, v in present) / max(total, 1.0) - mean**2, 0.0)
            variance = max((total * variance + 1 / 8**2) / (total + 1), 1 / 256**2)
            deviation = 2 ** (round(math.log2(math.sqrt(variance)) + 1.2) - 1.2)
            step = deviation if k is None else deviation / 4
            found.append((i, k, round(mean / step) * step, deviation))

        def scaled(z: Row) -> Row:
            z = list(z)
            for i, k, mean, deviation in found:
                missing = k is not None and z[k] == 1
                z[i] = 0.0 if missing else (z[i] - mean) / deviation
            return z

        return scaled

    def solve(
        self,
        examples: list[tuple[float, float, Row]],
        scaled: Callable[[Row], Row],
        centre: FloatArray,
        precision: Row,
        count: float,
    ) -> tuple[FloatArray, FloatArray]:
        """The least squares solution with pseudo-observations for the prior, and its covariance."""
        zero, *units = [scaled([1.0, *row]) for row in np.eye(self.wide, k=-1)[:, :-1].tolist()]
        units = [zero, *(np.subtract(unit, zero).tolist() for unit in units)]
        # Contributions are rounded to 2 ** -20: the most that this can be off is added, for columns as they are.
        slack = count * self.wide * 2.0**-21
        rows = [scaled(z) for _, _, z in examples] + np.eye(self.wide).tolist() + units
        weights = np.array([w for w, _, _ in examples] + list(precision) + [slack] * self.wide)
        responses = np.array([y for _, y, _ in examples] + centre.tolist() + [0.0] * self.wide)
        design = np.array(rows)
        gram = design.T @ np.diag(weights) @ design
        return np.linalg.solve(gram, design.T @ (weights * responses)), np.linalg.inv(gram)

    def predict(
        self, seen: Sequence[Seen], offer: int, x: FloatArray, base_propensity: float
    ) -> tuple[float, float]:
        """Mean and variance (in units of the noise) of the linear predictor of an offer for a request."""
        examples = [self.example(each) for each in seen]
        scaled = self.scale(examples)
        # The prior is about columns as they are: find the parameters of scaled ones that say the same.
        corners = [
            [1.0, *row] for row in np.vstack([np.zeros(self.wide - 1), np.eye(self.wide - 1)]).tolist()
        ]
        centre = np.linalg.lstsq(
            np.array([scaled(c) for c in corners]), np.array(corners) @ np.array(self.start), rcond=None
        )[0]
        if self.share != "none":
            centre, _ = self.solve(
                examples, scaled, centre, self.prior, sum(each.age_weight for each in seen)
            )
        if offer in self.groups:
            others = {number for number, group in self.groups.items() if group == self.groups[offer]}
            theirs = [each for each in seen if each.observation.offer in others]
            precision = [self.group_shrinkage * each for each in self.own]
            count = sum(each.age_weight for each in theirs)
            centre, _ = self.solve([self.example(each) for each in theirs], scaled, centre, precision, count)
        mine = [each for each in seen if each.observation.offer == offer]
        own, count = [self.example(each) for each in mine], sum(each.age_weight for each in mine)
        parameters, covariance = self.solve(own, scaled, centre, self.own, count)
        z = np.array(scaled(self.row(x, base_propensity)))
        return float(parameters @ z), float(z @ covariance @ z)
