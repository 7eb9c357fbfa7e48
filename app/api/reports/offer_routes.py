"""The report on offers: as JSON, CSV or Parquet."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from app.api.deps import Reader, State, problems
from app.api.reports.answers import Report, json_answer
from app.api.reports.offer_schemas import OfferReport, OfferReportQuery
from app.api.reports.tables import CSV, FILES, PARQUET, write_csv, write_parquet
from decisioning.reporting.offer_report import ReportScope, report_columns, rows_of, table_columns
from decisioning.reporting.store_offer_report import offer_counts

router = APIRouter(prefix="/v1/reports", tags=["reports"])


@router.get(
    "/offers",
    response_model=OfferReport,
    response_model_exclude_unset=True,
    responses=FILES | problems(),
)
async def report_offers(state: State, key: Reader, query: Annotated[OfferReportQuery, Query()]) -> Any:
    """Report on offers, by time, offer, placement, customers and policy, with 95 % intervals.

    Everything counts offers whose reward window is closed, but `open`, which says how many are not. Lift is against
    the customers of the control group `against` in the same row but for the policy; where `by` has no `control_group`,
    the champion's and the canary's customers together are compared with it. Intervals take offers as independent: they
    are too narrow where customers come back often.

    Compared with are other ways to choose; what offering is worth against no contact at all, `GET
    /v1/reports/holdout/{holdout_id}` tells.
    """
    by = list(dict.fromkeys(query.by))
    zone = query.time_zone
    scope = ReportScope.of_days(zone, query.since, query.until, query.offer, query.placement)
    catalogue = state.current_catalogue()
    goals = {group_id: group.goal for group_id, group in catalogue.groups.items()}
    offers = {o.offer_id: (o.group, goals[o.group]) for o in catalogue.offers.values()}
    channels = {placement_id: p.channel for placement_id, p in catalogue.placements.items()}
    counted = await offer_counts(state.engine, by, scope, offers, channels)
    if query.format != "json":
        write, media_type = (write_csv, CSV) if query.format == "csv" else (write_parquet, PARQUET)
        content = await asyncio.to_thread(
            lambda: write(table_columns(report_columns(counted, by, query.against), by))
        )
        headers = {"Content-Disposition": f'attachment; filename="offers.{query.format}"'}
        return Response(content, media_type=media_type, headers=headers)

    def make() -> Report:
        columns = report_columns(counted, by, query.against)
        report = {
            "by": by,
            "time_zone": zone,
            "since": query.since,
            "until": query.until,
            "against": query.against,
            "open": sum(columns["open"]),
        }
        return report, rows_of(columns)

    return await json_answer(make)
