"""Profiles in Postgres, and their read-through cache in Redis."""

from profiles.stores.bulk import BulkLoader, Progress
from profiles.stores.cache import AFTER_CHANGE_S, BEFORE_CHANGE_S, FILL_WITHIN_S, ProfileCache
from profiles.stores.profiles import READ_TIMEOUT_S, ProfileStore
from profiles.stores.suppressions import SuppressionStore

__all__ = [
    "AFTER_CHANGE_S",
    "BEFORE_CHANGE_S",
    "FILL_WITHIN_S",
    "READ_TIMEOUT_S",
    "BulkLoader",
    "ProfileCache",
    "ProfileStore",
    "Progress",
    "SuppressionStore",
]
