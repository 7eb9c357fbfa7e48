"""Reports."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from app.api.deps import Reader, State, problems
from app.api.schemas import Id
from bandits.intervals import wilson
from decisioning.stores.reports import acceptance

router = APIRouter(prefix="/v1/reports", tags=["reports"])

Dimension = Literal["offer", "policy", "placement", "hour", "day"]


@router.get("/acceptance", responses=problems())
async def acceptance_report(
    state: State,
    key: Reader,
    by: Annotated[list[Dimension], Query(min_length=1, max_length=5)] = ["policy"],  # noqa: B006
    start: Annotated[AwareDatetime | None, Query(alias="from")] = None,
    end: Annotated[AwareDatetime | None, Query(alias="to")] = None,
    placement: Annotated[Id | None, Query()] = None,
    policy: Annotated[Id | None, Query()] = None,
) -> dict[str, Any]:
    """Acceptance by offer, policy, placement and time of decision, with Wilson 95 % intervals.

    `observed` = accepted + rejected + ignored; `rate` = accepted / observed. What came late, and what nobody
    confirmed to have been presented (`unobserved`), is counted apart.
    """
    rows = await acceptance(state.engine, list(dict.fromkeys(by)), start, end, placement, policy)
    for row in rows:
        observed = row["accepted"] + row["rejected"] + row["ignored"]
        rate, low, high = wilson(row["accepted"], observed)
        row |= {"observed": observed, "rate": rate, "low": low, "high": high}
        if "policy" in row:
            name, _, version = row["policy"].rpartition("@")
            row |= {"policy": name, "version": int(version)}
    return {"by": by, "rows": rows}
