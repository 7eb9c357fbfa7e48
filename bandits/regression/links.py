"""Links between rewards and a linear predictor: the identity (linear regression), and the logistic function.

A link says what an observation adds to the sums of a regression, and what a linear predictor means.
"""

import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bandits.policy import FloatArray
from bandits.regression.design import sigmoid

MAX_RESPONSE_SHIFT = 6.0
"""The distance that the response of a logistic observation may lie from where it was linearised."""

_MAX_LOG_ODDS = 8.0
_MIN_LINEAR_SCORE = 0.01
_NOISE_PRIOR_WEIGHT = 10.0


class Link(Protocol):
    """The link of a regression policy."""

    def predictor(self, p: float) -> float:
        """Return the linear predictor of the chance ``p``."""
        ...

    def linearise(self, reward: float, expected: float) -> tuple[float, float]:
        """Return the weight of an observation, and its response times that weight; ``expected`` was its propensity."""
        ...

    def propensity(self, predictor: FloatArray) -> FloatArray:
        """Return the expected reward, in [0, 1]."""
        ...

    def score(self, predictor: NDArray[Any]) -> NDArray[Any]:
        """Return a positive number that rises with the predictor, and is the expected reward where that is sensible."""
        ...

    def weighted_draws(
        self, mean: FloatArray, spread: FloatArray, draws: NDArray[Any], weight: NDArray[Any]
    ) -> NDArray[Any]:
        """Return ``weight x score(mean + spread x draws)``: shape ``(K, n)`` like the draws, and of their type."""
        ...

    def noise(self, own: FloatArray, shared: FloatArray) -> FloatArray:
        """Return the variance of an observation of weight 1, shape ``(n,)``, from own and shared sums."""
        ...


class LinearLink:
    """Rewards are linear in the columns. Weights are 1, responses are the rewards."""

    def predictor(self, p: float) -> float:
        """Return the chance itself."""
        return p

    def linearise(self, reward: float, expected: float) -> tuple[float, float]:
        """Return ``(1, r)``."""
        return 1.0, reward

    def propensity(self, predictor: FloatArray) -> FloatArray:
        """Return the predictor, clipped to [0, 1]."""
        return np.clip(predictor, 0.0, 1.0)

    def score(self, predictor: NDArray[Any]) -> NDArray[Any]:
        """Return the predictor; below ``e`` = 0.01 a smooth continuation, ``e^2 / (2 e - s)``, which stays positive.

        Scores are multiplied with weights: of two candidates that nothing good is expected of, the one with the
        smaller weight must not win because a negative number was made smaller.
        """
        e = predictor.dtype.type(_MIN_LINEAR_SCORE)
        # Above `e` the second factor is exactly 1; without branches, since there are many draws.
        score: NDArray[Any] = np.maximum(predictor, e) * (e / (2 * e - np.minimum(predictor, e)))
        return score

    def weighted_draws(
        self, mean: FloatArray, spread: FloatArray, draws: NDArray[Any], weight: NDArray[Any]
    ) -> NDArray[Any]:
        """Return the scores of the drawn predictors, times the weights."""
        drawn: NDArray[Any] = draws * spread.astype(draws.dtype)
        drawn += mean.astype(draws.dtype)
        scores: NDArray[Any] = self.score(drawn) * weight
        return scores

    def noise(self, own: FloatArray, shared: FloatArray) -> FloatArray:
        """Return the variance of an offer's rewards, to which that of all offers counts as ten observations."""
        n, total, squares = np.maximum(shared[:3], 0.0)
        everywhere = max(squares - total * total / max(n, 1.0), 0.0)
        everywhere = (everywhere + 0.05) / (n + 1.0)  # never 0, or nothing would be explored any more
        n, total, squares = np.maximum(own[:, :3], 0.0).T
        here = np.maximum(squares - total * total / np.maximum(n, 1.0), 0.0)
        noise: FloatArray = (here + _NOISE_PRIOR_WEIGHT * everywhere) / (n + _NOISE_PRIOR_WEIGHT)
        return noise


class LogisticLink:
    r"""The log odds of a reward are linear in the columns.

    The likelihood of a logistic observation is not a sum of squares, so it is replaced by one where it was decided.
    With ``s0`` the log odds that the deciding policy expected, ``g = r - sigmoid(s0)`` the gradient there, and
    ``w`` the curvature, the observation counts as a linear one of weight ``w`` with the response ``s0 + g / w``:

    .. math::  A \mathrel{+}= w z z', \qquad b \mathrel{+}= (w s_0 + g) z

    This is one step of iteratively reweighted least squares (McCullagh and Nelder, *Generalized Linear Models*, 1989),
    and what an extended Kalman filter does, except that the point of linearisation is the one that was logged
    instead of the latest. So a contribution depends on its observation alone: contributions commute.

    *It is consistent*: the estimate solves ``sum (w (s0 - s) + g) z = 0``, and where expectations were right this is
    the score equation of the likelihood. Expectations become right since decisions follow estimates.

    *It is safe when they were wrong*. With the curvature of the likelihood, ``sigmoid'(s0)``, a surprising reward at a
    stale ``s0`` would have a response far beyond anything (``s0 = -4``: ``1 / p = 55`` to the right). So
    ``w = max(sigmoid'(s0), |g| / R)``: the response stays within ``R = 6`` of ``s0``, as in Winsorised means. Then
    many outcomes that were all linearised at one ``s0`` end up at least a fifth nearer to the truth than ``s0`` was,
    wherever both are between -7 and 7, and the decisions that follow linearise there. A smaller ``R`` would
    give surprises more weight than they are worth, a larger one (8 and more) could end up farther away.
    """

    def predictor(self, p: float) -> float:
        """Return the log odds."""
        return math.log(p / (1.0 - p))

    def linearise(self, reward: float, expected: float) -> tuple[float, float]:
        """Return ``(w, w s0 + g)``; log odds beyond 8 either way count as 8."""
        s0 = min(max(self.predictor(expected), -_MAX_LOG_ODDS), _MAX_LOG_ODDS)
        p = 1.0 / (1.0 + math.exp(-s0))
        gradient = reward - p
        weight = max(p * (1.0 - p), abs(gradient) / MAX_RESPONSE_SHIFT)
        return weight, weight * s0 + gradient

    def propensity(self, predictor: FloatArray) -> FloatArray:
        """Return the chance of these log odds."""
        return sigmoid(predictor)

    def score(self, predictor: NDArray[Any]) -> NDArray[Any]:
        """Return the chance of these log odds."""
        return sigmoid(predictor)

    def weighted_draws(
        self, mean: FloatArray, spread: FloatArray, draws: NDArray[Any], weight: NDArray[Any]
    ) -> NDArray[Any]:
        """Return ``weight / (1 + exp(-s))`` of the drawn log odds, in as few passes as possible."""
        # Bounded here, where there are few numbers, so that no draw overflows.
        e: NDArray[Any] = draws * np.maximum(-spread, -10.0).astype(draws.dtype)
        e -= np.minimum(np.maximum(mean, -30.0), 30.0).astype(draws.dtype)
        np.exp(e, out=e)
        e += 1.0
        np.divide(weight, e, out=e)
        return e

    def noise(self, own: FloatArray, shared: FloatArray) -> FloatArray:
        """Return 1: weights are in units of the noise already."""
        return np.ones(len(own))


LINKS: dict[str, Link] = {"linear": LinearLink(), "logistic": LogisticLink()}
