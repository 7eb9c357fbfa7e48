"""Alerts in Postgres: their states, and the requests that tell webhooks of their turns."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from secrets import token_hex
from typing import Any

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.catalog.alert import Alert
from decisioning.reporting.alerting import AlertChange
from storage.clock import to_iso
from storage.locks import ALERT_LOCK
from storage.postgres import transaction

RETRY_S = (5, 60, 300, 1800, 7200, 21_600, 43_200)
"""Pauses after failed requests; behind the last, a request is given up: after about 21 hours."""
LEASE_S = 60
"""A request whose worker died is sent again after so long."""
KEPT_DAYS = 30
MAX_SHOWN = 1000

_KNOWN = text("SELECT subject, state = 'firing' AS firing FROM alerts WHERE alert_id = :alert_id")
_KEEP = text("""
INSERT INTO alerts AS a (alert_id, subject, watches, state, value, threshold, message)
VALUES (:alert_id, :subject, :watches, :state, :value, :threshold, :message)
ON CONFLICT (alert_id, subject) DO UPDATE SET watches = excluded.watches, state = excluded.state,
    since = CASE WHEN a.state = excluded.state THEN a.since ELSE now() END, looked_at = now(),
    value = excluded.value, threshold = excluded.threshold, message = excluded.message
""")
_TELL = text("""
INSERT INTO alert_deliveries (delivery_id, alert_id, subject, body) VALUES (:delivery_id, :alert_id, :subject, :body)
""")
_FORGET = (
    "DELETE FROM alerts WHERE NOT alert_id = ANY(:alert_ids)"
    f" OR state = 'resolved' AND since < now() - interval '{KEPT_DAYS} days'",
    "DELETE FROM alert_deliveries WHERE NOT alert_id = ANY(:alert_ids)"
    f" OR created_at < now() - interval '{KEPT_DAYS} days'",
)
# Of one alert and subject only the oldest that is open, so that a receiver gets them in their order.
_TAKE = text(f"""
UPDATE alert_deliveries SET attempts = attempts + 1, next_at = now() + interval '{LEASE_S} s'
WHERE delivery_id = (
    SELECT d.delivery_id FROM alert_deliveries AS d
    WHERE d.next_at <= now() AND NOT EXISTS (
        SELECT FROM alert_deliveries AS e WHERE e.alert_id = d.alert_id AND e.subject = d.subject
            AND e.next_at IS NOT NULL AND (e.created_at, e.delivery_id) < (d.created_at, d.delivery_id)
    )
    ORDER BY d.next_at LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING delivery_id, alert_id, body, attempts
""")
_DELIVERED = text("""
UPDATE alert_deliveries SET delivered_at = now(), next_at = NULL, error = NULL WHERE delivery_id = :delivery_id
""")
_FAILED = text("""
UPDATE alert_deliveries SET error = :error, next_at = now() + cast(:pause_s AS integer) * interval '1 s'
WHERE delivery_id = :delivery_id
""")
_SHOWN = """
SELECT a.*, d.delivery_id, d.attempts, d.next_at, d.delivered_at, d.error
FROM alerts AS a LEFT JOIN LATERAL (
    SELECT * FROM alert_deliveries AS x WHERE x.alert_id = a.alert_id AND x.subject = a.subject
    ORDER BY x.created_at DESC LIMIT 1
) AS d ON true
WHERE cast(:state AS text) IS NULL OR a.state = :state
ORDER BY a.state, a.since DESC, a.alert_id, a.subject LIMIT :most
"""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A request that is to be sent. ``attempts``: with this one."""

    delivery_id: str
    alert_id: str
    body: str
    attempts: int


class AlertStore:
    """Keeps alerts. All methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def turn(self) -> AsyncIterator["AlertTurn | None"]:
        """Hold the right to change states, unless somebody else has it (then ``None``)."""
        async with transaction(self._engine) as connection:
            mine = await connection.scalar(text("SELECT pg_try_advisory_xact_lock(:l)"), {"l": ALERT_LOCK})
            yield AlertTurn(connection) if mine else None

    async def take(self) -> Delivery | None:
        """Take the next request that is due; it comes again after ``LEASE_S`` if nothing is said of it."""
        async with transaction(self._engine) as connection:
            row = (await connection.execute(_TAKE)).first()
        return None if row is None else Delivery(row.delivery_id, row.alert_id, row.body, row.attempts)

    async def delivered(self, delivery: Delivery) -> None:
        """Note that a request was taken."""
        async with transaction(self._engine) as connection:
            await connection.execute(_DELIVERED, {"delivery_id": delivery.delivery_id})

    async def failed(self, delivery: Delivery, error: str) -> None:
        """Note why a request was not taken, and when it is sent again, if at all."""
        tried = delivery.attempts - 1
        pause_s = RETRY_S[tried] if tried < len(RETRY_S) else None
        values = {"delivery_id": delivery.delivery_id, "error": error, "pause_s": pause_s}
        async with transaction(self._engine) as connection:
            await connection.execute(_FAILED, values)

    async def shown(self, state: str | None) -> list[Any]:
        """Read states with their last requests: those that fire first, the newest first, at most ``MAX_SHOWN``."""
        async with transaction(self._engine) as connection:
            return list(await connection.execute(text(_SHOWN), {"state": state, "most": MAX_SHOWN}))


class AlertTurn:
    """The right to change states, within one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def known(self, alert_id: str) -> Mapping[str, bool]:
        """Read by subject whether an alert fires."""
        rows = await self._connection.execute(_KNOWN, {"alert_id": alert_id})
        return {row.subject: row.firing for row in rows}

    async def keep(self, alert: Alert, changes: Iterable[AlertChange], now_ms: int) -> None:
        """Keep what was found, and prepare a request for each turn, in the same transaction."""
        for change in changes:
            finding = change.finding
            state = "firing" if change.firing else "resolved"
            values = {
                "alert_id": alert.alert_id,
                "subject": finding.subject,
                "watches": alert.watches,
                "state": state,
                "value": finding.value,
                "threshold": alert.limit,
                "message": finding.message,
            }
            await self._connection.execute(_KEEP, values)
            if change.turned and alert.webhook is not None:
                body = {"type": f"alert.{state}", "timestamp": to_iso(now_ms), "data": values}
                await self._connection.execute(
                    _TELL,
                    {
                        "delivery_id": f"msg_{token_hex(12)}",
                        "alert_id": alert.alert_id,
                        "subject": finding.subject,
                        "body": to_json(body).decode(),
                    },
                )

    async def forget(self, alert_ids: Collection[str]) -> None:
        """Forget what is old, and alerts that are not declared any more. ``alert_ids``: those that are."""
        for statement in _FORGET:
            await self._connection.execute(text(statement), {"alert_ids": [*alert_ids]})


def is_given_up(attempts: int, next_at: datetime | None, delivered_at: datetime | None) -> bool:
    """Return whether a request is sent no more, and was never taken."""
    return attempts > 0 and next_at is None and delivered_at is None
