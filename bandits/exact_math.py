"""Functions, and linear algebra of small matrices, that give the same bits on every machine.

Those of libm and numpy are chosen by what the processor can do (AVX2, AVX-512, FMA), and differ in their last bits; a
decision that was logged on one machine would not replay on another. These here consist of additions, multiplications,
divisions and square roots in a fixed order, which IEEE 754 rounds in one way only, and of exact steps (``frexp``,
``ldexp``, rounding to whole numbers). They are within one or two units in the last place of the true value.

The polynomials for float64 are those of fdlibm (Sun Microsystems, 1993).

BLAS and LAPACK add up in an order that depends on the processor and the number of threads; here each element is
computed by the same elementwise steps, one after the other. Many matrices are handled at once, along the last axis:
results of one do not depend on the others, nor on how many there are.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bandits import compiled

FloatArray = NDArray[np.float64]

LN2 = 0.6931471805599453
LOG2_E = 1.4426950408889634
# Two parts of log 2; the first has 32 bits, so that its product with an exponent is exact.
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_EXP = (
    1.66666666666666019037e-01,
    -2.77777777770155933842e-03,
    6.61375632143793436117e-05,
    -1.65339022054652515390e-06,
    4.13813679705723846039e-08,
)
_LOG = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
    1.818357216161805012e-01,
    1.531383769920937332e-01,
    1.479819860511658591e-01,
)
_SQRT_HALF = 0.7071067811865476
_SIN = (
    -1.66666666666666324348e-01,
    8.33333333332248946124e-03,
    -1.98412698298579493134e-04,
    2.75573137070700676789e-06,
    -2.50507602534068634195e-08,
    1.58969099521155010221e-10,
)
_COS = (
    4.16666666666666019037e-02,
    -1.38888888888741095749e-03,
    2.48015872894767294178e-05,
    -2.75573143513906633035e-07,
    2.08757232129817482790e-09,
    -1.13596475577881948265e-11,
)
EXP2_SCALE = 753.2122297233633
"""The factor of what ``scaled_exp2_float32`` returns."""
_EXP2_FLOAT32 = tuple(
    np.float32(c)
    for c in (7.28773553727623, 41.808648228090384, 180.9375306344387, 522.0867351782156, EXP2_SCALE)
)
"""A polynomial of degree 5 whose first coefficient is 1: ``EXP2_SCALE 2^f`` to within 8e-8 of it for ``|f| <= 1/2``."""
_ROUNDING_FLOAT32 = np.float32(1.5 * 2.0**23)
"""Added to a small float32 it leaves the nearest whole number in the lowest bits."""
_FLOAT32_BLOCK = 30_000
_LARGE = 2.0**28


def exp(x: FloatArray) -> FloatArray:
    """Return ``e^x`` of each element, for ``|x| <= 700``."""
    k = np.rint(x * LOG2_E)
    result: FloatArray = np.ldexp(_exp_near_zero(x - k * _LN2_HIGH, k * _LN2_LOW), k.astype(np.int32))
    return result


def exp_of(x: float) -> float:
    """Return ``e^x`` of one number, ``|x| <= 700``: the same bits as ``exp``."""
    k = round(x * LOG2_E)
    return math.ldexp(_exp_near_zero(x - k * _LN2_HIGH, k * _LN2_LOW), k)


def exp2_of(x: float) -> float:
    """Return ``2^x`` of one number, ``|x| <= 1000``; exact for whole numbers, and doubled by adding 1."""
    k = math.floor(x)
    return math.ldexp(exp_of((x - k) * LN2), k)


def _exp_near_zero(high: Any, low: Any) -> Any:
    """Return ``e^(high - low)`` for numbers, or arrays of them, up to ``log(2) / 2``."""
    r = high - low
    t = r * r
    c = r - t * (_EXP[0] + t * (_EXP[1] + t * (_EXP[2] + t * (_EXP[3] + t * _EXP[4]))))
    return 1.0 - ((low - (r * c) / (2.0 - c)) - high)


def log(x: FloatArray) -> FloatArray:
    """Return the natural logarithm of each element; all must be positive and finite."""
    if compiled.kernels is not None:
        logarithms = np.empty(x.shape)
        compiled.kernels.log(np.ascontiguousarray(x, dtype=np.float64), logarithms)
        return logarithms
    mantissa, exponent = np.frexp(x)
    small = mantissa < _SQRT_HALF
    mantissa += mantissa * small  # doubled where it is small
    result: FloatArray = _log_near_one(mantissa - 1.0, exponent - small.astype(np.float64))
    return result


def log_of(x: float) -> float:
    """Return the natural logarithm of one positive finite number: the same bits as ``log``."""
    mantissa, exponent = math.frexp(x)
    if mantissa < _SQRT_HALF:
        mantissa, exponent = 2.0 * mantissa, exponent - 1
    return float(_log_near_one(mantissa - 1.0, float(exponent)))


def _log_near_one(f: Any, k: Any) -> Any:
    """Return ``log((1 + f) 2^k)`` for numbers, or arrays of them, with ``1 + f`` from sqrt(1/2) to sqrt(2)."""
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    odd = w * (_LOG[1] + w * (_LOG[3] + w * _LOG[5]))
    even = z * (_LOG[0] + w * (_LOG[2] + w * (_LOG[4] + w * _LOG[6])))
    half = 0.5 * f * f
    return k * _LN2_HIGH - ((half - (s * (half + (odd + even)) + k * _LN2_LOW)) - f)


def power_of(base: float, exponent: float) -> float:
    """Return ``base ** exponent`` of a number that is not negative, to within some units of its 13th digit."""
    if exponent == 0.0:
        return 1.0
    if base == 0.0:
        return 0.0
    return math.sqrt(base) if exponent == 0.5 else exp_of(exponent * log_of(base))


def scaled_exp2_float32(t: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``EXP2_SCALE 2^t`` of each element, ``|t| <= 110``, within 3e-7. Overwrites ``t``.

    In as few passes as possible, since there are many draws: hence the scale, which saves one.
    """
    found = np.ascontiguousarray(t)
    flat = found.reshape(-1)
    space = np.empty(min(_FLOAT32_BLOCK, len(flat)), dtype=np.float32)
    exponents = np.empty(len(space), dtype=np.int32)
    for start in range(0, len(flat), _FLOAT32_BLOCK):
        part = flat[start : start + _FLOAT32_BLOCK]
        power, exponent = space[: len(part)], exponents[: len(part)]
        np.add(part, _ROUNDING_FLOAT32, out=power)
        # The lowest bits hold the whole part; moved, they are an exponent.
        np.left_shift(power.view(np.int32), 23, out=exponent)
        power -= _ROUNDING_FLOAT32
        part -= power
        np.add(part, _EXP2_FLOAT32[0], out=power)
        for coefficient in _EXP2_FLOAT32[1:]:
            power *= part
            power += coefficient
        np.add(power.view(np.int32), exponent, out=part.view(np.int32))
    return found


def sin_cos_of_turns(turns: float) -> tuple[float, float]:
    """Return sine and cosine of ``2 pi turns``, for ``0 <= turns <= 4``."""
    quarter = round(4.0 * turns)
    x = (turns - quarter / 4.0) * (2.0 * math.pi)  # at most an eighth of a turn; the difference is exact
    z = x * x
    sine = x + x * z * _horner(_SIN, z)
    cosine = 1.0 - (0.5 * z - z * z * _horner(_COS, z))
    rotated = ((sine, cosine), (cosine, -sine), (-sine, -cosine), (-cosine, sine))
    return rotated[quarter % 4]


def _horner(coefficients: tuple[float, ...], z: float) -> float:
    total = 0.0
    for coefficient in reversed(coefficients):
        total = total * z + coefficient
    return total


def asinh_of(x: float) -> float:
    """Return the inverse hyperbolic sine of one finite number, to within two units in the last place."""
    size = abs(x)
    if size > _LARGE:
        found = log_of(size) + LN2
    elif size > 2.0:
        found = log_of(2.0 * size + 1.0 / (math.sqrt(size * size + 1.0) + size))
    else:
        y = size + size * size / (1.0 + math.sqrt(1.0 + size * size))
        found = log_of(1.0 + y) + (y - ((1.0 + y) - 1.0)) / (1.0 + y)  # what 1 + y lost to rounding
    return math.copysign(found, x)


_BLOCK = 64
"""Matrices that are worked on at a time, so that they stay in the processor's cache."""
_MIN_PIVOT = 2.0**-48
"""The least part of a diagonal element that is left: below it, there is nothing but rounding."""


def sum_rows(terms: FloatArray) -> FloatArray:
    """Return the sum along the first axis, from the first row to the last: ``(k, n)`` -> ``(n,)``."""
    if not len(terms):
        return np.zeros(terms.shape[1:])
    if terms[0].size == 1:  # numpy would add up a single column in another order
        last: FloatArray = np.add.accumulate(terms, axis=0)[-1] + 0.0  # no sum is -0
        return last
    total: FloatArray = np.add.reduce(terms, axis=0)
    return total


def multiply(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the matrix product of ``(k, m)`` and ``(m, l)``, or ``(m,)``."""
    if b.ndim == 1:
        return sum_rows(a.T * b[:, None])
    if compiled.kernels is not None:
        product = np.empty((len(a), b.shape[1]))
        compiled.kernels.multiply(np.ascontiguousarray(a), np.ascontiguousarray(b), product)
        return product
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
    if compiled.kernels is not None:
        compiled.kernels.invert_factors(np.ascontiguousarray(a.transpose(2, 0, 1)), w, pivots)
        return w, pivots
    for start in range(0, count, _BLOCK):
        part = slice(start, start + _BLOCK)
        rows, pivots[:, part] = _invert_cholesky(a[:, :, part])
        w[:, :, part] = rows.transpose(1, 0, 2)
    return w, pivots


def log_determinants(factors: FloatArray) -> FloatArray:
    """Return the log determinants of ``W' W``: shape ``(m,)``, for factors of shape ``(D, D, m)``."""
    places = np.arange(len(factors))
    return 2.0 * sum_rows(log(factors[places, places]))


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
    if compiled.kernels is not None:
        product = np.empty(w.shape[1:])
        first, others = np.ascontiguousarray(common), np.ascontiguousarray(own) if k < len(w) else None
        compiled.kernels.apply_factors(np.ascontiguousarray(w), first, others, product)
        return product
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
    if compiled.kernels is not None:
        product = np.empty(y.shape)
        compiled.kernels.apply_transposed_factors(np.ascontiguousarray(w), np.ascontiguousarray(y), product)
        return product
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
