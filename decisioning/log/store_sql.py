"""The statements that archive a batch: idempotent inserts, with the roll-up taken from what was really new."""

from datetime import datetime

from decisioning.model.deciders import CALLER

DECISION_COLUMNS = (
    "decision_id",
    "decided_at",
    "customer_id",
    "placement",
    "policy",
    "bucket",
    "position",
    "header",
    "candidates",
    "priors",
    "factors",
    "grp",
)
OUTCOME_COLUMNS = (
    "decision_id",
    "offer_id",
    "outcome",
    "decided_at",
    "offer_no",
    "value",
    "at_ms",
    "recorded_ms",
    "late",
    "reward",
    "prior",
    "policy",
    "placement",
    "bucket",
    "position",
    "estimate",
    "worth",
    "facts",
    "silence_ms",
)

STAGING = (
    "CREATE TEMP TABLE stage_decisions (LIKE decisions) ON COMMIT DELETE ROWS",
    "CREATE TEMP TABLE stage_outcomes (LIKE outcomes) ON COMMIT DELETE ROWS",
)

GROUP_OF = (
    "coalesce(d.grp, d.header ->> 'group', CASE WHEN d.header ->> 'source' = 'history' THEN 'imported'"
    " WHEN (d.header ->> 'control')::boolean THEN 'control' ELSE 'champion' END)"
)
"""The group of a decision ``d``; its column is empty where it was archived before there was one."""
DECIDER_OF = (
    f"CASE WHEN d.policy = '{CALLER}' THEN d.policy"
    " ELSE coalesce(d.header -> 'failed' ->> 'policy', d.policy) END"
)
"""The policy that was to make a decision ``d``, also if it failed; where the caller chose, a policy only scored."""
ROLLED_UP = "hour, placement, policy, offer_id, grp"

_GROUPED = "GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5"  # in one order, so that archivers do not lock each other out


def _in_time(outcome: str) -> str:
    return f"count(*) FILTER (WHERE o.outcome = '{outcome}' AND NOT o.late)"


# What one outcome `o` adds to the roll-up, by column.
OUTCOME_COUNTS = {
    "decided": "-count(*) FILTER (WHERE o.outcome = 'withdrawn')",
    **{outcome: _in_time(outcome) for outcome in ("presented", "clicked", "accepted", "rejected")},
    "ignored": "count(*) FILTER (WHERE o.outcome = 'expired' AND o.reward IS NOT NULL)",
    "unobserved": "count(*) FILTER (WHERE o.outcome = 'expired' AND o.reward IS NULL)",
    "late": "count(*) FILTER (WHERE o.late)",
    "value": "coalesce(sum(o.value) FILTER (WHERE o.outcome = 'accepted' AND NOT o.late), 0)",
}


def _count_decisions(rows: str) -> str:
    """The statement that adds decisions to the roll-up. ``rows``: where they are."""
    return f"""
INSERT INTO acceptance AS a ({ROLLED_UP}, decided)
SELECT date_trunc('hour', d.decided_at), d.placement, d.policy, offer ->> 'offer_id', {GROUP_OF}, count(*)
FROM {rows} AS d, jsonb_array_elements(d.header -> 'offers') AS offer
{_GROUPED}
ON CONFLICT ({ROLLED_UP}) DO UPDATE SET decided = a.decided + excluded.decided
"""


def _count_outcomes(rows: str) -> str:
    """The statement that adds outcomes to the roll-up. ``rows``: where they are."""
    return f"""
INSERT INTO acceptance AS a ({ROLLED_UP}, {", ".join(OUTCOME_COUNTS)})
SELECT date_trunc('hour', o.decided_at), o.placement, o.policy, o.offer_id, {GROUP_OF},
    {", ".join(OUTCOME_COUNTS.values())}
FROM {rows} AS o LEFT JOIN decisions AS d USING (decision_id, decided_at)
{_GROUPED}
ON CONFLICT ({ROLLED_UP}) DO UPDATE SET
    {", ".join(f"{column} = a.{column} + excluded.{column}" for column in OUTCOME_COUNTS)}
"""


INSERT_DECISIONS = f"""
WITH fresh AS (
    INSERT INTO decisions ({", ".join(DECISION_COLUMNS)})
    SELECT {", ".join(DECISION_COLUMNS)} FROM stage_decisions
    ON CONFLICT DO NOTHING
    RETURNING decided_at, placement, policy, grp, header
)
{_count_decisions("fresh")}"""

INSERT_OUTCOMES = f"""
WITH fresh AS (
    INSERT INTO outcomes ({", ".join(OUTCOME_COLUMNS)})
    SELECT {", ".join(OUTCOME_COLUMNS)} FROM stage_outcomes
    ON CONFLICT DO NOTHING
    RETURNING decision_id, decided_at, placement, policy, offer_id, outcome, value, late, reward
)
{_count_outcomes("fresh")}"""

REBUILD_ACCEPTANCE = ("TRUNCATE acceptance", _count_decisions("decisions"), _count_outcomes("outcomes"))


def partition_statements(month: datetime) -> list[str]:
    """Statements that make the partitions of a month (its first day, UTC)."""
    start = month.replace(hour=0, minute=0, second=0, microsecond=0)
    end = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    return [
        f"CREATE TABLE IF NOT EXISTS {table}_{start:%Y_%m} PARTITION OF {table}"
        f" FOR VALUES FROM ('{start.isoformat()}') TO ('{end.isoformat()}')"
        for table in ("decisions", "outcomes")
    ]
