"""The report on a hold-out."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from app.api.deps import Reader, State, problems
from app.api.reports.holdout_schemas import HoldoutReport, HoldoutReportQuery
from app.api.reports.tables import CSV, FILES, PARQUET, write_csv, write_parquet
from app.api.schemas import Id
from decisioning.reporting.holdout_report import table_columns
from decisioning.reporting.holdout_service import HoldoutReports
from decisioning.reporting.offer_report import ReportScope
from decisioning.reporting.store_holdout_report import holdout_sides
from storage import clock

router = APIRouter(prefix="/v1/reports", tags=["reports"])


@router.get(
    "/holdout/{holdout_id}",
    response_model=HoldoutReport,
    response_model_exclude_unset=True,
    responses=FILES | problems(404),
)
async def report_holdout(
    holdout_id: Id, state: State, key: Reader, query: Annotated[HoldoutReportQuery, Query()]
) -> Any:
    """Compare the customers of a hold-out with all others: what offering is worth, with 95 % intervals.

    Customers count who asked, or for whom a trigger fired. Acceptances and value are of offers whose reward window is
    closed; events count from a customer's first decision or firing on, on both sides alike. Only the time since the
    last change of who is held out from what is counted. The customer is the independent unit. `by` divides the
    customers by that first one in the span, with a row for each part. `format=csv` and `format=parquet` have the
    measures, one a row, of each part with `by`.
    """
    scope = ReportScope.of_days(query.time_zone, query.since, query.until)
    reports = HoldoutReports(partial(holdout_sides, state.engine), state.catalogues, clock.now_ms)
    found = await reports.report(
        state.current_catalogue(),
        holdout_id,
        scope.since,
        scope.until,
        query.events(),
        query.by,
        query.time_zone,
    )
    if query.format != "json":
        write, media_type = (write_csv, CSV) if query.format == "csv" else (write_parquet, PARQUET)
        headers = {"Content-Disposition": f'attachment; filename="holdout-{holdout_id}.{query.format}"'}
        return Response(write(table_columns(found)), media_type=media_type, headers=headers)
    return HoldoutReport.model_validate(found)
