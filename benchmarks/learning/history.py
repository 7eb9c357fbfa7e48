"""``python -m benchmarks.learning.history``: what the default expects after imported history of known acceptance rates.

History has no estimates of ours, so its contributions are linearised at the propensities that came with it, or at the
default: in one pass, and in as many as it takes until the estimates stand (``decisioning.learning.linearisation``).
"""

import math

import numpy as np

from bandits.policy import Candidates, FloatArray, PolicySpec
from bandits.registry import build_policy
from bandits.regression.regression_policy import RegressionPolicy
from bandits.state import ArmTable
from decisioning.learning.linearisation import Relinearisation
from decisioning.model.deciders import HISTORY
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition

TRUTHS = (0.32, 0.10, 0.02)
VALUES = np.array([1.0, 5.0, 10.0])
ROWS = 20_000
NOW_MS = 1_750_000_000_000
ROW_MS = 1000
SPEC = PolicySpec("calibrated", 1, "calibrated")


def history(rows: int, propensity: float, seed: int = 0) -> list[Outcome]:
    """``rows`` outcomes of each offer, a second apart, up to now."""
    accepted = np.random.default_rng(seed).random((rows, len(TRUTHS))) < TRUTHS
    return [
        Outcome(
            bucket=0,
            position=StreamPosition.START,
            decision_id=f"{number}-{row}",
            decided_at_ms=NOW_MS - (rows - row) * ROW_MS,
            offer_id=str(number),
            offer=number,
            outcome="accepted" if accepted[row, number - 1] else "rejected",
            value=None,
            at_ms=NOW_MS - (rows - row) * ROW_MS,
            recorded_ms=NOW_MS,
            late=False,
            reward=float(accepted[row, number - 1]),
            base_propensity=propensity,
            policy=HISTORY,
            placement="history",
        )
        for row in range(rows)
        for number in range(1, len(TRUTHS) + 1)
    ]


def estimates(policy: RegressionPolicy, table: ArmTable, propensity: float) -> FloatArray:
    """Expectations of the offers by arms for a customer with these propensities: shape ``(n,)``."""
    offers = np.arange(1, len(TRUTHS) + 1, dtype=np.uint32)
    sums = table.read(policy, offers, policy.decay.tick(NOW_MS / 1000))
    known = np.full(len(offers), propensity, dtype=np.float32)
    return policy.propensities(policy.prepare(sums), Candidates(offers, known, np.ones(len(offers))))


def main() -> None:
    """Print a line for each kind of history, and of folding."""
    policy = build_policy(SPEC)
    assert isinstance(policy, RegressionPolicy)
    print(f"{ROWS} rows of each offer, acceptance {TRUTHS}, values {VALUES.tolist()}")
    print("propensity  passes  estimates              calibration error  ranks by P x V")
    for propensity in (math.nan, 0.5, 0.02):
        outcomes = history(ROWS, propensity)
        passes = Relinearisation(SPEC, policy, NOW_MS)
        stands = False
        while not stands:
            number = passes.passes
            passes.fold(outcomes)
            found = estimates(policy, passes.table, propensity)
            stands = passes.end_pass()
            if number == 1 or stands:
                error = np.abs(found - TRUTHS).mean()
                ranks = (np.argsort(found * VALUES) == np.argsort(TRUTHS * VALUES)).all()
                shown = "  ".join(f"{p:.4f}" for p in found)
                print(
                    f"{propensity:10}  {number:6}  {shown}  {error:17.4f}  {'as the truth' if ranks else 'wrongly'}"
                )


if __name__ == "__main__":
    main()
