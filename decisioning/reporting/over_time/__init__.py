"""Reports on what changes with time, as charts show it: by hour or day, aggregated in Postgres."""
