"""Putting the job of triggers together."""

from functools import partial

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from app.worker.triggers.following import TriggerJob
from decisioning.catalog.store import CatalogueStore
from decisioning.decide.store_profiles import CachedProfiles
from decisioning.log.lookup_service import decision_of
from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_redis import RedisLog
from decisioning.log.store_stream import LogReader, ParsedEntries
from decisioning.triggers.conditions_service import Conditions
from decisioning.triggers.following_service import TriggerFollower
from decisioning.triggers.store_following import TriggerStore
from profiles.store import ProfileStore
from storage import clock
from storage.keys import Keys


def make_trigger_job(
    engine: AsyncEngine,
    redis: Redis,
    blocking: Redis,
    keys: Keys,
    parsed: ParsedEntries,
    decision_log: RedisLog,
) -> TriggerJob:
    """Make the job. ``blocking``: a connection whose reads may wait; it is shared with whoever else waits."""
    profiles = CachedProfiles(ProfileStore(engine, redis, keys.profile), dict)
    follower = TriggerFollower(
        TriggerStore(engine),
        LogReader(blocking, keys, parsed),
        Conditions(decision_log, profiles),
        partial(decision_of, decision_log=decision_log, archive=ArchiveReader(engine)),
        keys.buckets,
        clock.now_ms,
    )
    return TriggerJob(follower, CatalogueStore(engine).load_newer, clock.now_ms)
