"""The design matrix of regression policies (columns of a request and an offer, on one scale), and their links.

A candidate's columns are ``z = [1, x, l, none]``: one for the intercept, the request's features as they were encoded,
and, if the precomputed propensity ``q`` is a feature, ``l = logit(q) / 4`` and an indicator that there is none.
A link says what an observation adds to the sums of a regression, and what a linear predictor means: the identity
(linear regression), or the logistic function.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandits import compiled
from bandits.exact_math import EXP2_SCALE, LOG2_E, exp, exp_of, log, log_of, scaled_exp2_float32
from bandits.features import Encoder
from bandits.policy import FloatArray

LOGIT_SCALE = 4.0
"""Logits of propensities are divided by this, so that columns stay small and their sums exact."""

_MIN_CHANCE = 1e-6
_PRIOR_DEVIATION, _PRIOR_WEIGHT = 1 / 8, 1.0
_MIN_DEVIATION = 1 / 256
_OFFSET = -1.2
_SMALLEST_STEP = 0.43527528164806206
"""``2 ** _OFFSET``."""


def logit(p: ArrayLike) -> FloatArray:
    """Return ``log(p / (1 - p))``, with ``p`` clipped to [1e-6, 1 - 1e-6]."""
    within = np.minimum(np.maximum(np.asarray(p, dtype=np.float64), _MIN_CHANCE), 1.0 - _MIN_CHANCE)
    return log(within / (1.0 - within))


def sigmoid(s: FloatArray) -> FloatArray:
    """Return ``1 / (1 + exp(-s))``, with ``s`` clipped to [-30, 30]."""
    kernels = compiled.kernels
    if kernels is not None and s.dtype == np.float64:
        chances = np.empty(s.shape)
        kernels.sigmoid(np.ascontiguousarray(s), chances)
        return chances
    e = exp(-np.minimum(np.maximum(s, -30.0), 30.0))  # np.clip is slow on small arrays
    e += 1.0
    return 1.0 / e


@dataclass(frozen=True)
class Design:
    """The layout of the columns.

    ``width``: how many. ``common``: how many of them are the same for all candidates (the first ones). ``numeric`` and
    ``missing``: the columns that are put on one scale, and for each the column that is 1 where its value is missing
    (0, the intercept, if there is no such column).
    """

    width: int
    common: int
    numeric: tuple[int, ...]
    missing: tuple[int, ...]

    @classmethod
    def of(cls, encoder: Encoder) -> "Design":
        """Make the design for the features of an encoder."""
        common = 1 + encoder.width
        pairs = [(1 + value, 0 if none is None else 1 + none) for value, none in encoder.scaled]
        if encoder.propensity:
            pairs.append((common, common + 1))
        width = common + 2 * encoder.propensity
        return cls(width, common, tuple(value for value, _ in pairs), tuple(none for _, none in pairs))

    @cached_property
    def _places(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        return np.array(self.numeric, dtype=np.intp), np.array(self.missing, dtype=np.intp)

    @property
    def propensity(self) -> bool:
        """True if there are columns that differ from candidate to candidate."""
        return self.width > self.common

    def row(self, x: FloatArray, base_propensity: float) -> FloatArray:
        """Return the columns of one offer: shape ``(width,)``."""
        z = np.empty(self.width)
        z[0] = 1.0
        z[1 : self.common] = x
        if self.propensity:
            known = base_propensity == base_propensity  # NaN: there is none
            z[self.common] = float(logit(base_propensity)) / LOGIT_SCALE if known else 0.0
            z[self.common + 1] = 0.0 if known else 1.0
        return z

    def rows(self, x: FloatArray, base_propensity: FloatArray) -> FloatArray:
        """Return the columns of many requests for an offer each: shape ``(m, width)``, as ``row`` gives them."""
        z = np.empty((len(x), self.width))
        z[:, 0] = 1.0
        z[:, 1 : self.common] = x
        if self.propensity:
            none = np.isnan(base_propensity)
            z[:, self.common] = np.where(none, 0.0, logit(np.where(none, 0.5, base_propensity)) / LOGIT_SCALE)
            z[:, self.common + 1] = none
        return z

    def scale(self, first: FloatArray, diagonal: FloatArray) -> "Scale":
        r"""Compute the scale of numeric columns: means and deviations over all that was ever observed.

        ``first``, ``diagonal``: the first row and the diagonal of the sum of ``w z z'``, shape ``(width,)`` each.

        Both are rounded, deviations to powers of two times a constant and means to whole deviations (to quarters, where
        they stand for missing values), so that the scale changes rarely: a change costs a new posterior for every
        offer. The constant is such that columns with a range
        that is even, two or three deviations wide on each side are far from where rounding changes. A deviation
        of 1/8 counts as seen with a weight of 1 beforehand, and 1/256 is the least, so that a value unlike the few
        before it is no wonder.
        """
        columns, missing = self._places
        weight = np.maximum(first[0] - np.where(missing > 0, first[missing], 0.0), 0.0)
        seen = np.maximum(weight, 1.0)
        mean = first[columns] / seen
        variance = np.maximum(diagonal[columns] / seen - mean * mean, 0.0)
        variance = (weight * variance + _PRIOR_WEIGHT * _PRIOR_DEVIATION**2) / (weight + _PRIOR_WEIGHT)
        half = log(np.maximum(variance, _MIN_DEVIATION**2)) * (0.5 * LOG2_E)
        deviation = np.ldexp(_SMALLEST_STEP, np.rint(half - _OFFSET).astype(np.int32))
        step = deviation * np.where(missing > 0, 0.25, 1.0)
        return Scale(np.rint(mean / step) * step + 0.0, deviation)  # + 0.0: zero is never negative

    def unscaling(self, scale: "Scale") -> FloatArray:
        """Return the matrix that turns scaled columns back into unscaled ones: shape ``(width, width)``.

        A scaled numeric column is ``(value - mean) / deviation``, and 0 (the mean) where the value is missing.
        """
        unscaling = np.eye(self.width)
        columns, missing = self._places
        unscaling[columns, columns] = scale.deviation
        unscaling[columns, 0] = scale.mean
        some = missing > 0
        unscaling[columns[some], missing[some]] = -scale.mean[some]
        return unscaling

    def columns(self, x: FloatArray, base_propensity: ArrayLike) -> "CandidateColumns":
        """Return the columns of ``n`` candidates.

        What is in a candidate's column depends on that candidate alone, bit for bit.
        """
        common = np.empty(self.common)
        common[0] = 1.0
        common[1:] = x
        if not self.propensity:
            return CandidateColumns(common, None)
        kernels = compiled.kernels
        if (
            kernels is not None
            and isinstance(base_propensity, np.ndarray)
            and base_propensity.dtype == np.float32
        ):
            own = np.empty((2, len(base_propensity)))
            kernels.propensity_columns(np.ascontiguousarray(base_propensity), own)
            return CandidateColumns(common, own)
        base_propensity = np.asarray(base_propensity, dtype=np.float64)
        none = np.isnan(base_propensity)
        own = np.zeros((2, len(base_propensity)))
        own[1] = none
        if not none.all():
            own[0] = np.where(none, 0.0, logit(np.where(none, 0.5, base_propensity)) / LOGIT_SCALE)
        return CandidateColumns(common, own)


@dataclass(frozen=True, slots=True)
class Scale:
    """Means and deviations of numeric columns, rounded; shape ``(k,)`` each."""

    mean: FloatArray
    deviation: FloatArray

    def is_same(self, other: "Scale") -> bool:
        """Return whether both are the same, bit for bit."""
        return (
            self.mean.tobytes() == other.mean.tobytes()
            and self.deviation.tobytes() == other.deviation.tobytes()
        )


@dataclass(frozen=True, slots=True)
class CandidateColumns:
    """The columns of ``n`` candidates.

    ``common``: the columns that all candidates share, which come first. ``own``: the others, ``(..., n)``, or ``None``.
    """

    common: FloatArray
    own: FloatArray | None


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

    def linearise_all(self, rewards: FloatArray, expected: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return what ``linearise`` returns for each observation: shape ``(m,)`` each, the same bits."""
        ...

    def propensity(self, predictor: FloatArray) -> FloatArray:
        """Return the expected reward, in [0, 1]."""
        ...

    def score(self, predictor: FloatArray) -> FloatArray:
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

    def linearise_all(self, rewards: FloatArray, expected: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return ones, and the rewards."""
        return np.ones(len(rewards)), rewards

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
    wherever both are between -7 and 7, and the decisions that follow linearise there. Where none follow, as after
    imported history, further passes over the log do (``bandits.regression.linearisation``). A smaller ``R`` would
    give surprises more weight than they are worth, a larger one (8 and more) could end up farther away.
    """

    def predictor(self, p: float) -> float:
        """Return the log odds."""
        return log_of(p / (1.0 - p))

    def linearise(self, reward: float, expected: float) -> tuple[float, float]:
        """Return ``(w, w s0 + g)``; log odds beyond 8 either way count as 8."""
        s0 = min(max(self.predictor(expected), -_MAX_LOG_ODDS), _MAX_LOG_ODDS)
        p = 1.0 / (1.0 + exp_of(-s0))
        gradient = reward - p
        weight = max(p * (1.0 - p), abs(gradient) / MAX_RESPONSE_SHIFT)
        return weight, weight * s0 + gradient

    def linearise_all(self, rewards: FloatArray, expected: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the same of many observations."""
        s0 = np.minimum(np.maximum(log(expected / (1.0 - expected)), -_MAX_LOG_ODDS), _MAX_LOG_ODDS)
        p = 1.0 / (1.0 + exp(-s0))
        gradient = rewards - p
        weight = np.maximum(p * (1.0 - p), np.abs(gradient) / MAX_RESPONSE_SHIFT)
        return weight, weight * s0 + gradient

    def propensity(self, predictor: FloatArray) -> FloatArray:
        """Return the chance of these log odds."""
        return sigmoid(predictor)

    def score(self, predictor: FloatArray) -> FloatArray:
        """Return the chance of these log odds."""
        return sigmoid(predictor)

    def weighted_draws(
        self, mean: FloatArray, spread: FloatArray, draws: NDArray[Any], weight: NDArray[Any]
    ) -> NDArray[Any]:
        """Return ``weight / (1 + exp(-s))`` of the drawn log odds, in as few passes as possible."""
        kernels = compiled.kernels
        if kernels is not None:
            scores = np.empty(draws.shape, draws.dtype)
            kernels.logistic_draws(mean, spread, np.ascontiguousarray(draws), weight, scores)
            return scores
        # Bounded here, where there are few numbers, so that no draw overflows.
        powers: NDArray[Any] = draws * (np.maximum(-spread, -10.0) * LOG2_E).astype(draws.dtype)
        powers -= (np.minimum(np.maximum(mean, -30.0), 30.0) * LOG2_E).astype(draws.dtype)
        e: NDArray[Any] = scaled_exp2_float32(powers)
        e += np.float32(EXP2_SCALE)
        np.divide(weight * np.float32(EXP2_SCALE), e, out=e)
        return e

    def noise(self, own: FloatArray, shared: FloatArray) -> FloatArray:
        """Return 1: weights are in units of the noise already."""
        return np.ones(len(own))


LINKS: dict[str, Link] = {"linear": LinearLink(), "logistic": LogisticLink()}
