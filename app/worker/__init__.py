"""The background jobs: they learn from the log, archive it and watch it. Several workers may run at once."""
