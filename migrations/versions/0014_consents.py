"""Changes of consents and objections by imports, which replace no record that others may be changing."""

from alembic import op

revision = "0014"
down_revision = "0013"

# The same as ``profiles.consents.Change.apply``, for all purposes that ``changes`` names. A purpose without entries, or
# with what is no list, is an objection to all channels.
CONSENTS_AFTER = """
CREATE FUNCTION consents_after(stored jsonb, changes jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $body$
    SELECT coalesce(
        (SELECT jsonb_object_agg(kept.key, kept.value) FROM jsonb_each(stored) AS kept
         WHERE NOT jsonb_exists(changes, kept.key)),
        '{}'
    ) || coalesce(
        (SELECT jsonb_object_agg(change.key, result.entries)
         FROM jsonb_each(changes) AS change
         CROSS JOIN LATERAL (
             SELECT jsonb_agg(entry ORDER BY added, place) AS entries FROM (
                 SELECT entry, false AS added, place
                 FROM jsonb_array_elements_text(
                     CASE WHEN NOT jsonb_exists(stored, change.key) THEN '[]'
                          WHEN jsonb_typeof(stored -> change.key) <> 'array' OR stored -> change.key = '[]'
                          THEN '["!*"]'
                          ELSE stored -> change.key END
                 ) WITH ORDINALITY AS before (entry, place)
                 WHERE NOT jsonb_exists(change.value -> 'drop', entry)
                   AND NOT jsonb_exists(change.value -> 'add', entry)
                   AND (starts_with(entry, '!') OR NOT CAST(change.value -> 'withdraw_all' AS boolean))
                 UNION ALL
                 SELECT entry, true, place
                 FROM jsonb_array_elements_text(change.value -> 'add') WITH ORDINALITY AS named (entry, place)
             ) AS all_entries
         ) AS result
         WHERE result.entries IS NOT NULL),
        '{}'
    )
$body$
"""


def upgrade() -> None:
    op.execute(CONSENTS_AFTER)


def downgrade() -> None:
    op.execute("DROP FUNCTION consents_after(jsonb, jsonb)")
