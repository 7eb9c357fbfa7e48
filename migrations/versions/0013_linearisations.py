"""Where generations of arms were linearised, when that was last looked at, and imports of history that call for it."""

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    # Never updated: replays of a generation need the points that its contributions were linearised at.
    op.execute(
        "CREATE TABLE linearisations ("
        " policy text NOT NULL, generation bigint NOT NULL, until_ms bigint NOT NULL, points bytea NOT NULL,"
        " created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (policy, generation))"
    )
    op.execute(
        "CREATE TABLE linearisation_runs ("
        " policy text PRIMARY KEY, began_at timestamptz NOT NULL, outcomes bigint NOT NULL)"
    )
    op.execute(
        "CREATE TABLE history_imports ("
        " import_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
        " finished_at timestamptz NOT NULL DEFAULT now(), new_rows bigint NOT NULL)"
    )


def downgrade() -> None:
    op.execute("DROP TABLE history_imports")
    op.execute("DROP TABLE linearisation_runs")
    op.execute("DROP TABLE linearisations")
