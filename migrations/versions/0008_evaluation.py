"""Choices of shadows; evaluations that were asked for; the archived decisions in their order."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    # One archiver writes at a time, so numbers become visible in their order: a position in the archive.
    op.execute("CREATE SEQUENCE decisions_seq")
    op.execute("ALTER TABLE decisions ADD COLUMN seq bigint")
    op.execute("ALTER TABLE decisions ALTER COLUMN seq SET DEFAULT nextval('decisions_seq')")
    op.execute("CREATE INDEX decisions_in_order ON decisions (seq) WHERE seq IS NOT NULL")
    op.execute("CREATE INDEX decisions_of_placement ON decisions (placement, decided_at, decision_id)")
    # Outcomes come about in the order of their decisions, so a coarse index is enough, and costs next to nothing.
    op.execute("CREATE INDEX outcomes_in_time ON outcomes USING brin (decided_at)")
    # One row for each slot that was shown, and each policy that was asked; rank 0 if it raised an error.
    op.execute(
        "CREATE TABLE shadow_choices ("
        " decided_at timestamptz NOT NULL, decision_id text NOT NULL, policy text NOT NULL, rank smallint NOT NULL,"
        " placement text NOT NULL, offer_no integer, probability double precision, chance double precision,"
        " estimate double precision, direct double precision, worth double precision,"
        " direct_worth double precision, best_no integer, unusable text, narrowed boolean NOT NULL DEFAULT false,"
        " took_us integer NOT NULL, error text, judged_ms bigint NOT NULL,"
        " PRIMARY KEY (decided_at, decision_id, policy, rank))"
    )
    op.execute("CREATE INDEX shadow_choices_of_policy ON shadow_choices (placement, policy, decided_at)")
    op.execute(
        "CREATE TABLE shadow_position"
        " (only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row), seq bigint NOT NULL)"
    )
    op.execute(
        "CREATE TABLE evaluations ("
        " evaluation_id text PRIMARY KEY, request jsonb NOT NULL, author text NOT NULL,"
        " state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'done', 'failed')),"
        " asked_at timestamptz NOT NULL DEFAULT now(), alive_at timestamptz, finished_at timestamptz,"
        " seen bigint NOT NULL DEFAULT 0, total bigint NOT NULL DEFAULT 0, result jsonb, error text)"
    )
    op.execute(
        "CREATE INDEX evaluations_open ON evaluations (asked_at) WHERE state IN ('waiting', 'running')"
    )


def downgrade() -> None:
    op.execute("DROP TABLE evaluations")
    op.execute("DROP TABLE shadow_position")
    op.execute("DROP TABLE shadow_choices")
    op.execute("DROP INDEX outcomes_in_time")
    op.execute("DROP INDEX decisions_of_placement")
    op.execute("DROP INDEX decisions_in_order")
    op.execute("ALTER TABLE decisions DROP COLUMN seq")
    op.execute("DROP SEQUENCE decisions_seq")
