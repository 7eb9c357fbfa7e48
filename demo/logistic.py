"""Regularised logistic regression by Newton's method, and the two measures used to judge it.

The maximum of the L2-penalised log-likelihood is found by iteratively reweighted least squares (Hastie,
Tibshirani and Friedman, *The Elements of Statistical Learning*, section 4.4.1). The objective is strictly
concave, so the answer is unique and needs no seed.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# Keeps the curvature invertible.
_TINY_INTERCEPT_PENALTY = 1e-9


class NotConverged(RuntimeError):
    """Newton's method did not reach a stationary point in the iterations allowed."""


@dataclass(frozen=True, slots=True)
class LogisticModel:
    """Fitted coefficients. `mean` and `spread` (both: features) standardise columns before their use."""

    intercept: float
    weights: Floats
    mean: Floats
    spread: Floats

    def log_odds(self, rows: Floats) -> Floats:
        """Compute the linear predictor of `rows` (n x features). Shape: n."""
        return np.asarray(
            self.intercept + ((rows - self.mean) / self.spread) @ self.weights, dtype=np.float64
        )

    def probability(self, rows: Floats) -> Floats:
        """Compute P(y = 1) of `rows` (n x features). Shape: n."""
        return sigmoid(self.log_odds(rows))


def sigmoid(log_odds: Floats) -> Floats:
    """Apply the logistic function, without overflow for large arguments."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * log_odds)), dtype=np.float64)


def fit_logistic(
    rows: Floats,
    accepted: Bools,
    penalty: float | Floats,
    *,
    standardise: bool = True,
    max_iterations: int = 50,
    tolerance: float = 1e-9,
) -> LogisticModel:
    """Maximise `sum(log-likelihood) - 0.5 * sum(penalty * weight**2)`; the intercept is left free.

    `rows` is n x features, `accepted` n booleans, `penalty` one number or one per feature, on the
    standardised scale. Steps are halved while they would lower the objective. Raises NotConverged.
    """
    mean = rows.mean(axis=0) if standardise else np.zeros(rows.shape[1])
    spread = rows.std(axis=0) if standardise else np.ones(rows.shape[1])
    spread = np.where(spread > 0, spread, 1.0)
    design = np.column_stack([np.ones(len(rows)), (rows - mean) / spread])
    ridge = np.concatenate([[_TINY_INTERCEPT_PENALTY], np.broadcast_to(penalty, rows.shape[1])])
    target = accepted.astype(np.float64)
    beta = np.zeros(design.shape[1])
    height = _objective(design, target, ridge, beta)
    for _ in range(max_iterations):
        p = sigmoid(design @ beta)
        gradient = design.T @ (target - p) - ridge * beta
        curvature = (design * (p * (1 - p))[:, None]).T @ design + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        if float(np.abs(step).max()) < tolerance:
            return LogisticModel(float(beta[0]), beta[1:], mean, spread)
        beta, height = _take_step(design, target, ridge, beta, height, step)
    raise NotConverged(f"no stationary point after {max_iterations} Newton steps")


def _take_step(
    design: Floats, target: Floats, ridge: Floats, beta: Floats, height: float, step: Floats
) -> tuple[Floats, float]:
    """Take the Newton step, halved until it does not lower the objective."""
    for halving in range(30):
        candidate = beta + step * 0.5**halving
        reached = _objective(design, target, ridge, candidate)
        if reached >= height - 1e-9 * abs(height):
            return candidate, reached
    return beta, height


def _objective(design: Floats, target: Floats, ridge: Floats, beta: Floats) -> float:
    log_odds = design @ beta
    likelihood = target @ log_odds - np.logaddexp(0.0, log_odds).sum()
    return float(likelihood - 0.5 * (ridge @ beta**2))


def log_loss(probability: Floats, accepted: Bools) -> float:
    """Compute the mean negative log-likelihood in nats. Probabilities are kept 1e-12 away from 0 and 1."""
    p = np.clip(probability, 1e-12, 1 - 1e-12)
    return float(-np.mean(np.where(accepted, np.log(p), np.log1p(-p))))


def area_under_curve(probability: Floats, accepted: Bools) -> float:
    """Compute the chance that an accepted row is ranked above one that is not, ties counted half.

    This is the Mann-Whitney statistic. Raises ValueError unless both outcomes occur.
    """
    positives = int(accepted.sum())
    negatives = len(accepted) - positives
    if positives == 0 or negatives == 0:
        raise ValueError("the area under the curve needs rows of both outcomes")
    _, group, size = np.unique(probability, return_inverse=True, return_counts=True)
    last = np.cumsum(size)
    mean_rank = last - (size - 1) / 2
    rank_sum = float(mean_rank[group][accepted].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)
