"""Alerts, as they travel."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.api.schemas import Parameters, shown
from decisioning.catalog.alert import Watched

AlertState = Literal["firing", "resolved"]


class AlertQuery(Parameters):
    """The alerts to show."""

    state: AlertState | None = Field(None, description="these alone; all if left out")


class DeliveryOut(BaseModel):
    """The last request to the webhook."""

    webhook_id: str = Field(description="the `webhook-id` of the request: the same in every attempt")
    state: Literal["waiting", "delivered", "given_up"]
    attempts: int
    delivered_at: datetime | None
    next_at: datetime | None = Field(description="when it is sent again")
    error: str | None = Field(description="why the last attempt failed")


class AlertOut(BaseModel):
    """An alert, of one placement, offer, capacity, trigger or the archive."""

    alert_id: str
    subject: str
    watches: Watched
    state: AlertState
    since: datetime = Field(description="when it began to fire, or was resolved")
    looked_at: datetime
    value: float
    threshold: float
    message: str
    delivery: DeliveryOut | None = Field(description="null if there was no webhook to tell")


class AlertsOut(BaseModel):
    """Those that fire first, the newest first; at most 1,000."""

    model_config = shown(
        {
            "alerts": [
                {
                    "alert_id": "archive-behind",
                    "subject": "archive",
                    "watches": "archive_backlog",
                    "state": "firing",
                    "since": "2026-03-08T09:00:00Z",
                    "looked_at": "2026-03-08T09:05:00Z",
                    "value": 312.0,
                    "threshold": 60.0,
                    "message": "the oldest record that is not archived has waited for 312 s",
                    "delivery": {
                        "webhook_id": "msg_2f6c0e3b8a7d4c1e9b5f0a12",
                        "state": "waiting",
                        "attempts": 2,
                        "delivered_at": None,
                        "next_at": "2026-03-08T09:06:00Z",
                        "error": "answered 503",
                    },
                }
            ]
        }
    )

    alerts: list[AlertOut]
