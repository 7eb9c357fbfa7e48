"""Predictions and results of closed reward windows in Postgres: days that are rolled up, and the rest from the log."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from decisioning.errors import Invalid
from decisioning.reporting.calibration_report import CalibrationDimension, bin_predictions
from decisioning.reporting.days.store_report_days import find_report_days
from decisioning.reporting.offer_report import PERIODS, ReportScope
from decisioning.reporting.store_offer_report import (
    DAY_IN_ZONE,
    IN_DAYS,
    IN_ZONE,
    PLACEMENTS,
    TOLD,
    bounded_report,
    check_size,
    run_report,
)
from storage.postgres import to_dicts

MAX_PREDICTIONS = 5_000_000
"""A report has at most so many predictions of days that are rolled up: 40 MB of them."""
_MORE = ", max(x.estimate) AS estimate, max(x.policy) AS policy, max(x.placement) AS placement"


def predictions(decided: str) -> str:
    """Write the query of what was predicted for each offer whose window is closed, and came of it, from the log.

    ``decided``: a condition on ``x.decided_at``.
    """
    return f"""
SELECT t.decided_at AS at, t.placement, t.policy, t.offer_id, t.estimate, cast(t.accepted AS integer) AS accepted
FROM ({TOLD.format(more=_MORE, decided=decided)}) AS t
WHERE t.estimate IS NOT NULL AND NOT coalesce(t.withdrawn, false) AND (t.accepted OR t.rejected OR t.ignored)
"""


_NOTHING = "cast('' AS bytea)"
_CHANNELS = f" LEFT JOIN {PLACEMENTS} AS p (placement, channel) ON p.placement = c.placement"
# The predictions themselves come with the sums, since bins have as many offers each, which no sums tell.
_SUMS = f"""
cast(sum(c.observed) AS bigint) AS observed, cast(sum(c.accepted) AS bigint) AS accepted, sum(c.predicted) AS predicted,
    sum(c.squared) AS squared, string_agg(c.taken, {_NOTHING}) AS taken, string_agg(c.others, {_NOTHING}) AS others
"""
# Days are summed before the log comes to them: through the union every row would be copied.
_COUNT = f"""
SELECT {{names}}, {_SUMS} FROM (
    SELECT {{of_days}}, {_SUMS} FROM calibration_days AS c{{joins}} WHERE {IN_DAYS}{{filters}} GROUP BY {{places}}
    UNION ALL
    SELECT {{of_log}}, 1, c.accepted, c.estimate, (c.estimate - c.accepted) ^ 2,
        CASE WHEN c.accepted = 1 THEN float8send(c.estimate) ELSE {_NOTHING} END,
        CASE WHEN c.accepted = 1 THEN {_NOTHING} ELSE float8send(c.estimate) END
    FROM ({{logged}}) AS c{{joins}} WHERE true{{filters}}
) AS c GROUP BY {{places}} ORDER BY {{places}} LIMIT :most
"""
_SIZE = f"""
SELECT coalesce(sum(c.observed), 0) FROM calibration_days AS c{{joins}} WHERE {IN_DAYS}{{filters}}
"""
_COLUMNS: dict[str, str] = {p: f"cast(date_trunc('{p}', {{at}}) AS date)" for p in PERIODS}
_COLUMNS |= {"offer": "c.offer_id", "channel": "p.channel"}


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
    ``SUMS``, and the ``least`` and ``largest`` prediction, and of groups, in which ``bin`` is ``None``: with the
    dimensions by name, and ``SUMS``. Raises ``Invalid`` and ``PostgresUnavailable``.
    """
    given = {"offer": scope.offer, "placement": scope.placement, "policy": policy, "channel": channel}
    conditions = {name: _COLUMNS.get(name, f"c.{name}") for name in given}
    if policy is not None and "@" not in policy:
        conditions["policy"] = "split_part(c.policy, '@', 1)"
    filters = "".join(
        f" AND {conditions[name]} = :{name}" for name, value in given.items() if value is not None
    )
    values = given | {
        "zone": scope.zone,
        "placement_ids": [*channels],
        "channels": [*channels.values()],
    }
    joins = _CHANNELS if channel is not None or "channel" in by else ""
    async with bounded_report(engine) as connection:
        days = await find_report_days(connection, scope, by)
        values |= days.values()
        await _check_predictions(connection, _SIZE.format(joins=joins, filters=filters), values)
        statement = _COUNT.format(
            names=", ".join(f'c."{name}"' for name in by),
            of_days=_columns(by, DAY_IN_ZONE),
            of_log=_columns(by, f"c.at {IN_ZONE}"),
            joins=joins,
            logged=predictions(days.left_over("x.decided_at")),
            filters=filters,
            places=", ".join(str(place) for place in range(1, len(by) + 1)),
        )
        groups = await run_report(connection, text(statement), values, to_dicts)
    check_size(len(groups))
    return await asyncio.to_thread(_with_bins, groups, bins)


def _columns(by: Sequence[CalibrationDimension], at: str) -> str:
    return ", ".join(f'{_COLUMNS.get(name, f"c.{name}").format(at=at)} AS "{name}"' for name in by)


async def _check_predictions(connection: AsyncConnection, size: str, values: Mapping[str, Any]) -> None:
    statement = text(size)
    found = await connection.scalar(statement, {name: values[name] for name in statement._bindparams})
    if found > MAX_PREDICTIONS:
        raise Invalid(
            "since",
            f"the report has {found} predictions, more than {MAX_PREDICTIONS}: name less time with since and until",
        )


def _with_bins(groups: Sequence[dict[str, Any]], bins: int) -> list[dict[str, Any]]:
    taken, others = (b"".join(row.pop(name) for row in groups) for name in ("taken", "others"))
    return [*(row | {"bin": None} for row in groups), *bin_predictions(taken, others, bins)]
