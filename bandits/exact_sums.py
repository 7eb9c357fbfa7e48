"""Addition of arms' sums without rounding: what states are made of, and how they change.

Sums of multiples of the quantum are exact in float64 up to ``2 ** 33``. So that they stay exact for ever, a sum that
leaves ``[-2 ** 31, 2 ** 31)`` is kept in two parts: ``low`` in that range, and ``high``, a multiple of ``2 ** 32``. A
state with a high part anywhere is an array ``[low, high]`` of shape ``(2, width)``. Which parts there are follows from
the sum alone, so equal sums are equal arrays, in whatever order they were added up.
"""

import numpy as np

from bandits.policy import FloatArray

HIGH_STEP = 2.0**32
_MAX_LOW = HIGH_STEP / 2.0


def add_exactly(state: FloatArray | None, delta: FloatArray) -> FloatArray:
    """Return a state, or nothing, plus an amount of shape ``(width,)`` below ``2 ** 32``, with high parts as needed.

    As ``sum`` in ``storage/lua/3_arms.lua`` does it.
    """
    if state is None:
        low, high = delta, None
    elif state.ndim == 1:
        low, high = state + delta, None
    else:
        low, high = state[0] + delta, state[1]
    beyond = (low >= _MAX_LOW) | (low < -_MAX_LOW)
    if beyond.any():
        carry = np.where(beyond, np.floor((low + _MAX_LOW) / HIGH_STEP) * HIGH_STEP, 0.0)
        low, high = low - carry, carry if high is None else high + carry
    return low if high is None or not high.any() else np.stack((low, high))


def total_of(state: FloatArray) -> FloatArray:
    """Return the sums of a state, rounded once: shape ``(width,)``."""
    total: FloatArray = state if state.ndim == 1 else state[1] + state[0]
    return total


def exchange_exactly(total: FloatArray | None, old: FloatArray | None, new: FloatArray) -> FloatArray:
    """Return a total of states, or nothing, in which ``new`` takes the place of ``old`` (or is added, without one)."""
    low, high = _parts(new)
    if old is not None:
        old_low, old_high = _parts(old)
        low, high = low - old_low, high - old_high
    low, carried = _parts(add_exactly(total, low))
    high = high + carried
    return low if not high.any() else np.stack((low, high))


def _parts(state: FloatArray) -> tuple[FloatArray, FloatArray]:
    if state.ndim == 1:
        return state, np.zeros(len(state))
    return state[0], state[1]
