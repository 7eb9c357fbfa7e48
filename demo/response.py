"""The answers of the demo's simulated households: the world that the live visitors live in.

This is not the propensity model and shares no fit with it. It is the truth of a simulated world, so it may
use the whole year: every exposure, every redemption, and habits over all transactions. It is a ridge
logistic regression on

- what holds for all campaigns: the columns of the propensity model, as of the end of the year;
- an effect of its own for each campaign, and its own slopes on the households' spend on the campaign's
  products and on past redemptions. They are what a policy can find out by trying and what the precomputed
  propensities miss.

The odds of all answers are multiplied by one factor, such that a random household shown a random live offer accepts as
often as the average exposure in the data did. Of those who do not accept, a fixed share says no.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from demo.features import COLUMNS, design_matrix, habits_before
from demo.journey import DATA_END, DATA_START, Floats, Journey
from demo.logistic import fit_logistic, sigmoid

SHARED_PENALTY = 2.0
CAMPAIGN_PENALTY = 2.0
SLOPE_PENALTY = 4.0
SLOPES = ("log_coupon_spend", "log_past_redemptions")
# The acceptance of exposures in the data, 12.0 %. Real coupons are redeemed over weeks and by few; visitors answer at
# once, so that half a minute shows something.
TARGET_ACCEPTANCE = 792 / 6589
REJECTION_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class AnswerModel:
    """P(accept) of every household for every offer (households x campaigns), after `odds_factor`."""

    acceptance: Floats
    odds_factor: float


def true_log_odds(journey: Journey) -> Floats:
    """Compute the log odds of accepting as fitted on all exposures, before scaling. Shape: households x campaigns."""
    end = DATA_END + np.timedelta64(1, "D")
    habits = habits_before(journey, end, window_days=int((end - DATA_START).astype(np.int64)))
    exposures, count = journey.exposures, len(journey.campaigns)
    facing = [design_matrix(journey, habits, end, campaign) for campaign in range(count)]
    fitted = np.stack(facing, axis=1)[exposures.household, exposures.campaign]
    slopes = [COLUMNS.index(name) for name in SLOPES]
    mean, spread = fitted.mean(axis=0), fitted.std(axis=0)

    def columns(rows: Floats, campaign: npt.NDArray[np.int64]) -> Floats:
        scaled = (rows - mean) / spread
        own = (campaign[:, None] == np.arange(count)).astype(np.float64)
        return np.hstack([scaled, own, *(own * scaled[:, [slope]] for slope in slopes)])

    sizes = (
        (SHARED_PENALTY, len(COLUMNS)),
        (CAMPAIGN_PENALTY, count),
        (SLOPE_PENALTY, count * len(slopes)),
    )
    penalty = np.concatenate([np.full(size, weight) for weight, size in sizes])
    accepted = ~np.isnat(exposures.accepted)
    model = fit_logistic(columns(fitted, exposures.campaign), accepted, penalty, standardise=False)
    everyone = np.ones(len(journey.households), dtype=np.int64)
    return np.column_stack(
        [model.log_odds(columns(rows, campaign * everyone)) for campaign, rows in enumerate(facing)]
    )


def build_answer_model(journey: Journey, live: npt.NDArray[np.bool_]) -> AnswerModel:
    """Fit and scale the answers. `live` (campaigns) marks the offers whose mean acceptance is the target.

    Raises ValueError when no offer is live.
    """
    if not live.any():
        raise ValueError("no offer is live: there is nothing to scale the answers to")
    log_odds = true_log_odds(journey)
    shift = _shift_to_mean(log_odds[:, live], TARGET_ACCEPTANCE)
    return AnswerModel(sigmoid(log_odds + shift), float(np.exp(shift)))


def _shift_to_mean(log_odds: Floats, target: float) -> float:
    """Find the constant to add to `log_odds` for their mean probability to be `target`, by bisection."""
    low, high = -20.0, 20.0
    for _ in range(80):
        middle = (low + high) / 2
        if float(sigmoid(log_odds + middle).mean()) < target:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def draw_answer(acceptance: float, draw: float) -> str | None:
    """Return `accepted`, `rejected`, or None for silence, given P(accept) and a uniform draw in [0, 1)."""
    if draw < acceptance:
        return "accepted"
    if draw < acceptance + (1 - acceptance) * REJECTION_SHARE:
        return "rejected"
    return None
