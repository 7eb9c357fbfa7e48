"""Looks at what alerts watch, in Postgres and Redis."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.capacity.leasing import period_at
from decisioning.capacity.store_pools import Pools
from decisioning.catalog.alert import Alert
from decisioning.catalog.catalogue import Catalogue
from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_stream import LogReader
from decisioning.model.deciders import CALLER, HISTORY
from decisioning.model.trigger import DAY_OVER, NOT_DECLARED
from decisioning.reporting.alerting import (
    Finding,
    OfferCounts,
    acceptance_finding,
    degraded_finding,
    exploration_finding,
)
from storage.clock import HOUR_MS, to_datetime
from storage.postgres import transaction

STATEMENT_MS = 8000
_LONG_S = 30 * 86_400
"""The time in which an offer must have been selected to be one that a policy may have given up."""

_SPANS = """
SELECT coalesce(sum(accepted_closed) FILTER (WHERE hour >= :middle), 0)::bigint AS accepted,
    coalesce(sum({observed}) FILTER (WHERE hour >= :middle), 0)::bigint AS observed,
    coalesce(sum(accepted_closed) FILTER (WHERE hour < :middle), 0)::bigint AS accepted_before,
    coalesce(sum({observed}) FILTER (WHERE hour < :middle), 0)::bigint AS observed_before
FROM acceptance WHERE placement = :placement AND hour >= :start AND hour < :end AND policy <> :history
""".replace("{observed}", "accepted_closed + rejected_closed + ignored")
_DRIFT = """
SELECT DISTINCT ON (placement, offer_id) placement, offer_id, rate_before, rate_after FROM drift_detections
WHERE detected_at >= :since AND (cast(:placement AS text) IS NULL OR placement = :placement)
    AND (cast(:offer AS text) IS NULL OR offer_id = :offer) AND abs(rate_after - rate_before) >= :least
ORDER BY placement, offer_id, detected_at DESC
"""
_SELECTED = """
SELECT placement, policy, offer_id, coalesce(sum(decided) FILTER (WHERE hour >= :since), 0)::bigint AS selected,
    sum(accepted_closed)::bigint AS accepted, sum(accepted_closed + rejected_closed + ignored)::bigint AS observed
FROM acceptance
WHERE hour >= :long AND (cast(:placement AS text) IS NULL OR placement = :placement) AND grp IN ('champion', 'canary')
    AND policy NOT IN (:history, :caller)
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
_DEGRADED = """
SELECT placement, count(*) AS decisions,
    count(*) FILTER (WHERE jsonb_array_length(coalesce(header -> 'degraded', '[]')) > 0) AS degraded
FROM decisions
WHERE decided_at >= :since AND header ->> 'source' = 'live'
    AND (cast(:placement AS text) IS NULL OR placement = :placement)
GROUP BY 1 ORDER BY 1
"""
# Those that are open, and those that were given up lately, each by an index of its own.
_UNDELIVERED = """
SELECT trigger_id, count(*) FILTER (WHERE status = 'failed') AS failed,
    count(*) FILTER (WHERE status = 'dropped') AS dropped, count(*) FILTER (WHERE status NOT IN ('failed', 'dropped'))
    AS tried, (array_agg(status_reason ORDER BY updated_at DESC))[1] AS reason
FROM (
    SELECT trigger_id, status, status_reason, updated_at FROM trigger_firings
    WHERE status IN ('due', 'decided') AND trigger_id = ANY(:triggers)
        AND attempts - earlier_attempts >= :tries AND status_reason IS NOT NULL
    UNION ALL SELECT trigger_id, status, status_reason, updated_at FROM trigger_firings
    WHERE status IN ('failed', 'dropped') AND updated_at >= :since AND trigger_id = ANY(:triggers)
        AND (status = 'failed' OR (decision_id IS NULL AND NOT status_reason = ANY(:expected)))
) AS f GROUP BY trigger_id ORDER BY trigger_id
"""
_TRIES = 3
"""After so many tries a firing that is not delivered is told of."""


@dataclass(frozen=True)
class AlertChecks:
    """Looks at what is watched. Methods raise ``PostgresUnavailable`` and ``RedisUnavailable``."""

    engine: AsyncEngine
    reader: LogReader
    archive: ArchiveReader
    pools: Pools
    clock_ms: Callable[[], int]

    async def look(self, alert: Alert, catalogue: Catalogue) -> list[Finding]:
        """Find what there is to say of what an alert watches, by subject."""
        if alert.watches == "acceptance_drop":
            return await self._acceptance(alert, catalogue)
        if alert.watches == "drift":
            return await self._drift(alert)
        if alert.watches == "exploration_died":
            return await self._exploration(alert)
        if alert.watches == "capacity_used":
            return await self._capacity(alert, catalogue)
        if alert.watches == "archive_backlog":
            return await self._backlog(alert)
        if alert.watches == "trigger_failures":
            return await self._firings(alert, catalogue)
        return await self._degraded(alert)

    async def _rows(self, query: str, **values: Any) -> Sequence[Any]:
        async with transaction(self.engine) as connection:
            await connection.execute(text(f"SET LOCAL statement_timeout = {STATEMENT_MS}"))
            return (await connection.execute(text(query), values)).all()

    async def _acceptance(self, alert: Alert, catalogue: Catalogue) -> list[Finding]:
        found = []
        names = [*catalogue.placements] if alert.placement is None else [alert.placement]
        span_ms = max(alert.span_s * 1000 // HOUR_MS, 1) * HOUR_MS
        only = " AND offer_id = :offer" if alert.offer else ""
        for name in sorted(names):
            # Whole hours whose reward windows are over, the closing included.
            window_ms = catalogue.placements[name].reward_window_s * 1000
            end_ms = (self.clock_ms() - window_ms) // HOUR_MS * HOUR_MS - HOUR_MS
            values = {
                "placement": name,
                "start": to_datetime(end_ms - 2 * span_ms),
                "middle": to_datetime(end_ms - span_ms),
                "end": to_datetime(end_ms),
                "history": HISTORY,
            }
            if alert.offer:
                values["offer"] = alert.offer
            (row,) = await self._rows(_SPANS + only, **values)
            subject = f"{name}/{alert.offer}" if alert.offer else name
            before = (int(row.accepted_before), int(row.observed_before))
            found.append(acceptance_finding(subject, alert, before, (int(row.accepted), int(row.observed))))
        return found

    async def _drift(self, alert: Alert) -> list[Finding]:
        rows = await self._rows(
            _DRIFT,
            since=to_datetime(self.clock_ms() - alert.span_s * 1000),
            placement=alert.placement,
            offer=alert.offer,
            least=alert.limit,
        )
        return [
            Finding(
                f"{row.placement}/{row.offer_id}",
                abs(row.rate_after - row.rate_before),
                True,
                f"acceptance changed from {row.rate_before:.4f} to {row.rate_after:.4f}",
            )
            for row in rows
        ]

    async def _exploration(self, alert: Alert) -> list[Finding]:
        now_ms = self.clock_ms()
        rows = await self._rows(
            _SELECTED,
            since=to_datetime(now_ms - alert.span_s * 1000),
            long=to_datetime(now_ms - (alert.span_s + _LONG_S) * 1000),
            placement=alert.placement,
            history=HISTORY,
            caller=CALLER,
        )
        counts: dict[str, list[OfferCounts]] = {}
        for row in rows:
            offer = OfferCounts(row.offer_id, max(row.selected, 0), row.accepted, row.observed)
            counts.setdefault(f"{row.placement}/{row.policy}", []).append(offer)
        return [exploration_finding(subject, alert, offers) for subject, offers in counts.items()]

    async def _capacity(self, alert: Alert, catalogue: Catalogue) -> list[Finding]:
        found = []
        for capacity in catalogue.capacities.values():
            if alert.capacity not in (None, capacity.capacity_id) or not capacity.max:
                continue
            period = period_at(capacity, self.clock_ms())
            books = await self.pools.books(capacity.capacity_id, period)
            used = books.usage(capacity, period).used if books else 0
            share = used / capacity.max
            said = f"{used} of {capacity.max} are used in {period.period_id}"
            found.append(
                Finding(f"{capacity.capacity_id}/{period.period_id}", share, share >= alert.limit, said)
            )
        return found

    async def _backlog(self, alert: Alert) -> list[Finding]:
        oldest_ms = await self.reader.oldest_behind(await self.archive.positions())
        waits_s = 0.0 if oldest_ms is None else max(self.clock_ms() - oldest_ms, 0) / 1000
        said = f"the oldest record that is not archived has waited for {waits_s:.0f} s"
        return [Finding("archive", waits_s, oldest_ms is not None and waits_s >= alert.limit, said)]

    async def _firings(self, alert: Alert, catalogue: Catalogue) -> list[Finding]:
        rows = await self._rows(
            _UNDELIVERED,
            since=to_datetime(self.clock_ms() - alert.span_s * 1000),
            triggers=list(catalogue.triggers) if alert.trigger is None else [alert.trigger],
            tries=_TRIES,
            expected=[NOT_DECLARED, DAY_OVER],
        )
        found = []
        for row in rows:
            count = row.failed + row.dropped + row.tried
            said = (
                f"{row.failed} firings failed, {row.dropped} were dropped undecided, {row.tried} are tried again;"
                f" the last one: {row.reason}"
            )
            found.append(Finding(row.trigger_id, count, count >= alert.limit, said))
        return found

    async def _degraded(self, alert: Alert) -> list[Finding]:
        rows = await self._rows(
            _DEGRADED,
            since=to_datetime(self.clock_ms() - alert.span_s * 1000),
            placement=alert.placement,
        )
        return [degraded_finding(row.placement, alert, row.degraded, row.decisions) for row in rows]
