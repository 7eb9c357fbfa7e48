"""Arrays are C-contiguous; results go into the last ones. Raises ``ValueError`` where sizes or types are others."""

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]

def propensity_columns(propensities: Floats, columns: Doubles) -> None:
    """Fill ``columns``, ``(2, n)``, with ``logit(q) / 4`` and 1 where ``q`` is NaN."""

def sigmoid(predictors: Doubles, chances: Doubles) -> None:
    """Fill ``chances`` with ``1 / (1 + exp(-s))`` of predictors, clipped to [-30, 30]."""

def log(numbers: Doubles, results: Doubles) -> None:
    """Fill ``results`` with the natural logarithms of positive finite numbers."""

def predict(
    factors: Doubles,
    weights: Doubles,
    noise: Doubles,
    common: Doubles,
    own: Doubles | None,
    mean: Doubles,
    deviation: Doubles,
) -> None:
    """Fill mean and deviation, ``(n,)``, of candidates' predictors.

    ``factors``: ``(D, D, n)``, ``weights``: ``(D, n)``, ``noise``: ``(n,)``, ``common``: ``(k,)``, ``own``:
    ``(D - k, n)``, or ``None`` where ``k`` is ``D``.
    """

def apply_factors(factors: Doubles, common: Doubles, own: Doubles | None, product: Doubles) -> None:
    """Fill ``product``, ``(D, n)``, with ``W z``; arguments as in ``predict``."""

def apply_transposed_factors(factors: Doubles, rows: Doubles, product: Doubles) -> None:
    """Fill ``product``, ``(D, n)``, with ``W' y`` of ``factors``, ``(D, D, n)``, and ``rows``, ``(D, n)``."""

def multiply(first: Doubles, second: Doubles, product: Doubles) -> None:
    """Fill ``product``, ``(k, l)``, with that of matrices ``(k, m)`` and ``(m, l)``, ``m > 0``."""

def invert_factors(matrices: Doubles, factors: Doubles, pivots: Doubles) -> None:
    """Fill ``factors``, ``(D, D, m)``, columns first, and ``pivots``, ``(D, m)``, of ``matrices``, ``(m, D, D)``."""

def logistic_draws(mean: Doubles, spread: Doubles, draws: Floats, weight: Floats, scores: Floats) -> None:
    """Fill ``scores`` with ``weight / (1 + exp(-(mean + spread x draws)))``; ``draws`` and ``scores``: ``(K, n)``."""

def count_wins(scores: Floats, available: NDArray[np.bool_], wins: Doubles) -> None:
    """Fill ``wins``, ``(n,)``: in how many rows of ``scores``, ``(K, n)``, each available column is the best.

    Of equals it is the first.
    """
