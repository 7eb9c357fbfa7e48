"""The history import file: what the grocer itself sent after the cut-off, and what came of it.

One row per household x campaign, in time order. The decision is dated at the start of the campaign. A
household that redeemed accepted on the day of its first redemption, worth the sales of its coupons' products; all
others expired when the campaign ended, or on the last day of the data where a campaign ran on.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from demo.journey import CUT_OFF, DATA_END, Floats, Journey
from demo.names import MAILER, customer_id, offer_id
from demo.offers import acceptance_sales, moved, shift_to

# By then seven in ten of all acceptances have come in, so the four older campaigns that still ran at the end are
# understated, by about a quarter.
MATURITY_DAYS = 21


@dataclass(frozen=True, slots=True)
class HistoryCounts:
    """Rows of the file, and the exposures after the cut-off that are not in it.

    `cut_short` of the expired ones belong to campaigns that ran beyond the end of the data.
    """

    rows: int
    accepted: int
    expired: int
    cut_short: int
    too_young: int
    too_young_accepted: int


def write_history(journey: Journey, scores: Floats, today: date, path: Path) -> HistoryCounts:
    """Write the Parquet file with dates such that the data ends `today`; `scores` is households x campaigns.

    Columns: customer_id, offer_id, decided_at, outcome, occurred_at (ISO 8601, midnight UTC), value
    (dollars, absent unless accepted and known), placement and propensity, the one that was precomputed at
    the cut-off.
    """
    exposures, campaigns = journey.exposures, journey.campaigns
    start, end = campaigns.start[exposures.campaign], campaigns.end[exposures.campaign]
    later = start >= CUT_OFF
    # Left out whole: keeping only the households that had redeemed already would make a campaign look irresistible.
    young = later & (end > DATA_END) & (DATA_END - start < np.timedelta64(MATURITY_DAYS, "D"))
    chosen = np.flatnonzero(later & ~young)
    order = np.lexsort((exposures.household[chosen], exposures.campaign[chosen], start[chosen]))
    rows = chosen[order]
    accepted = ~np.isnat(exposures.accepted[rows])
    # Silence is known the day after, as far as the data go.
    closed = np.minimum(end[rows] + np.timedelta64(1, "D"), DATA_END)
    occurred = np.where(accepted, exposures.accepted[rows], closed)

    shift = shift_to(today)
    sales = acceptance_sales(journey, journey.redemptions)
    who, what = exposures.household[rows], exposures.campaign[rows]
    values = [
        round(sales[key], 2) if won and key in sales else None
        for key, won in zip(zip(who.tolist(), what.tolist(), strict=True), accepted.tolist(), strict=True)
    ]
    table = pa.table(
        {
            "customer_id": [customer_id(number) for number in journey.households[who]],
            "offer_id": [offer_id(number) for number in campaigns.id[what]],
            "decided_at": [moved(day, shift).isoformat() for day in start[rows]],
            "outcome": np.where(accepted, "accepted", "expired").tolist(),
            "occurred_at": [moved(day, shift).isoformat() for day in occurred],
            "value": pa.array(values, pa.float64()),
            "placement": [MAILER] * len(rows),
            "propensity": scores[who, what],
        }
    )
    pq.write_table(table, path)
    return HistoryCounts(
        rows=len(rows),
        accepted=int(accepted.sum()),
        expired=int((~accepted).sum()),
        cut_short=int((~accepted & (end[rows] > DATA_END)).sum()),
        too_young=int(young.sum()),
        too_young_accepted=int((~np.isnat(exposures.accepted[young])).sum()),
    )
