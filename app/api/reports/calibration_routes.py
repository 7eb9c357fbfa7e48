"""The report on calibration."""

from collections.abc import Iterator
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Query

from app.api.deps import Reader, State, problems
from app.api.reports.answers import Report, json_answer
from app.api.reports.calibration_schemas import CalibrationQuery, CalibrationReport, CalibrationRow
from app.api.reports.tables import FILES, Column, file_answer, row_columns
from decisioning.reporting.calibration_report import (
    SUMS,
    CalibrationDimension,
    calibration_bins,
    calibration_error,
    calibration_of,
    calibration_rows,
)
from decisioning.reporting.offer_report import ReportScope
from decisioning.reporting.store_calibration import calibration_counts

router = APIRouter(prefix="/v1/reports", tags=["reports"])


@router.get(
    "/calibration",
    response_model=CalibrationReport,
    response_model_exclude_unset=True,
    responses=FILES | problems(),
)
async def report_calibration(state: State, key: Reader, query: Annotated[CalibrationQuery, Query()]) -> Any:
    """Compare the propensities that policies gave with what came of the offers, in bins, and by group.

    Of offers whose reward window is closed alone. Left out are those of which no policy gave a propensity, imported
    history among them, and those that nobody confirmed to have been presented. Intervals take offers as independent:
    they are too narrow where customers come back often. `format=csv` and `format=parquet` have the `rows`.
    """
    by = list(dict.fromkeys(query.by))
    scope = ReportScope.of_days(query.time_zone, query.since, query.until, query.offer, query.placement)
    channels = {name: p.channel for name, p in state.current_catalogue().placements.items()}
    counted = await calibration_counts(
        state.engine, by, scope, query.bins, channels, query.policy, query.channel
    )

    if query.format != "json":

        def columns() -> Iterator[Column]:
            rows = [*calibration_rows(counted, by)]
            return row_columns(rows, CalibrationRow, {*get_args(CalibrationDimension)} - {*by})

        return await file_answer(columns, query.format, "calibration")

    def make() -> Report:
        bins = calibration_bins(counted)
        total = {name: sum(row[name] for row in counted if row["bin"] is None) for name in SUMS}
        report = {
            "by": by,
            "time_zone": query.time_zone,
            "since": query.since,
            "until": query.until,
            "error": calibration_error(bins),
            "total": calibration_of(total),
            "bins": bins,
        }
        return report, calibration_rows(counted, by)

    return await json_answer(make)
