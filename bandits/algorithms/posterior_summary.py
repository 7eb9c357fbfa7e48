"""Summaries of a policy's posterior for reports: the mean and a 95 % interval of each offer's estimate.

For the policies on Beta arms it is the posterior of an offer's level. For those on a regression it is the posterior of
what is expected of a *typical* request: the mean of what the offer was shown to (of all requests, where it never was).
Policies from elsewhere may have a method ``posterior_summary(sums)`` that returns a ``PosteriorSummary``.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from bandits.algorithms.beta_arms import BetaArmsPolicy
from bandits.intervals import Z95
from bandits.policy import FloatArray, Policy, Sums
from bandits.regression.design import CandidateColumns
from bandits.regression.regression_policy import RegressionPolicy

TAIL_PROBABILITY = 0.025
Estimates = tuple[FloatArray, FloatArray, FloatArray]
"""The mean, and the ends of the interval: shapes ``(n,)``."""


@dataclass(frozen=True, slots=True)
class PosteriorSummary:
    """Estimates of ``n`` offers, and the decayed sums that they rest on: shapes ``(n,)``."""

    observations: FloatArray
    rewards: FloatArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray


def load_beta_quantiles() -> Any:
    """Import the quantile function of Beta distributions.

    The first time takes half a second: most processes do without it, and an event loop has it done in a thread.
    """
    from scipy.special import betaincinv

    return betaincinv


def summarise_posterior(policy: Policy, sums: Sums) -> PosteriorSummary | None:
    """Summarise the posterior of ``policy``, given its arms; ``None`` for a kind of policy that has no summary."""
    if isinstance(policy, BetaArmsPolicy):
        estimates = _estimate_levels(policy, sums)
    elif isinstance(policy, RegressionPolicy):
        estimates = _estimate_typical_requests(policy, sums)
    else:
        own = getattr(policy, "posterior_summary", None)
        found = own(sums) if callable(own) else None
        return found if isinstance(found, PosteriorSummary) else None
    # Arms of both kinds begin with these two sums; rounding may have taken them below 0.
    observations, rewards = np.maximum(sums.own[:, :2], 0.0).T
    return PosteriorSummary(observations, rewards, *estimates)


def _estimate_levels(policy: BetaArmsPolicy, sums: Sums) -> Estimates:
    betaincinv = load_beta_quantiles()
    found = policy.posterior(sums.own)
    alpha, beta = found.alpha, found.beta
    low, high = (betaincinv(alpha, beta, tail) for tail in (TAIL_PROBABILITY, 1.0 - TAIL_PROBABILITY))
    return alpha / (alpha + beta), low, high


def _estimate_typical_requests(policy: RegressionPolicy, sums: Sums) -> Estimates:
    posterior = policy.prepare(sums).posterior
    z = _mean_columns(policy, sums)
    projected = posterior.project(z)
    predictor = posterior.mean(projected)
    deviation = np.sqrt(posterior.variance(projected) * policy.link.noise(posterior.own, sums.shared))
    low, high = (policy.link.propensity(predictor + end * deviation) for end in (-Z95, Z95))
    return policy.link.propensity(predictor), low, high


def _mean_columns(policy: RegressionPolicy, sums: Sums) -> CandidateColumns:
    # The first row of the sum of w z z' holds the sum of w z: divided by its first element, the mean of z.
    layout, design = policy.regression.layout, policy.design
    unknown = design.row(np.zeros(design.common - 1), float("nan"))
    shared = _mean_or_default(layout.read(sums.shared)[0][0], unknown)
    first = layout.read(sums.own)[0][:, 0]
    own = np.array([_mean_or_default(row, shared) for row in first]).reshape(len(first), design.width)
    return CandidateColumns(np.zeros(0), own.T)


def _mean_or_default(first: FloatArray, otherwise: FloatArray) -> FloatArray:
    return first / first[0] if first[0] > 0.0 else otherwise
