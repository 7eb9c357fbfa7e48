"""Putting the job of triggers together."""

import logging

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from app.metrics import OUTCOMES_PASSED_OVER
from app.worker.triggers.following import TriggerJob
from app.worker.triggers.settling import Settling
from decisioning.catalog.store import CatalogueStore
from decisioning.decide.store_profiles import CachedProfiles
from decisioning.errors import LogCodecError
from decisioning.events.store_population import PopulationStore
from decisioning.log.lookup_service import decision_of
from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_redis import RedisLog
from decisioning.log.store_stream import LogReader, ParsedEntries
from decisioning.model.decision import Decision
from decisioning.triggers.conditions_service import Conditions
from decisioning.triggers.days_service import DayWatch
from decisioning.triggers.following_service import TriggerFollower
from decisioning.triggers.store_days import DaysStore
from decisioning.triggers.store_following import TriggerSettling, TriggerStore
from profiles.store import ProfileStore
from storage import clock
from storage.failures import FailureLog
from storage.keys import Keys

log = logging.getLogger(__name__)


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
    failures, archive = FailureLog(log), ArchiveReader(engine)
    conditions = Conditions(decision_log, profiles, PopulationStore(redis).refresh)

    async def find_decision(decision_id: str) -> Decision | None:
        try:
            return await decision_of(decision_id, decision_log, archive)
        except (
            LogCodecError
        ) as error:  # it would be so each time: nothing behind its outcomes would ever fire
            OUTCOMES_PASSED_OVER.inc()
            message = "triggers pass over outcomes of decision %s: %s"
            failures.note("reading decisions for triggers", message, decision_id, error, error=error)
            return None

    follower = TriggerFollower(
        TriggerStore(engine),
        LogReader(blocking, keys, parsed),
        conditions,
        find_decision,
        keys.buckets,
        clock.now_ms,
    )
    days = DayWatch(DaysStore(patient), conditions, clock.now_ms)
    settling = Settling(TriggerSettling(patient))
    return TriggerJob(follower, days, settling, CatalogueStore(engine).load_newer, clock.now_ms)
