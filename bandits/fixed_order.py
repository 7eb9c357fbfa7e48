"""Sums, products and factors of small matrices in a fixed order: the same bits on every machine.

BLAS and LAPACK add up in an order that depends on the processor, its vector units and the number of threads, so what
they return differs in its last bits from machine to machine. Here every element is computed by elementwise additions,
multiplications, divisions and square roots of numpy, one after the other, which IEEE 754 rounds in one way only.

Many matrices are handled at once, along the last axis: results of one do not depend on the others, nor on how many
there are.
"""

import numpy as np

from bandits.policy import FloatArray

_BLOCK = 64
"""How many matrices are worked on at a time, so that they stay in the processor's cache."""
_MIN_PIVOT = 2.0**-48
"""What is left of a diagonal element at the least: below that, there is nothing but rounding."""


def sum_rows(terms: FloatArray) -> FloatArray:
    """Return the sum along the first axis, from the first row to the last: ``(k, n)`` -> ``(n,)``."""
    if not len(terms):
        return np.zeros(terms.shape[1:])
    if terms[0].size == 1:  # numpy would add up a single column in another order
        last: FloatArray = np.add.accumulate(terms, axis=0)[-1]
        return last
    total: FloatArray = np.add.reduce(terms, axis=0)
    return total


def multiply(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the matrix product of ``(k, m)`` and ``(m, l)``, or ``(m,)``."""
    if b.ndim == 1:
        return sum_rows(a.T * b[:, None])
    total: FloatArray = a[:, :1] * b[0]
    for k in range(1, len(b)):
        total += a[:, k, None] * b[k]
    return total


def invert_factors(a: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Factor positive definite matrices: ``W A W' = 1`` with ``W`` lower triangular.

    ``a``: shape ``(D, D, m)``. Returns ``W`` with its columns along the *first* axis, so that ``W[j, i]`` belongs to
    row ``i`` and column ``j``, zero where ``i < j``: shape ``(D, D, m)``; and the pivots, whose product is the
    determinant: ``(D, m)``.
    """
    size, _, count = a.shape
    w, pivots = np.empty(a.shape), np.empty((size, count))
    for start in range(0, count, _BLOCK):
        part = slice(start, start + _BLOCK)
        rows, pivots[:, part] = _invert_cholesky(a[:, :, part])
        w[:, :, part] = rows.transpose(1, 0, 2)
    return w, pivots


def _invert_cholesky(a: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the inverse of the Cholesky factor, rows first, and the pivots."""
    # Elimination beside the unit matrix. Row ``k`` of ``done`` holds column ``k`` of the factor, from the diagonal on,
    # and ``size`` places further right row ``k`` of the inverse: what a step needs of both lies side by side.
    size, _, count = a.shape
    done = _zeros(size, 2 * size, count)
    pivots = np.empty((size, count))
    for j in range(size):
        beside = slice(j, size + j + 1)
        row = done[j, beside]
        row[: size - j] = a[j, j:]
        row[size] = 1.0
        if j:
            row -= sum_rows(done[:j, beside] * done[:j, j, None])
        pivot = np.maximum(row[0], a[j, j] * _MIN_PIVOT, out=pivots[j])
        row /= np.sqrt(pivot)
    return done[:, size:], pivots


def _zeros(rows: int, columns: int, count: int) -> FloatArray:
    """Return zeros of shape ``(rows, columns, count)``, the longer of the last two axes innermost in memory."""
    # Steps are the same whatever the order in memory; numpy is slow where what it walks along is short.
    if count < columns // 2:
        return np.zeros((rows, count, columns)).transpose(0, 2, 1)
    return np.zeros((rows, columns, count))


def apply_factors(w: FloatArray, common: FloatArray, own: FloatArray | None) -> FloatArray:
    """Return ``W z``: shape ``(D, n)``.

    ``z`` begins with what all have in ``common``, ``(k,)``; then come the rows of ``own``, ``(D - k, n)``.
    """
    k = len(common)
    total = np.zeros(w.shape[1:])
    space = np.empty(w.shape[1:])
    for j in np.flatnonzero(common).tolist():  # most columns are indicators
        total[j:] += np.multiply(w[j, j:], common[j], out=space[j:])
    for j in range(k, len(w)):
        assert own is not None
        total[j:] += np.multiply(w[j, j:], own[j - k], out=space[j:])
    return total


def apply_transposed_factors(w: FloatArray, y: FloatArray) -> FloatArray:
    """Return ``W' y``; ``y`` and the result have shape ``(D, n)``."""
    total = np.zeros(y.shape)
    for i in range(len(w)):
        total[: i + 1] += w[: i + 1, i] * y[i]
    return total


def inverses_of_factors(w: FloatArray) -> FloatArray:
    """Return the inverses of the matrices that were factored, ``W' W``: shape ``(D, D, m)``."""
    total = np.zeros(w.shape)
    for i in range(len(w)):
        total[: i + 1, : i + 1] += w[: i + 1, None, i] * w[None, : i + 1, i]
    return total
