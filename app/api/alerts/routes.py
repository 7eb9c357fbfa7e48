"""Alerts that fire, or have fired; they are declared at ``/v1/alert-rules``."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from app.api.alerts.schemas import AlertOut, AlertQuery, AlertsOut, DeliveryOut
from app.api.deps import Reader, State, problems
from app.api.schemas import answer_of
from decisioning.reporting.store_alerts import AlertStore, is_given_up

router = APIRouter(prefix="/v1", tags=["reports"])


@router.get("/alerts", responses=problems())
async def read_alerts(state: State, key: Reader, query: Annotated[AlertQuery, Query()]) -> AlertsOut:
    """Show the alerts that fire, and those that have been resolved in the last 30 days.

    With what was found, since when, and what became of the request to the webhook. A worker looks every 30 s.
    """
    rows = await AlertStore(state.engine).shown(query.state)
    return AlertsOut(alerts=[_alert_out(row) for row in rows])


def _alert_out(row: Any) -> AlertOut:
    delivery = None
    if row.delivery_id is not None:
        told: Literal["waiting", "delivered", "given_up"] = "waiting"
        if row.delivered_at is not None:
            told = "delivered"
        elif is_given_up(row.attempts, row.next_at, row.delivered_at):
            told = "given_up"
        delivery = answer_of(DeliveryOut, row, webhook_id=row.delivery_id, state=told)
    return answer_of(AlertOut, row, delivery=delivery)
