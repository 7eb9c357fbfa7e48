"""What all stores share: connections to Redis and Postgres, keys, server-side functions, locks, clocks."""
