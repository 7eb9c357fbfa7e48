"""Errors of stores, whatever they hold."""


class StorageError(Exception):
    """The root of this package's errors."""


class Unavailable(StorageError):
    """A store cannot be reached or did not answer in time."""


class RedisUnavailable(Unavailable):
    """Redis cannot be reached or did not answer in time."""


class FunctionsUnavailable(RedisUnavailable):
    """Redis answers, but does not have a server-side step of this version, or it failed: a defect."""


class PostgresUnavailable(Unavailable):
    """Postgres cannot be reached or did not answer in time."""
