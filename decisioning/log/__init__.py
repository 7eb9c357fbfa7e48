"""The log: its records and their codec, the streams in Redis, the archive in Postgres, feedback, imported history."""
