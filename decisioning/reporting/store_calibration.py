"""Predictions and results of closed reward windows in Postgres, counted in bins of as many offers each."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.reporting.calibration_report import CalibrationDimension
from decisioning.reporting.offer_report import PERIODS, ReportScope
from decisioning.reporting.store_offer_report import PLACEMENTS, SPAN, TOLD, run_report

_MORE = ", max(x.estimate) AS estimate, max(x.policy) AS policy, max(x.placement) AS placement"
# Offers with equal predictions are in one bin, so there may be fewer bins than were asked for.
_COUNT = f"""
WITH span AS MATERIALIZED ({SPAN}), told AS ({TOLD.format(more=_MORE)}), closed AS MATERIALIZED (
    SELECT t.estimate, cast(t.accepted AS integer) AS accepted, t.decided_at AS at, t.offer_id AS offer, t.policy,
        t.placement, p.channel
    FROM told AS t LEFT JOIN {PLACEMENTS} AS p (placement, channel) ON p.placement = t.placement
    WHERE t.estimate IS NOT NULL AND NOT coalesce(t.withdrawn, false)
        AND (t.accepted OR t.rejected OR t.ignored){{filters}}
), edges AS (
    SELECT percentile_disc(cast(:fractions AS float[])) WITHIN GROUP (ORDER BY estimate) AS at_least FROM closed
), named AS (
    SELECT {{columns}}width_bucket(c.estimate, e.at_least) AS bin, c.estimate, c.accepted
    FROM closed AS c CROSS JOIN edges AS e
)
SELECT {{names}}, bin, count(*) AS observed, sum(accepted) AS accepted, sum(estimate) AS predicted,
    sum((estimate - accepted) ^ 2) AS squared, min(estimate) AS least, max(estimate) AS largest
FROM named GROUP BY GROUPING SETS (({{names}}), (bin)) ORDER BY {{names}}, bin LIMIT :most
"""
_COLUMNS = {p: f"cast(date_trunc('{p}', c.at AT TIME ZONE cast(:zone AS text)) AS date)" for p in PERIODS}


async def calibration_counts(
    engine: AsyncEngine,
    by: Sequence[CalibrationDimension],
    scope: ReportScope,
    bins: int,
    channels: Mapping[str, str],
    policy: str | None,
    channel: str | None,
) -> list[dict[str, Any]]:
    """Count predictions and results of offers whose window is closed, by ``by``, and of all of them by bin.

    ``channels``: by placement. ``policy``: a name, or ``name@version``. Returns the rows of bins, which have a ``bin``,
    and of groups, in which that is ``None``: with the dimensions by name, ``SUMS``, and the ``least`` and ``largest``
    prediction. Raises ``Invalid`` and ``PostgresUnavailable``.
    """
    filters = {"offer": scope.offer, "placement": scope.placement, "policy": policy, "channel": channel}
    conditions = {name: f"t.{name}" for name in ("placement", "policy")}
    conditions |= {"offer": "t.offer_id", "channel": "p.channel"}
    if policy is not None and "@" not in policy:
        conditions["policy"] = "split_part(t.policy, '@', 1)"
    given = [f" AND {conditions[name]} = :{name}" for name, value in filters.items() if value is not None]
    statement = _COUNT.format(
        filters="".join(given),
        columns="".join(f'{_COLUMNS.get(name, f"c.{name}")} AS "{name}", ' for name in by),
        names=", ".join(f'"{name}"' for name in by),
    )
    values = filters | {
        "since": scope.since,
        "until": scope.until,
        "zone": scope.zone,
        "fractions": [part / bins for part in range(1, bins)],
        "placement_ids": [*channels],
        "channels": [*channels.values()],
    }
    return await run_report(engine, text(statement), values)
