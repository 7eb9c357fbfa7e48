"""Answers count in rates when their reward window closes: an outcome ``closed`` says so, and the roll-up counts it."""

from alembic import op

revision = "0012"
down_revision = "0011"

GROUP = (
    "coalesce(d.grp, d.header ->> 'group', CASE WHEN d.header ->> 'source' = 'history' THEN 'imported'"
    " WHEN (d.header ->> 'control')::boolean THEN 'control' ELSE 'champion' END)"
)

# Earlier versions did not log that the window of an answered offer was over. What their workers have closed has no
# other trace than the time, so it is written now, once; what is still open is logged when it closes.
CLOSE = """
INSERT INTO outcomes (decision_id, offer_id, outcome, decided_at, offer_no, at_ms, recorded_ms, late, reward, prior,
    policy, placement, bucket, position)
SELECT DISTINCT ON (o.decision_id, o.offer_id, o.decided_at) o.decision_id, o.offer_id, 'closed', o.decided_at,
    o.offer_no, (d.header ->> 'until_ms')::bigint, (d.header ->> 'until_ms')::bigint, true,
    CASE WHEN NOT o.late THEN o.reward END, o.prior, o.policy, o.placement, o.bucket, o.position
FROM outcomes AS o JOIN decisions AS d USING (decision_id, decided_at)
WHERE o.outcome IN ('accepted', 'rejected') AND o.policy <> 'history@1'
    AND (d.header ->> 'until_ms')::bigint < extract(epoch FROM now()) * 1000
    AND NOT EXISTS (
        SELECT FROM outcomes AS x WHERE x.decision_id = o.decision_id AND x.decided_at = o.decided_at
            AND x.offer_id = o.offer_id AND x.outcome IN ('expired', 'withdrawn'))
ORDER BY o.decision_id, o.offer_id, o.decided_at, o.late
ON CONFLICT DO NOTHING
"""


def _closed(outcome: str, reward: int) -> str:
    return (
        f"count(*) FILTER (WHERE o.outcome = 'closed' AND o.reward = {reward}"
        f" OR o.outcome = '{outcome}' AND NOT o.late AND o.policy = 'history@1')"
    )


COUNTS = {
    "decided": "-count(*) FILTER (WHERE o.outcome = 'withdrawn')",
    "presented": "count(*) FILTER (WHERE o.outcome = 'presented' AND NOT o.late)",
    "clicked": "count(*) FILTER (WHERE o.outcome = 'clicked' AND NOT o.late)",
    "accepted": "count(*) FILTER (WHERE o.outcome = 'accepted' AND NOT o.late)",
    "rejected": "count(*) FILTER (WHERE o.outcome = 'rejected' AND NOT o.late)",
    "ignored": "count(*) FILTER (WHERE o.outcome = 'expired' AND o.reward IS NOT NULL"
    " OR o.outcome = 'closed' AND o.reward IS NULL)",
    "unobserved": "count(*) FILTER (WHERE o.outcome = 'expired' AND o.reward IS NULL)",
    "late": "count(*) FILTER (WHERE o.late AND o.outcome <> 'closed')",
    "value": "coalesce(sum(o.value) FILTER (WHERE o.outcome = 'accepted' AND NOT o.late), 0)",
}
NEW_COUNTS = {"accepted_closed": _closed("accepted", 1), "rejected_closed": _closed("rejected", 0)}


def _refill(counts: dict[str, str]) -> None:
    """Make the roll-up of the log, of which it is a fold. ``counts``: what an outcome ``o`` adds, by column."""
    key = "hour, placement, policy, offer_id, grp"
    op.execute("DELETE FROM acceptance")
    op.execute(
        f"INSERT INTO acceptance ({key}, decided)"
        f" SELECT date_trunc('hour', d.decided_at), d.placement, d.policy, offer ->> 'offer_id', {GROUP}, count(*)"
        f" FROM decisions d, jsonb_array_elements(d.header -> 'offers') AS offer GROUP BY 1, 2, 3, 4, 5"
    )
    sums = ", ".join(f"{column} = acceptance.{column} + excluded.{column}" for column in counts)
    op.execute(
        f"INSERT INTO acceptance ({key}, {', '.join(counts)})"
        f" SELECT date_trunc('hour', o.decided_at), o.placement, o.policy, o.offer_id, {GROUP},"
        f" {', '.join(counts.values())} FROM outcomes o LEFT JOIN decisions d USING (decision_id, decided_at)"
        f" GROUP BY 1, 2, 3, 4, 5 ON CONFLICT ({key}) DO UPDATE SET {sums}"
    )


def upgrade() -> None:
    op.execute(
        "ALTER TABLE acceptance ADD COLUMN accepted_closed bigint NOT NULL DEFAULT 0,"
        " ADD COLUMN rejected_closed bigint NOT NULL DEFAULT 0"
    )
    op.execute(CLOSE)
    _refill(COUNTS | NEW_COUNTS)


def downgrade() -> None:
    op.execute("ALTER TABLE acceptance DROP COLUMN accepted_closed, DROP COLUMN rejected_closed")
    op.execute("DELETE FROM outcomes WHERE outcome = 'closed'")
    _refill(COUNTS)
