"""Capacities say what they count: those that there are go on counting decisions, also those of a team."""

from alembic import op

revision = "0021"
down_revision = "0020"

# The trail of the catalogue only grows, so what is in force is said anew: a version for each capacity.
NEWEST = """
INSERT INTO catalog_entries (version, kind, id, body, author, reason)
SELECT (SELECT max(version) FROM catalog_entries) + row_number() OVER (ORDER BY id), 'capacity', id, {body},
    'upgrade', '{reason}'
FROM (SELECT DISTINCT ON (id) id, body FROM catalog_entries WHERE kind = 'capacity' ORDER BY id, version DESC) AS newest
WHERE jsonb_typeof(body) = 'object' AND {where}
"""


def upgrade() -> None:
    # A capacity of a team counts acceptances unless it says otherwise; before, every capacity counted decisions.
    _say_anew(
        'body || \'{"counts": "decided"}\'',
        "body ->> 'team' IS NOT NULL AND NOT body ? 'counts'",
        "counts decisions as before; a capacity of a team counts acceptances unless it says otherwise",
    )
    op.execute(
        "CREATE INDEX outcomes_used ON outcomes (recorded_ms)"
        " WHERE outcome IN ('presented', 'clicked', 'accepted', 'rejected')"
    )


def downgrade() -> None:
    op.execute("DROP INDEX outcomes_used")
    fields = "'{counts,hold_s,overbook,once_per_customer}'::text[]"
    _say_anew(f"body - {fields}", f"body ?| {fields}", "counts decisions, as all capacities do")


def _say_anew(body: str, where: str, reason: str) -> None:
    op.execute("SELECT pg_advisory_xact_lock(7263845191)")  # the catalogue's: it has one writer at a time
    op.execute(NEWEST.format(body=body, where=where, reason=reason).replace(":", r"\:"))
