"""What can go wrong with a store, whatever it holds."""


class StorageError(Exception):
    """Anything that can go wrong in ``storage``."""


class Unavailable(StorageError):
    """A store cannot be reached or did not answer in time."""


class RedisUnavailable(Unavailable):
    """Redis cannot be reached or did not answer in time."""


class PostgresUnavailable(Unavailable):
    """Postgres cannot be reached or did not answer in time."""
