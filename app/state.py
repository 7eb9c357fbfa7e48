"""The state of a process of the API: stores, services, and the catalogue and keys that it keeps fresh."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from app.api.upkeep import upkeep
from app.config import ConfigError, Settings, factory_modules, parse_roles
from app.console.sessions import Sessions, SessionStore
from app.keys import ApiKey, KeyStore, KeyUse, in_force
from app.metrics import DECISIONS, MISSING, POLICY_FAILURES
from app.processes.tasks import TaskSet
from app.publishable.limits import RateLimits
from app.publishable.settings import PublishableKeys
from app.publishable.store import PublishableStore
from app.tracing.opening import Tracing
from bandits.river.pipeline_policy import allow_factories
from decisioning.capacity.store_leases import LeaseHolder
from decisioning.capacity.store_pools import CapacityLog, Pools
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.store import CatalogueStore
from decisioning.decide.service import DecisionService
from decisioning.decide.store_profiles import CachedProfiles
from decisioning.evaluation.simulation_service import SimulationService
from decisioning.evaluation.store_comparison import ComparisonReader
from decisioning.evaluation.store_jobs import EvaluationStore
from decisioning.events.intake_service import EventIntake
from decisioning.events.store_events import EventLog
from decisioning.events.store_population import PopulationStore
from decisioning.exporting.store_jobs import ExportStore
from decisioning.learning.arms_service import ArmsService
from decisioning.learning.replica import ArmReplica
from decisioning.learning.store_arms import ArmStore
from decisioning.learning.store_follow import ArmFollower
from decisioning.learning.store_selections import selections
from decisioning.log.feedback_service import FeedbackService
from decisioning.log.households.store_homes import Homes
from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_redis import RedisLog
from decisioning.log.store_stream import LogReader
from decisioning.log.store_watch import ArchiveWatch
from decisioning.merging.merge_service import MergeService
from decisioning.merging.store_aliases import AliasStore
from decisioning.merging.store_events import MarkedEvents
from decisioning.merging.store_handover import Handover
from decisioning.model.decision import Decision
from decisioning.model.degraded import DegradedReason
from decisioning.policies.roster import Roster
from decisioning.policies.store import PolicyStore
from decisioning.policies.store_roster import RosterFeed
from decisioning.reporting.interests_service import InterestsService
from decisioning.reporting.store_last_day import LastDay
from decisioning.reporting.without_offer_service import WithoutOfferService
from decisioning.rollout.service import RolloutService
from decisioning.rollout.store_canary import CanaryStore
from decisioning.rollout.store_drift import DriftStore
from profiles.store import ProfileStore
from profiles.store_bulk import BulkLoader
from profiles.store_sample import sample_profiles
from profiles.store_suppressions import SuppressionStore
from storage import clock
from storage.errors import PostgresUnavailable, RedisUnavailable, Unavailable
from storage.failures import FailureLog
from storage.functions import FunctionKeeper, load_functions
from storage.installation import RedisClaim, read_installation
from storage.keys import Keys, timed_entropy
from storage.postgres import make_engine, trace_statements
from storage.redis import make_redis
from storage.redis_pipe import Pipe
from storage.tasks import cancelled

log = logging.getLogger(__name__)

START_TIMEOUT_S = 3.0
ARMS_TIMEOUT_S = 0.5
PREPARING_S = 0.5


async def check_installation(engine: AsyncEngine, settings: Settings, pipe: Pipe) -> None:
    """Raise ``ConfigError`` if this installation has another number of buckets; let ``pipe`` use its Redis only."""
    installation = await read_installation(engine, settings.buckets)
    if installation.buckets != settings.buckets:
        raise ConfigError(
            f"NEXTBEST_BUCKETS is {settings.buckets}, but this installation has {installation.buckets}"
        )
    await pipe.claim(installation.id)


def _count_missing(missing: Mapping[str, int]) -> None:
    for attribute, count in missing.items():
        MISSING.labels(attribute).inc(count)


_decisions_of = lru_cache(maxsize=1000)(DECISIONS.labels)
"""Finds the counter of a placement, policy, version and group; looking it up takes longer than counting."""


def _count_decided(decision: Decision) -> None:
    placement, policy = decision.placement, decision.policy
    _decisions_of(placement, policy.name, policy.version, decision.logged_group or decision.group).inc()
    if decision.failure is not None:
        POLICY_FAILURES.labels(placement, decision.failure.policy, decision.failure.reason).inc()


MAX_COURSES = 1
"""Courses of canaries' tests that a process reads at once: each has a connection for seconds, and others wait."""


@dataclass
class ApiState:
    """Everything that requests need. Built by ``open_state``, closed there as well."""

    settings: Settings
    keys: Keys
    engine: AsyncEngine
    redis: Redis
    pipe: Pipe
    roster: Roster
    replica: ArmReplica
    catalogues: CatalogueStore
    key_store: KeyStore
    publishable_store: PublishableStore
    archive: ArchiveReader
    profiles: ProfileStore
    decision_log: RedisLog
    policies: PolicyStore
    arms: ArmStore
    suppressions: SuppressionStore
    bulk_loader: BulkLoader
    evaluations: EvaluationStore
    exports: ExportStore
    comparisons: ComparisonReader
    canaries: CanaryStore
    drift: DriftStore
    archive_watch: ArchiveWatch
    functions: FunctionKeeper
    redis_claim: RedisClaim
    key_use: KeyUse
    tracing: Tracing | None = None
    catalogue: Catalogue | None = None
    api_keys: Mapping[bytes, ApiKey] | None = None
    publishable_keys: PublishableKeys | None = None
    searches: RateLimits = field(default_factory=RateLimits)
    courses: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_COURSES))
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    warm: asyncio.Event = field(default_factory=asyncio.Event)
    arms_read: asyncio.Event = field(default_factory=asyncio.Event)
    followers: TaskSet = field(init=False)
    feed: RosterFeed = field(init=False)
    capacity_leases: LeaseHolder = field(init=False)
    decisions: DecisionService = field(init=False)
    feedback: FeedbackService = field(init=False)
    events: EventIntake = field(init=False)
    merging: MergeService = field(init=False)
    simulations: SimulationService = field(init=False)
    without_offer: WithoutOfferService = field(init=False)
    interests: InterestsService = field(init=False)
    arms_reports: ArmsService = field(init=False)
    log_reader: LogReader = field(init=False)
    sessions: Sessions = field(init=False)
    population: PopulationStore = field(init=False)

    def __post_init__(self) -> None:
        cached = CachedProfiles(self.profiles, self.numbers)
        pools = Pools(self.pipe, self.keys)
        self.population = PopulationStore(self.redis)
        self.feed = RosterFeed(self.policies, self.roster)
        self.followers = TaskSet(ArmFollower(self.arms, self.replica, self._note_arms_loaded).follow)
        self.capacity_leases = LeaseHolder(
            pools, CapacityLog(self.engine), self.current_catalogue, clock.now_ms
        )
        self.decisions = DecisionService(
            catalogue=self.current_catalogue,
            replica=self.replica,
            roster=self.roster,
            decision_log=self.decision_log,
            archive=self.archive,
            profiles=cached,
            keys=self.keys,
            clock_ms=clock.now_ms,
            entropy=lambda: timed_entropy(clock.now_ms(), os.urandom(10)),
            capacity=self.capacity_leases,
            policy_budget_ms=self.settings.policy_budget_ms,
            population=lambda: self.population.current,
            on_missing=_count_missing,
            on_decided=_count_decided if self.tracing is None else self._trace_decided,
        )
        on_recorded = None if self.tracing is None else self.tracing.recorded
        self.feedback = FeedbackService(
            self.decision_log,
            self.archive,
            clock.now_ms,
            on_recorded,
            lambda: self.current_catalogue().outcome_rules,
        )
        event_log = EventLog(self.pipe, self.keys, Homes(self.engine).of)
        self.events = EventIntake(self.current_catalogue, event_log, clock.now_ms)
        self.log_reader = LogReader(self.redis, self.keys)
        handover = Handover(self.redis, self.keys)
        self.decision_log.hand_over = handover.hand_over_contacts
        self.merging = MergeService(
            AliasStore(self.engine),
            self.profiles.cache,
            handover,
            MarkedEvents(self.engine, self.log_reader, self.keys),
            self.current_catalogue,
            clock.now_ms,
        )
        self.simulations = SimulationService(
            partial(sample_profiles, self.engine),
            self.catalogues,
            self.decision_log,
            self.roster,
            self.replica,
            clock.now_ms,
            population=self.population.refresh,
        )
        self.interests = InterestsService(self.simulations)
        self.without_offer = WithoutOfferService(self.simulations, self.catalogues, LastDay(self.engine))
        roles = parse_roles(self.settings.oidc_roles) if self.settings.oidc_issuer else {}
        self.sessions = Sessions(SessionStore(self.engine), roles.values())
        self.arms_reports = ArmsService(
            self.roster, self.replica, self.arms, partial(selections, self.engine), clock.now_ms
        )

    def stager(self, author: str, reason: str, expected: int | None) -> RolloutService:
        """Change stages in the name of an author, on top of the version ``expected`` (``None``: any)."""
        return RolloutService(self.catalogues, self.policies, clock.now_ms, author, reason, expected)

    def degraded(self) -> list[str]:
        """List what is wrong with the installation beyond a single answer, as answers tell it."""
        return [DegradedReason.ARCHIVE_STANDS_STILL] if self.archive_watch.stands_still else []

    def current_catalogue(self) -> Catalogue:
        """Return the catalogue in force. Raises ``PostgresUnavailable`` while none has been read."""
        if self.catalogue is None:
            raise PostgresUnavailable("the catalogue has not been read yet")
        return self.catalogue

    def numbers(self) -> Mapping[str, int]:
        """Map offer ids to their numbers. Raises ``PostgresUnavailable`` while no catalogue has been read."""
        return self.current_catalogue().numbers

    async def refresh(self) -> None:
        """Read catalogue and keys again if they changed.

        Raises ``PostgresUnavailable``, and ``ConfigError`` if the installation has another number of buckets.
        """
        if self.catalogue is None:
            await check_installation(self.engine, self.settings, self.pipe)
        # Before the catalogue, which may name policies that have just been registered.
        await self.refresh_policies()
        if self.catalogue is None or await self.catalogues.version() > self.catalogue.version:
            await self.adopt(await self.catalogues.load())
        self.api_keys = await self.key_store.load()
        self.publishable_keys = await self.publishable_store.load()
        await self.sessions.refresh()

    async def refresh_policies(self) -> None:
        """Read the registered policies again, and follow the arms of those that are live."""
        await self.feed.refresh()
        self.followers.want(self.feed.deciding())

    async def adopt(self, catalogue: Catalogue) -> None:
        """Put a catalogue in force here, unless a newer one is; wait a little for the arms that it needs."""
        deployed = catalogue.deployed
        if not all(self._known_live(key) for key in deployed):
            # If not now, they are known by the next round, and fall back till then.
            with contextlib.suppress(PostgresUnavailable):
                await self.refresh_policies()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ARMS_TIMEOUT_S):
                while any(self.replica.epoch(key) is None for key in deployed & self.followers.keys):
                    self.arms_read.clear()
                    await self.arms_read.wait()
        await self._prepare_ahead(catalogue)
        # Only now: while it waited, another task may have put a newer one in force.
        if self.catalogue is None or catalogue.version > self.catalogue.version:
            self.catalogue = catalogue
            self.catalogues.keep_at_hand(catalogue)

    async def _prepare_ahead(self, catalogue: Catalogue) -> None:
        """Prepare policies for a catalogue before it is in force, in a thread, so that no decision waits for it.

        What takes too long is left to the first decisions.
        """
        loop = asyncio.get_running_loop()
        ends_s, views = loop.time() + PREPARING_S, catalogue.views
        wanted = {*self.replica.in_use(), *((view.champion, name) for name, view in views.items())}
        for key, placement_id in sorted(wanted):
            view = views.get(placement_id)
            if view is None or key not in self.roster or loop.time() >= ends_s:
                continue
            work = self.replica.plan_ahead(key, view, clock.now_ms())
            if work is not None:
                await asyncio.to_thread(work.run)

    async def keep_refreshed(self) -> None:
        """Poll for ever: a change is in force here within ``catalog_poll_ms``."""
        what, failures = "reading catalogue and keys", FailureLog(log)
        while not cancelled():
            await asyncio.sleep(self.settings.catalog_poll_ms / 1000)
            try:
                await self.refresh()
                failures.recovered(what)
            except Unavailable as error:
                failures.note(what, "catalogue and keys are as of before: %s", error, error=error)
                if self.api_keys is not None:
                    self.api_keys = in_force(self.api_keys, clock.to_datetime(clock.now_ms()))
            except ConfigError as error:
                failures.note(what, "nothing is served: %s", error, level=logging.CRITICAL, error=error)
            except Exception as error:  # later changes must not be missed for one that cannot be read
                failures.note(
                    what,
                    "a defect: catalogue and keys are as of before",
                    level=logging.ERROR,
                    error=error,
                    with_traceback=True,
                )

    def _known_live(self, key: str) -> bool:
        """Return whether a policy is here, and its warm start was done when its state was last read."""
        return key in self.roster and self.feed.states.get(key, "live") == "live"

    def cold_policies(self) -> list[str]:
        """List the policies whose arms this process lacks to be ready: of built-in ones and champions."""
        champions = () if self.catalogue is None else self.catalogue.champions
        needed = [key for key in self.roster.learning() if key in champions or key not in self.feed.states]
        return [key for key in needed if self.replica.epoch(key) is None]

    def _trace_decided(self, decision: Decision) -> None:
        _count_decided(decision)
        if self.tracing is not None:
            self.tracing.decided(decision)

    def _note_arms_loaded(self) -> None:
        self.arms_read.set()
        if not self.cold_policies():
            self.warm.set()


@asynccontextmanager
async def open_state(
    settings: Settings, key_use: KeyUse | None = None, tracing: Tracing | None = None
) -> AsyncIterator[ApiState]:
    """Connect to the stores, load what is needed, keep it fresh; close everything at the end, but for ``tracing``.

    Notes the keys of ``key_use``. Starts even if a store is down (its readiness tells), except when the installation
    has other buckets.
    """
    if settings.postgres_url is None or settings.redis_url is None:
        raise ConfigError("set NEXTBEST_POSTGRES_URL and NEXTBEST_REDIS_URL, or start with nextbest up")
    allow_factories(factory_modules(settings))
    engine = make_engine(settings.postgres_url)
    redis = make_redis(settings.redis_url)
    pipe = Pipe(settings.redis_url, stall_ms=settings.redis_stall_ms)
    keys = Keys(settings.buckets)
    roster = Roster()
    profiles = ProfileStore(engine, redis, keys.profile, ttl_s=settings.profile_cache_s)
    functions = FunctionKeeper(redis)
    state = ApiState(
        settings=settings,
        keys=keys,
        engine=engine,
        redis=redis,
        pipe=pipe,
        roster=roster,
        replica=ArmReplica(roster),
        catalogues=CatalogueStore(engine),
        key_store=KeyStore(engine),
        publishable_store=PublishableStore(engine),
        archive=ArchiveReader(engine),
        profiles=profiles,
        decision_log=RedisLog(pipe, keys, lambda: functions.has_others),
        policies=PolicyStore(engine),
        arms=ArmStore(redis, keys),
        suppressions=SuppressionStore(engine, profiles.cache),
        bulk_loader=BulkLoader(engine, profiles.cache),
        evaluations=EvaluationStore(engine),
        exports=ExportStore(engine),
        comparisons=ComparisonReader(engine),
        canaries=CanaryStore(engine),
        drift=DriftStore(engine),
        archive_watch=ArchiveWatch(ArchiveReader(engine), LogReader(redis, keys), redis),
        functions=functions,
        redis_claim=RedisClaim(engine, redis, pipe),
        key_use=key_use or KeyUse(),
        tracing=tracing,
    )
    if tracing is not None:
        pipe.begin_span = tracing.begin_call
        trace_statements(engine, tracing.begin_call)
    try:
        await _start(state)
        yield state
    finally:
        # First all that uses the stores, then the connections.
        for task in state.tasks:
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)
        await state.followers.close()
        await state.decisions.close()
        await state.capacity_leases.close()
        await pipe.stop()
        await redis.aclose()
        await engine.dispose()


async def _start(state: ApiState) -> None:
    with contextlib.suppress(Unavailable, TimeoutError):
        async with asyncio.timeout(START_TIMEOUT_S):
            await state.refresh()
    with contextlib.suppress(RedisUnavailable, TimeoutError):
        async with asyncio.timeout(START_TIMEOUT_S):
            await load_functions(state.redis)
            await state.functions.keep()
    # Both may have failed: decisions are degraded then, and the tasks below try again.
    await state.pipe.start()
    with contextlib.suppress(Unavailable, TimeoutError):
        async with asyncio.timeout(START_TIMEOUT_S):
            await state.redis_claim.renew()
    state.capacity_leases.start()
    jobs = [state.keep_refreshed(), *upkeep(state)]
    state.followers.want(state.feed.deciding())
    state.tasks += [asyncio.create_task(job) for job in jobs]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            await state.warm.wait()
