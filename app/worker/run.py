"""One worker process: all background jobs on one event loop."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Coroutine
from typing import Any

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from app.config import ConfigError, Settings, modules_of
from app.state import check_buckets, clock_ms
from app.tasks import TaskSet
from app.worker.archiver import ArchiverJob
from app.worker.evaluations import EvaluationJob, in_a_process
from app.worker.expirer import Expirer
from app.worker.jobs import repeat
from app.worker.learner import Learner
from app.worker.policies import PolicySupervisor, Warmer
from app.worker.shadows import ShadowJob
from app.worker.teacher import Teacher, teaching
from app.worker.watches import watches
from bandits.river_policy import allow_factories
from bandits.sequential_policy import is_sequential
from decisioning.errors import Unavailable
from decisioning.keys import Keys
from decisioning.roster import Roster
from decisioning.stores.archive import Archiver
from decisioning.stores.capacity_keeper import CapacityKeeper
from decisioning.stores.capacity_log import CapacityLog
from decisioning.stores.catalogue import CatalogueStore
from decisioning.stores.evaluations import EvaluationStore
from decisioning.stores.feed import RosterFeed
from decisioning.stores.loader import load_functions
from decisioning.stores.models import ModelStore
from decisioning.stores.pipe import Pipe
from decisioning.stores.policies import PolicyStore
from decisioning.stores.pools import Pools
from decisioning.stores.postgres import PATIENT_S, make_engine
from decisioning.stores.rebuild import Rebuilder
from decisioning.stores.shadows import ShadowStore
from decisioning.stores.streams import ArmStore, LogReader, make_redis
from decisioning.stores.warming import WarmStarter

log = logging.getLogger(__name__)


async def run_worker(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. A round that is interrupted is done again by the next worker."""
    if settings.postgres_url is None or settings.redis_url is None:
        raise ConfigError("set NEXTBEST_POSTGRES_URL and NEXTBEST_REDIS_URL, or start with nextbest up")
    allow_factories(modules_of(settings))
    engine = make_engine(settings.postgres_url)
    patient = make_engine(settings.postgres_url, statement_s=PATIENT_S)
    redis = make_redis(settings.redis_url)
    blocking = make_redis(settings.redis_url)
    keys = Keys(settings.buckets)
    roster = Roster()
    archiver = Archiver(settings.postgres_url)
    rebuilder = Rebuilder(patient, redis, keys, roster, CatalogueStore(patient), clock_ms)
    reader = LogReader(redis, keys)
    arms = ArmStore(redis, keys)
    pipe = Pipe(settings.redis_url, stall_ms=10 * settings.redis_stall_ms)
    keeper = CapacityKeeper(Pools(pipe, keys), CapacityLog(engine), reader, CatalogueStore(engine), clock_ms)
    feed = RosterFeed(PolicyStore(engine), roster)
    archiver_job = ArchiverJob(archiver, reader, arms, feed, settings.archive_interval_ms / 1000)

    def learn(key: str) -> Coroutine[Any, Any, None]:
        policy, log_reader = roster[key], LogReader(blocking, keys)
        if is_sequential(policy):
            return teaching(
                Teacher(key, roster, policy, log_reader, arms, ModelStore(redis, keys), rebuilder)
            )
        return repeat(f"learner of {key}", Learner(key, roster, log_reader, arms, rebuilder).round)

    learners = TaskSet(learn)
    warmer = Warmer(feed, WarmStarter(patient, reader, arms, keys, roster), roster)
    shadows = ShadowJob(ShadowStore(engine), CatalogueStore(engine), roster, ArmStore(blocking, keys))
    jobs = {
        "archiver": archiver_job.round,
        "policies": PolicySupervisor(feed, learners).round,
        "warm starts": warmer.round,
        "expirer": Expirer(reader, settings.expire_interval_ms / 1000).round,
        "capacity": keeper.round,
        **watches(settings, engine, reader),
        "shadows": shadows.round,
        "evaluations": EvaluationJob(EvaluationStore(engine), in_a_process).round,
    }

    async def guard() -> float:
        await load_functions(redis, only_if_missing=True)
        await rebuilder.restore_if_lost()
        return 1.0

    try:
        await _until_ready(engine, settings, rebuilder, redis)
        await pipe.start()
        tasks = [asyncio.create_task(repeat(name, job)) for name, job in jobs.items()]
        tasks.append(asyncio.create_task(repeat("guard", guard)))
        await _stopped()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await learners.close()
        await shadows.close()
    finally:
        await pipe.stop()
        await archiver.close()
        await redis.aclose()
        await blocking.aclose()
        await engine.dispose()
        await patient.dispose()


async def _until_ready(engine: AsyncEngine, settings: Settings, rebuilder: Rebuilder, redis: "Redis") -> None:
    """Functions loaded, and nothing of Redis lost; waits for stores that are not there yet."""
    while True:
        with contextlib.suppress(Unavailable):
            await check_buckets(engine, settings)
            await load_functions(redis)
            await rebuilder.restore_if_lost()
            return
        log.warning("waiting for redis and postgres")
        await asyncio.sleep(0.5)


async def _stopped() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
