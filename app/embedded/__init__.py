"""Real PostgreSQL and Valkey servers from wheels (the extra `embedded`): for demo, tests and trials."""
