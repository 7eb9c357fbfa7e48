"""One worker process: all background jobs on one event loop."""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any
from uuid import uuid4

from app.api.health.checks import check_postgres, check_redis
from app.config import Settings, factory_modules, parse_retention, webhook_hosts
from app.processes.collector import settle_collector
from app.processes.tasks import TaskSet
from app.state import check_installation
from app.tracing.opening import Tracing, open_tracing
from app.worker.alerting.jobs import AlertWatch, WebhookTeller
from app.worker.alerting.webhook import Webhooks
from app.worker.archiver import ArchiverJob
from app.worker.autopilot import AutopilotJob
from app.worker.connections import Connections
from app.worker.days import DaysJob
from app.worker.drift_watch import DriftWatch
from app.worker.evaluation_runs import EvaluationRunner, run_in_process
from app.worker.event_inbox import EventInbox
from app.worker.expirer import Expirer
from app.worker.export_runs import ExportRunner, ExportSweeper
from app.worker.export_runs import run_in_process as export_in_process
from app.worker.guardrail_watch import GuardrailWatch
from app.worker.identifiers import IdentifierJob
from app.worker.jobs import HEALTH, repeat
from app.worker.learning.default_features import DefaultFeatures
from app.worker.learning.learner import Learner
from app.worker.learning.model_trainer import ModelTrainer, train_until_cancelled
from app.worker.learning.relinearising import RelinearisingJob
from app.worker.merging.job import MergeJob
from app.worker.monitor import monitored
from app.worker.policy_jobs import PolicySupervisor, WarmStartJob
from app.worker.privacy.retention import RetentionJob
from app.worker.reservations import ReservationJob
from app.worker.shadow_runs import ShadowRunner
from app.worker.triggers.deliveries import TriggerDeliveries
from app.worker.triggers.making import make_trigger_job
from bandits.policy import PolicySpec
from bandits.river.pipeline_policy import allow_factories
from bandits.sequential_policy import is_sequential
from bandits.sums import OfferGroups
from decisioning.capacity.store_pools import CapacityLog, Pools
from decisioning.capacity.store_replenish import CapacityKeeper
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.store import CatalogueStore
from decisioning.evaluation.store_jobs import EvaluationStore
from decisioning.evaluation.store_shadows import ShadowStore
from decisioning.events.store_events import EventLog
from decisioning.events.store_inbox import Inbox
from decisioning.events.store_population import PopulationStore, PopulationSurvey
from decisioning.exporting.store_jobs import ExportStore
from decisioning.learning.store_arms import ArmStore, ModelStore
from decisioning.learning.store_warm_start import WarmStarter
from decisioning.log.closing_service import ArchivedClosing
from decisioning.log.households.store_homes import Homes
from decisioning.log.households.store_reservations import Reservations
from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_dead_letters import DeadLetters
from decisioning.log.store_redis import RedisLog
from decisioning.log.store_shares import BucketShares
from decisioning.log.store_stream import LogReader, ParsedEntries
from decisioning.log.store_watch import note_worker
from decisioning.merging.store_aliases import AliasStore
from decisioning.merging.store_events import MarkedEvents
from decisioning.merging.store_handover import Handover
from decisioning.policies.roster import Roster
from decisioning.policies.store import PolicyStore
from decisioning.policies.store_facts import choose_features
from decisioning.policies.store_roster import RosterFeed
from decisioning.privacy.store_retention import Retention
from decisioning.recovery.store_rebuild import Rebuilder
from decisioning.reporting.days.store_roll_up import DaysOfReports
from decisioning.reporting.store_alert_checks import AlertChecks
from decisioning.reporting.store_alerts import AlertStore
from decisioning.reporting.store_asked_days import AskedDays
from decisioning.rollout.autopilot_service import AutopilotService
from decisioning.rollout.default_service import DefaultKeeper
from decisioning.rollout.forgetting import Forgetting
from decisioning.rollout.forgetting_service import ForgettingTrial
from decisioning.rollout.store_autopilot import AutopilotStore
from decisioning.rollout.store_canary import CanaryStore
from decisioning.rollout.store_drift import DriftStore
from decisioning.rollout.store_results import archived_until_ms
from decisioning.triggers.store_delivery import FiringDeliveries
from decisioning.triggers.store_following import TriggerStore
from profiles.events.definitions import EventDefinitions
from profiles.store_cache import ProfileCache
from profiles.store_identifiers import IdentifierIndexes
from storage import clock
from storage.errors import RedisUnavailable, Unavailable
from storage.failures import FailureLog
from storage.functions import FunctionKeeper, load_functions, remove_unused
from storage.installation import RENEW_S, RedisClaim
from storage.keys import Keys

log = logging.getLogger(__name__)

FUNCTIONS_INTERVAL_S = 600.0


async def run_worker(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. A round that is interrupted is done again by the next worker."""
    tracing = open_tracing(settings)
    to = Connections.from_settings(settings)
    allow_factories(factory_modules(settings))
    keys, roster = Keys(settings.buckets), Roster()
    rebuilder = Rebuilder(to.patient, to.redis, keys, roster, CatalogueStore(to.patient), clock.now_ms)
    parsed = ParsedEntries()
    learners = _make_learners(to, keys, parsed, roster, rebuilder, tracing)
    shadows = ShadowRunner(
        ShadowStore(to.engine), CatalogueStore(to.engine), roster, ArmStore(to.blocking, keys)
    )

    webhooks = Webhooks(settings.webhook_secrets, webhook_hosts(settings), time.time)
    deliveries = TriggerDeliveries(settings, CatalogueStore(to.engine), FiringDeliveries(to.engine), webhooks)
    functions = FunctionKeeper(to.redis)
    claim = RedisClaim(to.engine, to.redis, to.pipe)

    jobs = {
        **_make_log_jobs(settings, to, keys, parsed, roster, learners, webhooks),
        "deliveries": deliveries.round,
        "shadows": shadows.round,
        "evaluations": EvaluationRunner(EvaluationStore(to.engine), run_in_process).round,
        "exports": ExportRunner(ExportStore(to.engine), export_in_process).round,
        "files of exports": ExportSweeper(ExportStore(to.engine), settings.export_dir).round,
        "retention": RetentionJob(
            Retention(to.patient, parse_retention(settings.retention)), CatalogueStore(to.engine)
        ).round,
        "days of hold-outs": DaysJob(AskedDays(to.patient), lambda: functions.has_others).round,
        "days of reports": DaysJob(DaysOfReports(to.patient), lambda: functions.has_others).round,
        "identifiers": IdentifierJob(IdentifierIndexes(to.patient), CatalogueStore(to.engine)).round,
        **_make_upkeep_jobs(to, rebuilder, functions, claim),
    }
    started = False

    async def check() -> dict[str, str]:
        return {
            "postgres": await check_postgres(to.engine, claim),
            "redis": await check_redis(to.pipe, functions),
            "start": "ok" if started else "waiting until both servers can be used",
            "jobs": HEALTH.describe(),
        }

    try:
        async with monitored(settings, check):
            # No job may run on a Redis that has lost something: what it writes could hide the loss.
            await _wait_until_ready(to, settings, rebuilder, claim)
            settle_collector(has_worked=True)
            started = True
            await _repeat_until_signal(jobs)
            # After their supervisor, which would start them again.
            await learners.close()
            await shadows.close()
            await deliveries.close()
    finally:
        await webhooks.close()
        await to.close()
        if tracing is not None:
            await tracing.close()


async def _repeat_until_signal(jobs: Mapping[str, Callable[[], Awaitable[float]]]) -> None:
    tasks = [asyncio.create_task(repeat(name, job)) for name, job in jobs.items()]
    await _wait_for_signal()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _make_upkeep_jobs(
    to: Connections, rebuilder: Rebuilder, functions: FunctionKeeper, claim: RedisClaim
) -> dict[str, Callable[[], Awaitable[float]]]:
    """Make the jobs that keep Redis as it has to be, and say that this worker is alive."""

    async def restore_redis() -> float:
        if to.pipe.refusal is not None:  # a server that took the place of ours, and is not fit for it
            raise RedisUnavailable(to.pipe.refusal)
        await functions.keep()
        await rebuilder.restore_if_lost()
        return 1.0

    async def tell() -> float:
        await note_worker(to.redis, clock.now_ms())
        await claim.renew()
        return RENEW_S

    async def remove_functions() -> float:
        for name in await remove_unused(to.redis):
            log.info("functions of another version were removed, since nobody uses them: %s", name)
        return FUNCTIONS_INTERVAL_S

    return {"guard": restore_redis, "functions": remove_functions, "signs of life": tell}


async def _learn(learner: Learner) -> None:
    """Let a learner work until it is cancelled; then other workers have its buckets."""
    try:
        await repeat(f"learner of {learner.key}", learner.round)
    finally:
        await learner.leave()


def _make_learners(
    to: Connections,
    keys: Keys,
    parsed: ParsedEntries,
    roster: Roster,
    rebuilder: Rebuilder,
    tracing: Tracing | None,
) -> TaskSet:
    """Make the tasks in which policies learn, one for each."""
    arms, worker = ArmStore(to.redis, keys), uuid4().hex
    on_folded = None if tracing is None else tracing.folded

    def learn(key: str) -> Coroutine[Any, Any, None]:
        policy, log_reader = roster[key], LogReader(to.blocking, keys, parsed)
        if is_sequential(policy):
            models = ModelStore(to.redis, keys)
            return train_until_cancelled(
                ModelTrainer(key, roster, policy, log_reader, arms, models, rebuilder, on_folded=on_folded)
            )
        shares = BucketShares(to.redis, key, worker, keys.buckets, clock.now_ms)
        archive = ArchiveReader(to.engine)
        return _learn(Learner(key, roster, log_reader, arms, rebuilder, archive, shares, on_folded))

    return TaskSet(learn)


def _make_log_jobs(
    settings: Settings,
    to: Connections,
    keys: Keys,
    parsed: ParsedEntries,
    roster: Roster,
    learners: TaskSet,
    webhooks: Webhooks,
) -> dict[str, Callable[[], Awaitable[float]]]:
    """Make the jobs that read, close and watch the log, and keep the policies that learn from it."""
    reader, arms = LogReader(to.redis, keys, parsed), ArmStore(to.redis, keys)
    feed = RosterFeed(PolicyStore(to.engine), roster)
    pools = Pools(to.pipe, keys)
    keeper = CapacityKeeper(pools, CapacityLog(to.engine), reader, CatalogueStore(to.engine), clock.now_ms)
    archive = ArchiveReader(to.engine)
    decision_log = RedisLog(to.pipe, keys)
    closing = ArchivedClosing(archive, reader, decision_log)
    starter = WarmStarter(to.patient, reader, arms, keys, roster)
    relinearising = RelinearisingJob(
        feed, starter, roster, reader, archive, clock.now_ms, settings.relinearise_s
    )
    archiver = ArchiverJob(
        to.archiver,
        reader,
        arms,
        feed,
        settings.archive_interval_ms / 1000,
        retain_ms=settings.log_retain_s * 1000,
        also_needed=TriggerStore(to.engine).still_needed,
    )
    return {
        "archiver": archiver.round,
        "policies": PolicySupervisor(feed, learners).round,
        "warm starts": WarmStartJob(feed, starter, roster).round,
        "relinearising": relinearising.round,
        "reservations": ReservationJob(Reservations(to.redis, keys)).round,
        "expirer": Expirer(reader, closing, settings.expire_interval_ms / 1000).round,
        "capacity": keeper.round,
        **_make_event_jobs(settings, to, keys),
        "population": _make_survey(settings, to),
        **_make_trigger_jobs(to, keys, parsed, decision_log),
        **_make_rollout_jobs(settings, to, keys, reader, archive),
        **_make_alert_jobs(to, reader, archive, pools, webhooks),
    }


def _make_survey(settings: Settings, to: Connections) -> Callable[[], Awaitable[float]]:
    """Make the job that finds out what is usual among all customers."""
    catalogues = CatalogueStore(to.engine)
    catalogue: Catalogue | None = None

    async def definitions() -> EventDefinitions:
        nonlocal catalogue
        catalogue = await catalogues.load_newer(catalogue)
        return catalogue.event_definitions

    survey = PopulationSurvey(
        PopulationStore(to.redis), definitions, clock.now_ms, settings.population_interval_s
    )
    return survey.round


def _make_event_jobs(
    settings: Settings, to: Connections, keys: Keys
) -> dict[str, Callable[[], Awaitable[float]]]:
    """Make the jobs that finish merges of visitors, and take events from a stream, if there is one."""
    catalogues = CatalogueStore(to.engine)
    merges = MergeJob(
        AliasStore(to.engine),
        ProfileCache(to.redis, keys.profile),
        Handover(to.redis, keys),
        MarkedEvents(to.engine, LogReader(to.redis, keys), keys),
        catalogues.load_newer,
    )
    if not settings.event_stream:
        return {"merges": merges.round}
    inbox = Inbox(to.blocking, settings.event_stream, uuid4().hex)
    event_log = EventLog(to.pipe, keys, Homes(to.engine).of)
    job = EventInbox(inbox, event_log, DeadLetters(to.engine), catalogues.load_newer)
    return {"merges": merges.round, "events": job.round}


def _make_trigger_jobs(
    to: Connections, keys: Keys, parsed: ParsedEntries, decision_log: RedisLog
) -> dict[str, Callable[[], Awaitable[float]]]:
    """Make the jobs that make triggers fire."""
    job = make_trigger_job(to.engine, to.patient, to.redis, to.blocking, keys, parsed, decision_log)
    return {"triggers": job.round, "days of triggers": job.look_for_days, "settling of triggers": job.settle}


def _make_rollout_jobs(
    settings: Settings, to: Connections, keys: Keys, reader: LogReader, archive: ArchiveReader
) -> dict[str, Callable[[], Awaitable[float]]]:
    """Make the jobs that watch results, and bring other policies, or versions of the default, into use."""
    guardrails = GuardrailWatch(
        CanaryStore(to.engine),
        CatalogueStore(to.engine),
        reader,
        archive,
        clock.now_ms,
        settings.guard_interval_ms / 1000,
    )
    drift = DriftWatch(
        DriftStore(to.engine),
        reader,
        archive,
        clock.now_ms,
        settings.drift_interval_ms / 1000,
        settings.drift_horizon_s,
    )
    choose = partial(choose_features, to.patient)
    trial = ForgettingTrial(ArchiveReader(to.patient), keys.buckets, settings.drift_horizon_s)

    async def find_forgetting(spec: PolicySpec, groups: OfferGroups) -> tuple[Forgetting, str] | None:
        return await trial.find(spec, groups, await archived_until_ms(reader, archive, clock.now_ms()))

    default = DefaultKeeper(
        CatalogueStore(to.engine),
        PolicyStore(to.engine),
        choose,
        clock.now_ms,
        find_forgetting=find_forgetting,
        forgetting_every_ms=settings.forgetting_interval_s * 1000,
    )
    autopilots = AutopilotService(
        CatalogueStore(to.engine),
        PolicyStore(to.engine),
        AutopilotStore(to.patient),
        choose,
        clock.now_ms,
    )
    return {
        "guardrails": guardrails.round,
        "drift": drift.round,
        "default features": DefaultFeatures(default, settings.auto_features_interval_s).round,
        "autopilots": AutopilotJob(autopilots).round,
    }


def _make_alert_jobs(
    to: Connections, reader: LogReader, archive: ArchiveReader, pools: Pools, webhooks: Webhooks
) -> dict[str, Callable[[], Awaitable[float]]]:
    """Make the jobs that look at alerts, and tell webhooks of them."""
    store, catalogues = AlertStore(to.engine), CatalogueStore(to.engine)
    checks = AlertChecks(to.engine, reader, archive, pools, clock.now_ms)
    return {
        "alerts": AlertWatch(store, checks, catalogues, clock.now_ms).round,
        "webhooks": WebhookTeller(store, catalogues, webhooks).round,
    }


async def _wait_until_ready(
    to: Connections, settings: Settings, rebuilder: Rebuilder, claim: RedisClaim
) -> None:
    """Load functions and restore what Redis lost; wait for stores that are not there yet, or not fit for use."""
    await to.pipe.start()
    failures = FailureLog(log)
    while True:
        reason: object = ""
        try:
            await check_installation(to.engine, settings, to.pipe)
            if await claim.renew() and to.pipe.connected and to.pipe.refusal is None:
                await load_functions(to.redis)
                await rebuilder.restore_if_lost()
                failures.recovered("the start")
                return
        except Unavailable as error:
            reason = error
        reason = to.pipe.refusal or reason or "redis cannot be reached"
        failures.note("the start", "waiting for redis and postgres: %s", reason)
        await asyncio.sleep(0.5)


async def _wait_for_signal() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
