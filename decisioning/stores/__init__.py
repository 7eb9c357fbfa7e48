"""Adapters to Redis and Postgres. Driver exceptions do not leave this package."""
