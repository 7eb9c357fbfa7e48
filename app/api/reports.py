"""Reports."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.deps import Reader, State, problems
from app.api.schemas_reports import AcceptanceQuery, AcceptanceReport, AcceptanceRow
from bandits.intervals import wilson
from decisioning.stores.reports import acceptance

router = APIRouter(prefix="/v1/reports", tags=["reports"])


@router.get("/acceptance", responses=problems(), response_model_exclude_unset=True)
async def read_acceptance(
    state: State, key: Reader, query: Annotated[AcceptanceQuery, Query()]
) -> AcceptanceReport:
    """Acceptance by offer, policy, placement and time of decision, with Wilson 95 % intervals.

    `observed` = accepted + rejected + ignored; `rate` = accepted / observed. What came late, and what nobody
    confirmed to have been presented (`unobserved`), is counted apart. By segment, who is in several counts in each.
    """
    by = list(dict.fromkeys(query.by))
    rows = await acceptance(state.engine, by, query.start, query.end, query.placement, query.policy)
    for row in rows:
        observed = row["accepted"] + row["rejected"] + row["ignored"]
        rate, low, high = wilson(row["accepted"], observed)
        row |= {"observed": observed, "rate": rate, "low": low, "high": high}
        if "policy" in row:
            name, _, version = row["policy"].rpartition("@")
            row |= {"policy": name, "version": int(version)}
    return AcceptanceReport(by=by, rows=[AcceptanceRow(**row) for row in rows])
