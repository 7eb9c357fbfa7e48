"""The acceptance report, and counts of outcomes."""

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.api.deps import Reader, State, problems
from app.api.reports.answers import Report, json_answer
from app.api.reports.schemas import (
    COLUMNS_OF,
    AcceptanceQuery,
    AcceptanceReport,
    AcceptanceRow,
    OutcomeQuery,
    OutcomeReport,
    OutcomeRow,
)
from app.api.reports.tables import FILES, Column, file_answer, row_columns
from decisioning.evaluation.acceptance_report import add_rates
from decisioning.evaluation.store_reports import acceptance
from decisioning.reporting.store_outcome_report import count_outcomes

router = APIRouter(prefix="/v1/reports", tags=["reports"])


@router.get(
    "/acceptance",
    response_model=AcceptanceReport,
    response_model_exclude_unset=True,
    responses=FILES | problems(),
)
async def read_acceptance(state: State, key: Reader, query: Annotated[AcceptanceQuery, Query()]) -> Any:
    """Acceptance by offer, policy, placement and time of decision, with Wilson 95 % intervals.

    `accepted` and `rejected` count what has been told so far, but `rate` = accepted_closed / observed is of offers
    whose reward window is closed: `observed` = accepted_closed + rejected_closed + ignored. An acceptance is told at
    once and silence only when the window closes, so what is known of `open` offers is no fair sample. `decided` =
    observed + unobserved + open. What came late, and what nobody confirmed to have been presented (`unobserved`), is
    counted apart. By segment, who is in several counts in each.

    By group, each group is compared with the champion's customers who are alike in all else that is grouped by (but for
    the policy). The interval takes offers as independent: it is too narrow where customers come back often.

    `format=csv` and `format=parquet` have the `rows`.
    """
    by = list(dict.fromkeys(query.by))
    rows = await acceptance(state.engine, by, query.start, query.end, query.placement, query.policy)

    if query.format != "json":
        left_out = {name for dimension in {*COLUMNS_OF} - {*by} for name in COLUMNS_OF[dimension]}

        def columns() -> Iterator[Column]:
            add_rates(rows, by)
            return row_columns(rows, AcceptanceRow, left_out)

        return await file_answer(columns, query.format, "acceptance")

    def make() -> Report:
        add_rates(rows, by)
        names = [name for name in AcceptanceRow.model_fields if name in rows[0]] if rows else []
        return {"by": by}, ({name: row[name] for name in names} for row in rows)

    return await json_answer(make)


@router.get("/outcomes", responses=problems())
async def report_outcomes(
    state: State, key: Reader, query: Annotated[OutcomeQuery, Query()]
) -> OutcomeReport:
    """Count the outcomes that were told of offers, with what they earned where outcomes are declared.

    `earned` sums up what each outcome added to what the offer of its decision had earned before, so a quote that was
    accepted later counts with what it was worth until then, and the acceptance with the rest.
    """
    rows = await count_outcomes(state.engine, query.start, query.end, query.placement)
    return OutcomeReport(outcomes=[OutcomeRow(**row) for row in rows])
