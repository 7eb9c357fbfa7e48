"""The roll-up also counts what was presented, clicked and earned from when windows are closed."""

from alembic import op

revision = "0033"
down_revision = "0032"

COLUMNS = {"presented_closed": "bigint", "clicked_closed": "bigint", "value_closed": "double precision"}
GROUP = (
    "coalesce(d.grp, d.header ->> 'group', CASE WHEN d.header ->> 'source' = 'history' THEN 'imported'"
    " WHEN (d.header ->> 'control')::boolean THEN 'control' ELSE 'champion' END)"
)
# An outcome closes a window; an imported answer was closed already. There is one of them for each offer.
FILL = f"""
UPDATE acceptance AS a SET presented_closed = f.presented, clicked_closed = f.clicked, value_closed = f.value
FROM (
    SELECT date_trunc('hour', o.decided_at) AS hour, o.placement, o.policy, o.offer_id, {GROUP} AS grp,
        count(*) FILTER (WHERE t.presented) AS presented, count(*) FILTER (WHERE t.clicked) AS clicked,
        coalesce(sum(t.value), 0) AS value
    FROM outcomes AS o
    JOIN (
        SELECT decision_id, decided_at, offer_id, bool_or(outcome = 'presented') AS presented,
            bool_or(outcome = 'clicked') AS clicked, sum(value) FILTER (WHERE outcome = 'accepted') AS value
        FROM outcomes WHERE NOT late AND outcome IN ('presented', 'clicked', 'accepted') GROUP BY 1, 2, 3
    ) AS t USING (decision_id, decided_at, offer_id)
    LEFT JOIN decisions AS d USING (decision_id, decided_at)
    WHERE o.outcome IN ('closed', 'expired')
        OR o.outcome IN ('accepted', 'rejected') AND NOT o.late AND o.policy = 'history@1'
    GROUP BY 1, 2, 3, 4, 5
) AS f
WHERE (a.hour, a.placement, a.policy, a.offer_id, a.grp) = (f.hour, f.placement, f.policy, f.offer_id, f.grp)
"""


def upgrade() -> None:
    columns = ", ".join(f"ADD COLUMN {name} {type_} NOT NULL DEFAULT 0" for name, type_ in COLUMNS.items())
    op.execute(f"ALTER TABLE acceptance {columns}")
    op.execute(FILL)


def downgrade() -> None:
    op.execute("ALTER TABLE acceptance " + ", ".join(f"DROP COLUMN {name}" for name in COLUMNS))
