"""The statements that archive a batch: idempotent inserts, with the roll-up taken from what was really new."""

from datetime import datetime

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
)

STAGING = (
    "CREATE TEMP TABLE stage_decisions (LIKE decisions) ON COMMIT DELETE ROWS",
    "CREATE TEMP TABLE stage_outcomes (LIKE outcomes) ON COMMIT DELETE ROWS",
)

INSERT_DECISIONS = f"""
WITH fresh AS (
    INSERT INTO decisions ({", ".join(DECISION_COLUMNS)})
    SELECT {", ".join(DECISION_COLUMNS)} FROM stage_decisions
    ON CONFLICT DO NOTHING
    RETURNING decided_at, placement, policy, header
)
INSERT INTO acceptance AS a (hour, placement, policy, offer_id, decided)
SELECT date_trunc('hour', decided_at), placement, policy, offer ->> 'offer_id', count(*)
FROM fresh, jsonb_array_elements(header -> 'offers') AS offer
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
ON CONFLICT (hour, placement, policy, offer_id) DO UPDATE SET decided = a.decided + excluded.decided
"""

# What one outcome adds to the roll-up, by column.
OUTCOME_COUNTS = {
    "decided": "-count(*) FILTER (WHERE outcome = 'withdrawn')",
    "presented": "count(*) FILTER (WHERE outcome = 'presented' AND NOT late)",
    "clicked": "count(*) FILTER (WHERE outcome = 'clicked' AND NOT late)",
    "accepted": "count(*) FILTER (WHERE outcome = 'accepted' AND NOT late)",
    "rejected": "count(*) FILTER (WHERE outcome = 'rejected' AND NOT late)",
    "ignored": "count(*) FILTER (WHERE outcome = 'expired' AND reward IS NOT NULL)",
    "unobserved": "count(*) FILTER (WHERE outcome = 'expired' AND reward IS NULL)",
    "late": "count(*) FILTER (WHERE late)",
    "value": "coalesce(sum(value) FILTER (WHERE outcome = 'accepted' AND NOT late), 0)",
}

INSERT_OUTCOMES = f"""
WITH fresh AS (
    INSERT INTO outcomes ({", ".join(OUTCOME_COLUMNS)})
    SELECT {", ".join(OUTCOME_COLUMNS)} FROM stage_outcomes
    ON CONFLICT DO NOTHING
    RETURNING decided_at, placement, policy, offer_id, outcome, value, late, reward
)
INSERT INTO acceptance AS a (hour, placement, policy, offer_id, {", ".join(OUTCOME_COUNTS)})
SELECT date_trunc('hour', decided_at), placement, policy, offer_id, {", ".join(OUTCOME_COUNTS.values())}
FROM fresh
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
ON CONFLICT (hour, placement, policy, offer_id) DO UPDATE SET
    {", ".join(f"{column} = a.{column} + excluded.{column}" for column in OUTCOME_COUNTS)}
"""

REBUILD_ACCEPTANCE = (
    "TRUNCATE acceptance",
    """
    INSERT INTO acceptance AS a (hour, placement, policy, offer_id, decided)
    SELECT date_trunc('hour', decided_at), placement, policy, offer ->> 'offer_id', count(*)
    FROM decisions, jsonb_array_elements(header -> 'offers') AS offer
    GROUP BY 1, 2, 3, 4
    """,
    f"""
    INSERT INTO acceptance AS a (hour, placement, policy, offer_id, {", ".join(OUTCOME_COUNTS)})
    SELECT date_trunc('hour', decided_at), placement, policy, offer_id, {", ".join(OUTCOME_COUNTS.values())}
    FROM outcomes
    GROUP BY 1, 2, 3, 4
    ON CONFLICT (hour, placement, policy, offer_id) DO UPDATE SET
        {", ".join(f"{column} = a.{column} + excluded.{column}" for column in OUTCOME_COUNTS)}
    """,
)


def partition_statements(month: datetime) -> list[str]:
    """Statements that make the partitions of a month (its first day, UTC)."""
    start = month.replace(hour=0, minute=0, second=0, microsecond=0)
    end = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    return [
        f"CREATE TABLE IF NOT EXISTS {table}_{start:%Y_%m} PARTITION OF {table}"
        f" FOR VALUES FROM ('{start.isoformat()}') TO ('{end.isoformat()}')"
        for table in ("decisions", "outcomes")
    ]
