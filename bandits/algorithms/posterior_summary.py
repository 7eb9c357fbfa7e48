"""Summaries of a policy's posterior for reports: the mean and a 95 % interval of each offer's estimate.

For the policies on Beta arms it is the posterior of an offer's level. For those on a regression it is the posterior of
what is expected of a *typical* request: the mean of what the offer was shown to (of all requests, where it never was).
Policies from elsewhere may have a method ``posterior_summary(sums)`` that returns a ``PosteriorSummary``.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

from bandits.algorithms.beta_arms import BetaArmsPolicy
from bandits.intervals import Z95
from bandits.policy import FloatArray, Policy, Sums
from bandits.regression.design import CandidateColumns
from bandits.regression.regression_policy import RegressionPolicy

TAIL_PROBABILITY = 0.025


@dataclass(frozen=True, slots=True)
class PosteriorSummary:
    """Estimates of ``n`` offers, and the decayed sums that they rest on: shapes ``(n,)``."""

    observations: FloatArray
    rewards: FloatArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray


def summarise_posterior(policy: Policy, sums: Sums) -> PosteriorSummary | None:
    """Summarise the posterior of ``policy``, given its arms; ``None`` for a kind of policy that has no summary."""
    if isinstance(policy, BetaArmsPolicy):
        return _summarise_levels(policy, sums)
    if isinstance(policy, RegressionPolicy):
        return _summarise_typical_requests(policy, sums)
    own = getattr(policy, "posterior_summary", None)
    found = own(sums) if callable(own) else None
    return found if isinstance(found, PosteriorSummary) else None


def _summarise_levels(policy: BetaArmsPolicy, sums: Sums) -> PosteriorSummary:
    found = policy.posterior(sums.own)
    alpha, beta = found.alpha, found.beta
    return PosteriorSummary(
        observations=np.maximum(sums.own[:, 0], 0.0),
        rewards=np.maximum(sums.own[:, 1], 0.0),
        mean=alpha / (alpha + beta),
        low=betaincinv(alpha, beta, TAIL_PROBABILITY),
        high=betaincinv(alpha, beta, 1.0 - TAIL_PROBABILITY),
    )


def _summarise_typical_requests(policy: RegressionPolicy, sums: Sums) -> PosteriorSummary:
    regression = policy.regression
    posterior = regression.prepare(sums)
    z = _mean_columns(policy, sums)
    projected = posterior.project(z)
    predictor = posterior.mean(projected)
    deviation = np.sqrt(posterior.variance(projected, z) * policy.link.noise(posterior.own, sums.shared))
    return PosteriorSummary(
        observations=np.maximum(sums.own[:, 0], 0.0),
        rewards=np.maximum(sums.own[:, 1], 0.0),
        mean=policy.link.propensity(predictor),
        low=policy.link.propensity(predictor - Z95 * deviation),
        high=policy.link.propensity(predictor + Z95 * deviation),
    )


def _mean_columns(policy: RegressionPolicy, sums: Sums) -> CandidateColumns:
    """Return the mean columns of the requests that each offer was shown to."""
    layout, design = policy.regression.layout, policy.design
    unknown = design.row(np.zeros(design.common - 1), float("nan"))
    shared = _mean_or_default(layout.read(sums.shared)[0][0], unknown)
    first = layout.read(sums.own)[0][:, 0]
    own = np.array([_mean_or_default(row, shared) for row in first]).reshape(len(first), design.width)
    return CandidateColumns(np.zeros(0), own.T)


def _mean_or_default(first: FloatArray, otherwise: FloatArray) -> FloatArray:
    """Return the mean of columns, from the first row of the sum of ``w z z'``; ``otherwise`` without observations."""
    return first / first[0] if first[0] > 0.0 else otherwise
