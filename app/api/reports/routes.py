"""Reports."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.api.deps import Reader, State, problems
from app.api.reports.schemas import AcceptanceQuery, AcceptanceReport, AcceptanceRow
from bandits.intervals import newcombe, wilson
from bandits.policy import PolicyKey
from decisioning.evaluation.store_reports import acceptance

router = APIRouter(prefix="/v1/reports", tags=["reports"])


@router.get("/acceptance", responses=problems(), response_model_exclude_unset=True)
async def read_acceptance(
    state: State, key: Reader, query: Annotated[AcceptanceQuery, Query()]
) -> AcceptanceReport:
    """Acceptance by offer, policy, placement and time of decision, with Wilson 95 % intervals.

    `observed` = accepted + rejected + ignored; `rate` = accepted / observed. What came late, and what nobody
    confirmed to have been presented (`unobserved`), is counted apart. By segment, who is in several counts in each.

    By group, each group is compared with the champion's customers who are alike in all else that is grouped by (but for
    the policy). The interval takes offers as independent: it is too narrow where customers come back often.
    """
    by = list(dict.fromkeys(query.by))
    rows = await acceptance(state.engine, by, query.start, query.end, query.placement, query.policy)
    for row in rows:
        observed = row["accepted"] + row["rejected"] + row["ignored"]
        rate, low, high = wilson(row["accepted"], observed)
        row |= {"observed": observed, "rate": rate, "low": low, "high": high}
        if "policy" in row:
            policy = PolicyKey(row["policy"])
            row |= {"policy": policy.name, "version": policy.version}
    if "group" in by:
        _compare(rows, [d for d in by if d not in ("group", "policy")])
    return AcceptanceReport(by=by, rows=[AcceptanceRow(**row) for row in rows])


def _compare(rows: list[dict[str, Any]], alike: list[str]) -> None:
    """Add to each row how it differs from the champion's rows that have the same ``alike``."""
    names = ["offer_id" if dimension == "offer" else dimension for dimension in alike]
    champions: dict[tuple[Any, ...], tuple[int, int]] = {}
    for row in rows:
        if row["group"] == "champion":
            key = tuple(row[name] for name in names)
            accepted, observed = champions.get(key, (0, 0))
            champions[key] = (accepted + row["accepted"], observed + row["observed"])
    for row in rows:
        accepted, observed = champions.get(tuple(row[name] for name in names), (0, 0))
        difference, low, high = newcombe(row["accepted"], row["observed"], accepted, observed)
        lift = None if difference is None or not accepted else difference / (accepted / observed)
        row |= {"lift": lift, "difference": difference, "difference_low": low, "difference_high": high}
