r"""Points at which the observations of a logistic regression are linearised anew.

A contribution is linearised at the estimate that was logged with its decision (``LogisticLink``). Where there was none
(imported history) that is a default, and one step from there may end far away. Further steps of iteratively reweighted
least squares mend it: fold all observations, take the posterior's mean for each of them, fold again with that.

``LinearisationPoints`` are those means, as the coefficients that they follow from: a pure function of an observation.
So contributions that were linearised there commute, and can be made, and taken back, again at any time.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bandits.errors import StateCodecError
from bandits.policy import SHARED, FloatArray, Observation, Policy
from bandits.regression.design import CandidateColumns, LogisticLink, sigmoid
from bandits.regression.posterior import Posterior
from bandits.regression.regression_policy import RegressionPolicy
from bandits.state import ArmTable
from bandits.sums import OfferGroups

CODEC_VERSION = 1
_HEADER = struct.Struct("<III")
_MIN_CHANCE = 1e-6
_NEVER_OBSERVED = 2**32 - 1
"""The number of no offer: its posterior is what is expected of an offer that nothing is known of."""


@dataclass(frozen=True, slots=True)
class LinearisationPoints:
    """Coefficients of the columns by offer number, shape ``(n, D)``; the first row, ``SHARED``, is for all others."""

    offers: tuple[int, ...]
    coefficients: FloatArray
    _rows: dict[int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_rows", {offer: row for row, offer in enumerate(self.offers)})

    def estimate(self, policy: RegressionPolicy, observation: Observation) -> float:
        """Return the chance at which an observation is linearised: in (0, 1), with the precision of float32."""
        z = policy.design.row(observation.x, observation.base_propensity)
        terms = self.coefficients[self._rows.get(observation.offer, 0)] * z
        # Added up exactly and rounded, so that it is the same wherever it is computed.
        chance = float(sigmoid(np.array(math.fsum(terms.tolist()))))
        return float(np.float32(min(max(chance, _MIN_CHANCE), 1.0 - _MIN_CHANCE)))

    def pack(self) -> bytes:
        """Return the stored form: version, number of rows, columns; offers (uint32); coefficients (float64)."""
        rows, columns = self.coefficients.shape
        offers = np.array(self.offers, dtype="<u4").tobytes()
        return _HEADER.pack(CODEC_VERSION, rows, columns) + offers + self.coefficients.astype("<f8").tobytes()

    @classmethod
    def unpack(cls, blob: bytes) -> "LinearisationPoints":
        """Read the stored form. Raises ``StateCodecError`` if it is none."""
        if len(blob) < _HEADER.size:
            raise StateCodecError("linearisation points without their header")
        version, rows, columns = _HEADER.unpack_from(blob)
        if version != CODEC_VERSION or len(blob) != _HEADER.size + rows * (4 + 8 * columns):
            raise StateCodecError(f"linearisation points of version {version} with {len(blob)} bytes")
        offers = np.frombuffer(blob, dtype="<u4", count=rows, offset=_HEADER.size)
        coefficients = np.frombuffer(blob, dtype="<f8", offset=_HEADER.size + 4 * rows)
        return cls(tuple(offers.tolist()), coefficients.astype(np.float64).reshape(rows, columns))


def can_relinearise(policy: Policy) -> bool:
    """Return whether observations of a policy are linearised somewhere, so that another point changes its arms."""
    return isinstance(policy, RegressionPolicy) and isinstance(policy.link, LogisticLink)


def linearisation_points(
    policy: RegressionPolicy, table: ArmTable, at_s: float, groups: OfferGroups | None = None
) -> LinearisationPoints:
    """Return the posterior means of all arms of a table at a time (Unix seconds). ``groups``: those of offers now."""
    offers = table.offers()
    numbers = np.array([_NEVER_OBSERVED, *offers], dtype=np.uint32)
    sums = table.read(policy, numbers, policy.decay.tick(at_s), groups=groups)
    posterior = policy.regression.prepare(sums).posterior
    coefficients = np.column_stack([_coefficient(policy, posterior, j) for j in range(policy.design.width)])
    return LinearisationPoints((SHARED, *offers), np.ascontiguousarray(coefficients))


def _coefficient(policy: RegressionPolicy, posterior: Posterior, column: int) -> FloatArray:
    """Return the posterior mean of the parameter of one column: shape ``(n,)``."""
    design, count = policy.design, len(posterior.own)
    common, own = np.zeros(design.common), np.zeros((design.width - design.common, count))
    if column < design.common:
        common[column] = 1.0
    else:
        own[column - design.common] = 1.0
    z = CandidateColumns(common, own if design.propensity else None)
    return posterior.mean(posterior.project(z))


def largest_move(
    policy: RegressionPolicy,
    before: LinearisationPoints | None,
    after: LinearisationPoints,
    observations: Sequence[Observation],
) -> float:
    """Return by how much the estimates of observations differ at most; without ``before`` from where they were."""
    moves = (
        abs(
            after.estimate(policy, seen)
            - (policy.linearised_at(seen) if before is None else before.estimate(policy, seen))
        )
        for seen in observations
    )
    return max(moves, default=0.0)
