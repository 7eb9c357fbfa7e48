"""Groups of decisions in the log and in the roll-up; what guardrails have counted; drift of acceptance."""

from alembic import op

revision = "0009"
down_revision = "0008"

GROUP = (
    "coalesce(d.grp, d.header ->> 'group', CASE WHEN d.header ->> 'source' = 'history' THEN 'imported'"
    " WHEN (d.header ->> 'control')::boolean THEN 'control' ELSE 'champion' END)"
)

TABLES = """
ALTER TABLE decisions ADD COLUMN grp text;

DROP TABLE acceptance;
CREATE TABLE acceptance (
    hour timestamptz NOT NULL,
    placement text NOT NULL,
    policy text NOT NULL,
    offer_id text NOT NULL,
    grp text NOT NULL,
    decided bigint NOT NULL DEFAULT 0,
    presented bigint NOT NULL DEFAULT 0,
    clicked bigint NOT NULL DEFAULT 0,
    accepted bigint NOT NULL DEFAULT 0,
    rejected bigint NOT NULL DEFAULT 0,
    ignored bigint NOT NULL DEFAULT 0,
    unobserved bigint NOT NULL DEFAULT 0,
    late bigint NOT NULL DEFAULT 0,
    value double precision NOT NULL DEFAULT 0,
    PRIMARY KEY (hour, placement, policy, offer_id, grp)
);

-- One comparison of a canary with its champion: what was counted, and up to which decision.
CREATE TABLE canary_tests (
    test_id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    placement text NOT NULL,
    policy text NOT NULL,
    champion text NOT NULL,
    share double precision NOT NULL,
    horizon_s integer NOT NULL,
    since_ms bigint NOT NULL,
    carried double precision NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    seen_id text NOT NULL DEFAULT '',
    failures_at timestamptz NOT NULL,
    observations bigint NOT NULL DEFAULT 0,
    acceptances bigint NOT NULL DEFAULT 0,
    decisions bigint NOT NULL DEFAULT 0,
    failures bigint NOT NULL DEFAULT 0,
    slow bigint NOT NULL DEFAULT 0,
    champion_observations bigint NOT NULL DEFAULT 0,
    champion_acceptances bigint NOT NULL DEFAULT 0,
    champion_decisions bigint NOT NULL DEFAULT 0,
    champion_failures bigint NOT NULL DEFAULT 0,
    champion_slow bigint NOT NULL DEFAULT 0,
    looked_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    cause text,
    reason text
);
CREATE UNIQUE INDEX canary_tests_running ON canary_tests (placement) WHERE ended_at IS NULL;
-- Customers count once in a test. Their names go when it ends.
CREATE TABLE canary_customers (
    test_id bigint NOT NULL,
    customer_id text NOT NULL,
    PRIMARY KEY (test_id, customer_id)
);

-- Who watches for drift, for how long, and up to which decision of each placement that has been done.
CREATE TABLE drift_watch (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    owner text NOT NULL,
    until timestamptz NOT NULL
);
CREATE TABLE drift_positions (
    placement text PRIMARY KEY,
    seen_at timestamptz NOT NULL,
    seen_id text NOT NULL
);
CREATE TABLE drift_windows (
    placement text NOT NULL,
    offer_id text NOT NULL,
    observations bigint NOT NULL,
    acceptances double precision NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (placement, offer_id)
);
CREATE TABLE drift_detections (
    placement text NOT NULL,
    offer_id text NOT NULL,
    detected_at timestamptz NOT NULL,
    decision_id text NOT NULL,
    since timestamptz NOT NULL,
    rate_before double precision NOT NULL,
    rate_after double precision NOT NULL,
    observations_before bigint NOT NULL,
    observations_after bigint NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (placement, offer_id, detected_at, decision_id)
);
"""

# The roll-up is a fold of the log: with the new column it is made again.
COUNTS = {
    "decided": "-count(*) FILTER (WHERE o.outcome = 'withdrawn')",
    "presented": "count(*) FILTER (WHERE o.outcome = 'presented' AND NOT o.late)",
    "clicked": "count(*) FILTER (WHERE o.outcome = 'clicked' AND NOT o.late)",
    "accepted": "count(*) FILTER (WHERE o.outcome = 'accepted' AND NOT o.late)",
    "rejected": "count(*) FILTER (WHERE o.outcome = 'rejected' AND NOT o.late)",
    "ignored": "count(*) FILTER (WHERE o.outcome = 'expired' AND o.reward IS NOT NULL)",
    "unobserved": "count(*) FILTER (WHERE o.outcome = 'expired' AND o.reward IS NULL)",
    "late": "count(*) FILTER (WHERE o.late)",
    "value": "coalesce(sum(o.value) FILTER (WHERE o.outcome = 'accepted' AND NOT o.late), 0)",
}


def _fill(key: str, group: str) -> None:
    """Make the roll-up of the log. ``key``: its columns; ``group``: how a decision's group is found."""
    grp, by = (f"{group}, ", ", 5") if group else ("", "")
    op.execute(
        f"INSERT INTO acceptance ({key}, decided)"
        f" SELECT date_trunc('hour', d.decided_at), d.placement, d.policy, offer ->> 'offer_id', {grp}count(*)"
        f" FROM decisions d, jsonb_array_elements(d.header -> 'offers') AS offer GROUP BY 1, 2, 3, 4{by}"
    )
    sums = ", ".join(f"{column} = acceptance.{column} + excluded.{column}" for column in COUNTS)
    op.execute(
        f"INSERT INTO acceptance ({key}, {', '.join(COUNTS)})"
        f" SELECT date_trunc('hour', o.decided_at), o.placement, o.policy, o.offer_id, {grp}"
        f" {', '.join(COUNTS.values())} FROM outcomes o LEFT JOIN decisions d USING (decision_id, decided_at)"
        f" GROUP BY 1, 2, 3, 4{by} ON CONFLICT ({key}) DO UPDATE SET {sums}"
    )


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    _fill("hour, placement, policy, offer_id, grp", GROUP)


def downgrade() -> None:
    for table in (
        "drift_detections",
        "drift_windows",
        "drift_positions",
        "drift_watch",
        "canary_customers",
        "canary_tests",
    ):
        op.execute(f"DROP TABLE {table}")
    op.execute("DELETE FROM acceptance")
    op.execute("ALTER TABLE acceptance DROP CONSTRAINT acceptance_pkey")
    op.execute("ALTER TABLE acceptance DROP COLUMN grp, ADD PRIMARY KEY (hour, placement, policy, offer_id)")
    _fill("hour, placement, policy, offer_id", "")
    op.execute("ALTER TABLE decisions DROP COLUMN grp")
