"""Putting the job of triggers together."""

from functools import partial

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from app.worker.triggers.following import TriggerJob
from app.worker.triggers.settling import Settling
from decisioning.catalog.store import CatalogueStore
from decisioning.decide.store_profiles import CachedProfiles
from decisioning.log.lookup_service import decision_of
from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_redis import RedisLog
from decisioning.log.store_stream import LogReader, ParsedEntries
from decisioning.triggers.conditions_service import Conditions
from decisioning.triggers.days_service import DayWatch
from decisioning.triggers.following_service import TriggerFollower
from decisioning.triggers.store_days import DaysStore
from decisioning.triggers.store_following import TriggerSettling, TriggerStore
from profiles.store import ProfileStore
from storage import clock
from storage.keys import Keys


def make_trigger_job(
    engine: AsyncEngine,
    patient: AsyncEngine,
    redis: Redis,
    blocking: Redis,
    keys: Keys,
    parsed: ParsedEntries,
    decision_log: RedisLog,
) -> TriggerJob:
    """Make the job. ``patient``: may take long over a statement. ``blocking``: its reads may wait for the log."""
    profiles = CachedProfiles(ProfileStore(engine, redis, keys.profile), dict)
    conditions = Conditions(decision_log, profiles)
    follower = TriggerFollower(
        TriggerStore(engine),
        LogReader(blocking, keys, parsed),
        conditions,
        partial(decision_of, decision_log=decision_log, archive=ArchiveReader(engine)),
        keys.buckets,
        clock.now_ms,
    )
    days = DayWatch(DaysStore(patient), conditions, clock.now_ms)
    settling = Settling(TriggerSettling(patient))
    return TriggerJob(follower, days, settling, CatalogueStore(engine).load_newer, clock.now_ms)
