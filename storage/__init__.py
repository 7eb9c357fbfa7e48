"""The base of all stores: connections to Redis and Postgres, keys, server-side functions, locks, the clock."""
