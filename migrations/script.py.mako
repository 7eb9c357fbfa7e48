"""${message}

Keep locks short: add columns without volatile defaults, create indexes of large tables by
``migrations.create_concurrently``, validate constraints later.
"""
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
