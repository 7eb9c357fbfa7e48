"""The demo's precomputed propensities: one small logistic regression.

It is fitted only on what was over by the cut-off: exposures of campaigns that began after the data did and
ended before it, 2,196 of the 2,343, of which 239 were accepted. Each row describes the household as of the day its
campaign began, so no outcome can leak into its own row. Columns, window and penalty were not tuned: of the choices
tried, all that kept demographics and past redemptions reached an AUC of 0.77 to 0.78 on the later exposures.

The fitted model scores every household x offer as of the cut-off. That is what a data mart would deliver:
one file, computed once, that knows neither later shopping nor later redemptions. `quality` says how well it
did on the exposures that came later. Campaigns that ran beyond the end of the data count their late
redeemers as refusals.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from demo.features import COLUMNS, design_matrix, habits_before
from demo.journey import CUT_OFF, DATA_START, Floats, Journey
from demo.logistic import LogisticModel, area_under_curve, fit_logistic, log_loss
from demo.names import customer_ids, offer_id

PENALTY = 10.0


@dataclass(frozen=True, slots=True)
class Quality:
    """The quality of the propensities on exposures after the cut-off; `base_*`: of the fitted rows' rate."""

    fitted_on: int
    fitted_accepted: int
    judged_on: int
    judged_accepted: int
    auc: float
    auc_by_type: dict[str, float]
    log_loss: float
    base_log_loss: float
    mean_propensity: float
    acceptance: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """The model, whose coefficients belong to the standardised COLUMNS, and what it was fitted on."""

    model: LogisticModel
    rows: int
    accepted: int

    def coefficients(self) -> dict[str, float]:
        """Map each standardised column to its weight."""
        return dict(zip(COLUMNS, self.model.weights.tolist(), strict=True))


def training_rows(journey: Journey) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Collect the exposures over by the cut-off, each as of the day its campaign began: (n x COLUMNS, n outcomes)."""
    rows, outcomes = [], []
    for campaign in range(len(journey.campaigns)):
        start, end = journey.campaigns.start[campaign], journey.campaigns.end[campaign]
        # Three campaigns were sent out before the first transaction: of their 147 exposures nothing was known.
        if start <= DATA_START or end >= CUT_OFF:
            continue
        here = journey.exposures.campaign == campaign
        facing = design_matrix(journey, habits_before(journey, start), start, campaign)
        rows.append(facing[journey.exposures.household[here]])
        outcomes.append(journey.exposures.accepted[here] < CUT_OFF)
    return np.vstack(rows), np.concatenate(outcomes)


def fit_propensity(journey: Journey) -> Fitted:
    """Fit the model. Raises NotConverged."""
    rows, outcomes = training_rows(journey)
    return Fitted(fit_logistic(rows, outcomes, PENALTY), len(outcomes), int(outcomes.sum()))


def propensities(journey: Journey, fitted: Fitted) -> Floats:
    """Score P(accept) of every household for every campaign, as of the cut-off. Shape: households x campaigns."""
    habits = habits_before(journey, CUT_OFF)
    scores = [
        fitted.model.probability(design_matrix(journey, habits, CUT_OFF, campaign))
        for campaign in range(len(journey.campaigns))
    ]
    return np.column_stack(scores)


def quality(journey: Journey, fitted: Fitted, scores: Floats) -> Quality:
    """Judge `scores` (households x campaigns) on campaigns that began on or after the cut-off."""
    exposures, campaigns = journey.exposures, journey.campaigns
    later = campaigns.start[exposures.campaign] >= CUT_OFF
    score = scores[exposures.household[later], exposures.campaign[later]]
    accepted = ~np.isnat(exposures.accepted[later])
    kinds = np.array(campaigns.type)[exposures.campaign[later]]
    base = np.full(len(score), fitted.accepted / fitted.rows)
    return Quality(
        fitted_on=fitted.rows,
        fitted_accepted=fitted.accepted,
        judged_on=len(score),
        judged_accepted=int(accepted.sum()),
        auc=area_under_curve(score, accepted),
        auc_by_type={kind: area_under_curve(score[kinds == kind], accepted[kinds == kind]) for kind in "ABC"},
        log_loss=log_loss(score, accepted),
        base_log_loss=log_loss(base, accepted),
        mean_propensity=float(score.mean()),
        acceptance=float(accepted.mean()),
    )


def write_propensities(journey: Journey, scores: Floats, path: Path) -> int:
    """Write the bulk import file (customer_id, offer_id, propensity) by customer; return the row count."""
    households, campaigns = scores.shape
    offers = [offer_id(number) for number in journey.campaigns.id]
    table = pa.table(
        {
            "customer_id": pa.array(np.repeat(customer_ids(journey), campaigns)),
            "offer_id": pa.array(offers * households),
            "propensity": pa.array(scores.reshape(-1)),
        }
    )
    pq.write_table(table, path)
    return int(table.num_rows)
