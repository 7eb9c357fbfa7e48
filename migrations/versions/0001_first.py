"""The first schema: customers, catalogue, log, reports, keys."""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE installation (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    buckets integer NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE customers (
    customer_id text PRIMARY KEY,
    attributes jsonb NOT NULL DEFAULT '{}',
    indicators jsonb NOT NULL DEFAULT '{}',
    holdings text[] NOT NULL DEFAULT '{}',
    interests jsonb NOT NULL DEFAULT '{}',
    consents jsonb NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE propensities (
    customer_id text PRIMARY KEY,
    scores jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- Small stable integers for offers: in arms, candidates and packed propensities.
CREATE TABLE offers (
    offer_id text PRIMARY KEY,
    offer_no integer NOT NULL UNIQUE GENERATED ALWAYS AS IDENTITY
);

-- The catalogue as the list of its changes; the newest entry of each (kind, id) is in force.
CREATE TABLE catalog_entries (
    version bigint PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('group', 'offer', 'treatment', 'placement')),
    id text NOT NULL,
    body jsonb NOT NULL,
    author text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX catalog_entries_newest ON catalog_entries (kind, id, version DESC);

CREATE TABLE api_keys (
    key_id text PRIMARY KEY,
    name text NOT NULL,
    role text NOT NULL CHECK (role IN ('frontend', 'ops', 'scientist', 'admin')),
    hash bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

CREATE TABLE decisions (
    decision_id text NOT NULL,
    decided_at timestamptz NOT NULL,
    customer_id text NOT NULL,
    placement text NOT NULL,
    policy text NOT NULL,
    bucket smallint NOT NULL,
    position text NOT NULL,
    header jsonb NOT NULL,
    candidates bytea NOT NULL,
    priors bytea NOT NULL,
    PRIMARY KEY (decision_id, decided_at)
) PARTITION BY RANGE (decided_at);
CREATE TABLE decisions_default PARTITION OF decisions DEFAULT;

-- decided_at is that of the decision: so the same outcome always meets itself in the same partition.
CREATE TABLE outcomes (
    decision_id text NOT NULL,
    offer_id text NOT NULL,
    outcome text NOT NULL,
    decided_at timestamptz NOT NULL,
    offer_no integer NOT NULL,
    value double precision,
    at_ms bigint NOT NULL,
    recorded_ms bigint NOT NULL,
    late boolean NOT NULL,
    reward double precision,
    prior double precision NOT NULL,
    policy text NOT NULL,
    placement text NOT NULL,
    bucket smallint NOT NULL,
    position text NOT NULL,
    PRIMARY KEY (decision_id, offer_id, outcome, decided_at)
) PARTITION BY RANGE (decided_at);
CREATE TABLE outcomes_default PARTITION OF outcomes DEFAULT;

-- A roll-up of the log by the hour of the decision; it can be thrown away and rebuilt.
CREATE TABLE acceptance (
    hour timestamptz NOT NULL,
    placement text NOT NULL,
    policy text NOT NULL,
    offer_id text NOT NULL,
    decided bigint NOT NULL DEFAULT 0,
    presented bigint NOT NULL DEFAULT 0,
    clicked bigint NOT NULL DEFAULT 0,
    accepted bigint NOT NULL DEFAULT 0,
    rejected bigint NOT NULL DEFAULT 0,
    ignored bigint NOT NULL DEFAULT 0,
    unobserved bigint NOT NULL DEFAULT 0,
    late bigint NOT NULL DEFAULT 0,
    value double precision NOT NULL DEFAULT 0,
    PRIMARY KEY (hour, placement, policy, offer_id)
);

-- How far each bucket's log has been archived; moved in the transaction that archives.
CREATE TABLE archived (
    bucket smallint PRIMARY KEY,
    position text NOT NULL
);

-- Which part of the log had been folded into a policy's arms at which epoch: what replay needs.
CREATE TABLE folds (
    policy text NOT NULL,
    epoch bigint NOT NULL,
    bucket smallint NOT NULL,
    position text NOT NULL,
    PRIMARY KEY (policy, epoch, bucket)
);
"""


def upgrade() -> None:
    for statement in TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    for table in [
        "folds",
        "archived",
        "acceptance",
        "outcomes",
        "decisions",
        "api_keys",
        "catalog_entries",
        "offers",
        "propensities",
        "customers",
        "installation",
    ]:
        op.execute(f"DROP TABLE {table}")
