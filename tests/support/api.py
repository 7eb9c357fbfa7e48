"""The whole application inside of the tests: instances of the API, and background jobs that are run by hand."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
from fastapi import FastAPI
from sqlalchemy import text

from app.api.schemas import ProblemOut
from app.config import Settings
from app.keys import ROLES, KeyStore, Role
from app.main import create_app
from app.state import ApiState
from app.tracing.opening import OnFolded, Tracing
from app.worker.archiver import ArchiverJob
from app.worker.evaluation_runs import EvaluationRunner, run_evaluation
from app.worker.export_runs import ExportRunner, ExportSweeper, run_export
from app.worker.learning.learner import Learner
from app.worker.learning.relinearising import RelinearisingJob
from app.worker.policy_jobs import WarmStartJob
from app.worker.shadow_runs import ShadowRunner
from decisioning.catalog.store import CatalogueStore
from decisioning.evaluation.store_jobs import EvaluationStore
from decisioning.evaluation.store_shadows import ShadowStore
from decisioning.exporting.store_jobs import ExportStore
from decisioning.learning.store_arms import ArmStore
from decisioning.learning.store_warm_start import WarmStarter
from decisioning.log.owners import GRACE_MS
from decisioning.log.store_archive import Archiver, ArchiveReader
from decisioning.log.store_shares import BucketShares
from decisioning.log.store_stream import LogReader
from decisioning.log.store_watch import note_worker
from decisioning.model.position import StreamPosition
from decisioning.policies.roster import Roster
from decisioning.policies.store import PolicyStore
from decisioning.policies.store_roster import RosterFeed
from decisioning.recovery.store_rebuild import Rebuilder
from decisioning.triggers.store_following import TriggerStore
from storage import clock
from storage.functions import load_functions
from storage.keys import DATABASE, FUNCTIONS, WORKER, Keys
from storage.postgres import make_engine
from storage.redis import make_redis
from tests.support.waiting import MAX_WAIT_S, Deadline, eventually

CHECKPOINT_OUTCOMES = 5
BUCKETS = 8
POLICY_BUDGET_MS = 200.0
"""So much that policies are slow only where a test makes them so, however busy the machine is."""


class Worker:
    """The background jobs, one round at a time, so that tests say when what is done."""

    def __init__(self, settings: Settings, on_folded: OnFolded | None = None) -> None:
        assert settings.postgres_url is not None
        assert settings.redis_url is not None
        keys = Keys(settings.buckets)
        roster = Roster()
        self._engine = make_engine(settings.postgres_url)
        self._redis = make_redis(settings.redis_url)
        self._archiver = Archiver(settings.postgres_url)
        self._reader = LogReader(self._redis, keys)
        self._arms = ArmStore(self._redis, keys)
        self._buckets = keys.buckets
        self._rebuilder = Rebuilder(
            self._engine, self._redis, keys, roster, CatalogueStore(self._engine), clock.now_ms
        )
        self._settings = settings
        self._on_folded = on_folded
        self.roster = roster
        self.shadow_store = ShadowStore(self._engine)
        self._shadows = ShadowRunner(
            self.shadow_store, CatalogueStore(self._engine), roster, ArmStore(self._redis, keys)
        )
        self._feed = RosterFeed(PolicyStore(self._engine), roster)
        self._learners: dict[str, Learner] = {}
        # What is trimmed too early would be missed, so it is trimmed as early as may be. Checkpoints are made so often
        # that replays begin at them.
        self._archive = ArchiverJob(
            self._archiver,
            self._reader,
            self._arms,
            self._feed,
            0.0,
            retain_ms=0,
            checkpoint_outcomes=CHECKPOINT_OUTCOMES,
            also_needed=TriggerStore(self._engine).still_needed,
        )
        starter = WarmStarter(self._engine, self._reader, self._arms, keys, roster)
        self._warmer = WarmStartJob(self._feed, starter, roster, retry_s=0.0)
        archive = ArchiveReader(self._engine)
        self._relinearising = RelinearisingJob(
            self._feed, starter, roster, self._reader, archive, clock.now_ms, 86_400, rest_factor=0.0
        )

    async def start(self) -> None:
        """Prepare as a worker does before its first round: load the functions, restore Redis if it was lost."""
        await load_functions(self._redis)
        await self._rebuilder.restore_if_lost()

    async def close(self) -> None:
        """Give all connections back."""
        await self._shadows.close()
        await self._archiver.close()
        await self._redis.aclose()
        await self._engine.dispose()

    async def learn(self) -> None:
        """Fold everything that is in the log."""
        await self._feed.refresh()
        for key in self._feed.live():
            learner = self._learners.get(key)
            if learner is None:
                learner = Learner(
                    key,
                    self.roster,
                    self._reader,
                    self._arms,
                    self._rebuilder,
                    ArchiveReader(self._engine),
                    BucketShares(self._redis, key, "a worker of tests", self._buckets, clock.now_ms),
                    self._on_folded,
                )
                self._learners[key] = learner
            positions = partial(self._arms.load_positions, key)
            await self._repeat(learner.round, positions, f"the learner of {key} to catch up")

    async def archive(self) -> None:
        """Archive everything that is in the log, and the folds."""
        await self._repeat(self._archive.round, self._archiver.positions, "the archiver to catch up")
        await self._archive.round()

    async def warm(self) -> None:
        """Warm up all policies that were registered."""
        await self._feed.refresh()
        await self._warmer.round()

    async def relinearise(self) -> None:
        """Linearise anew what is due."""
        await self._relinearising.round()

    async def epoch(self, key: str) -> int | None:
        """Return the number of times that a policy's arms have changed."""
        return await self._arms.load_epoch(key)

    async def shadow(self) -> None:
        """Ask the shadows about everything that is archived."""
        reached: object = None

        async def finished() -> bool:
            nonlocal reached
            await self._feed.refresh()
            await self._shadows.round()
            async with self.shadow_store.turn() as turn:
                reached = turn.position if turn is not None else reached
                return turn is not None and turn.position >= turn.newest

        await eventually(finished, "the shadows to be asked about all decisions", progress=lambda: reached)

    async def forget_shadows(self) -> None:
        """Delete what is old of shadows."""
        await self._shadows.forget()

    async def evaluate(self) -> None:
        """Run the evaluations that were asked for."""

        async def run(evaluation_id: str) -> int:
            await run_evaluation(self._settings, evaluation_id)
            return 0

        job = EvaluationRunner(EvaluationStore(self._engine), run)
        deadline = Deadline("the evaluations to be done", timeout_s=MAX_WAIT_S)
        while await job.round() == 0.0:
            deadline.check()

    async def export(self) -> None:
        """Write the exports that were asked for."""

        async def run(export_id: str) -> int:
            await run_export(self._settings, export_id)
            return 0

        await ExportSweeper(ExportStore(self._engine), self._settings.export_dir).round()
        job = ExportRunner(ExportStore(self._engine), run)
        deadline = Deadline("the exports to be done", timeout_s=MAX_WAIT_S)
        while await job.round() == 0.0:
            deadline.check()

    async def expire(self, ahead_s: int = 0) -> None:
        """Close the reward windows that are over, or will be over in ``ahead_s`` seconds."""
        now_ms = clock.now_ms() + ahead_s * 1000
        deadline = Deadline("the windows to be closed", timeout_s=MAX_WAIT_S)
        while due := await self._reader.due(now_ms, 200):
            deadline.check(due)
            await self._reader.expire(due, now_ms, GRACE_MS)

    async def drain(self) -> None:
        """Learn and archive all that has been acknowledged."""
        await self.learn()
        await self.archive()

    async def _repeat(
        self,
        do_round: Callable[[], Awaitable[object]],
        load_positions: Callable[[], Awaitable[Mapping[int, StreamPosition]]],
        what: str,
    ) -> None:
        """Do rounds until they have taken the positions to the ends of the log."""
        await note_worker(self._reader.redis, clock.now_ms())
        positions = await load_positions()
        deadline = Deadline(what, progress=lambda: positions)
        while self._behind(positions, await self._reader.last_positions()):
            deadline.check(positions)
            await do_round()
            positions = await load_positions()

    @staticmethod
    def _behind(positions: Mapping[int, StreamPosition], ends: Mapping[int, StreamPosition]) -> bool:
        return any(positions.get(bucket, StreamPosition.START) < end for bucket, end in ends.items())


@dataclass(frozen=True, slots=True)
class Instance:
    """One running API process: its application, its state, and a client without a key."""

    app: FastAPI
    state: ApiState
    http: httpx.AsyncClient
    keys: Mapping[Role, str]

    async def call(
        self, method: str, path: str, *, role: Role | None = "admin", **arguments: Any
    ) -> httpx.Response:
        """Send a request with the key of ``role`` (``None``: without a key)."""
        headers = dict(arguments.pop("headers", {}))
        if role is not None:
            headers.setdefault("X-API-Key", self.keys[role])
        return await self.http.request(method, path, headers=headers, **arguments)

    async def replace(self, path: str, **arguments: Any) -> httpx.Response:
        """Send a `PUT` that takes away what it does not have, and says so."""
        response = await self.call("PUT", path, **arguments)
        if response.status_code == 409 and "confirm_removal" in response.text:
            words = [error["field"] for error in response.json()["errors"]]
            version = {"If-Match": (await self.call("GET", path)).headers["ETag"]}
            arguments["headers"] = version | arguments.get("headers", {})
            response = await self.call("PUT", path, params={"confirm_removal": words}, **arguments)
        return response

    async def ok(self, method: str, path: str, **arguments: Any) -> Any:
        """Send a request that must succeed; returns the parsed answer. A `PUT` says what it takes away."""
        send = self.replace if method == "PUT" else partial(self.call, method)
        response = await send(path, **arguments)
        assert response.is_success, f"{method} {path}: {response.status_code} {response.text}"
        return response.json()


@dataclass(frozen=True, slots=True)
class Nextbest:
    """An installation: one API instance, a worker, and more instances on demand."""

    settings: Settings
    api: Instance
    worker: Worker

    @asynccontextmanager
    async def another(self, **settings: Any) -> AsyncIterator[Instance]:
        """One more API instance on the same servers, with some settings changed."""
        changed = self.settings.model_copy(update=settings)
        async with running(changed, self.api.keys) as instance:
            yield instance


@asynccontextmanager
async def running(
    settings: Settings, keys: Mapping[Role, str], tracing: Tracing | None = None
) -> AsyncIterator[Instance]:
    """An application with its lifespan, reached through its ASGI interface."""
    app = create_app(settings, tracing)
    async with AsyncExitStack() as stack:
        lifespan = await stack.enter_async_context(app.router.lifespan_context(app))
        transport = _WithState(app, dict(lifespan or {}))
        http = await stack.enter_async_context(
            httpx.AsyncClient(
                transport=httpx.ASGITransport(transport), base_url="http://nextbest", timeout=30
            )
        )
        yield Instance(app, app.state.nextbest, http, keys)


class _WithState:
    """Passes requests on with the lifespan's state, as servers do."""

    def __init__(self, app: FastAPI, state: dict[str, Any]) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app({**scope, "state": dict(self._state)}, receive, send)


async def make_keys(settings: Settings) -> dict[Role, str]:
    """One key of each role."""
    assert settings.postgres_url is not None
    engine = make_engine(settings.postgres_url, pool_size=1)
    try:
        store = KeyStore(engine)
        return {role: await store.create(role, f"test {role}") for role in ROLES}
    finally:
        await engine.dispose()


CSV = {"Content-Type": "text/csv"}
JSON = {"Content-Type": "application/json"}


async def fill_shop(api: Instance) -> None:
    """A catalogue to test with.

    `gold` and `silver` go to anybody; `phone` needs consent to marketing, and may be decided twice a day. The
    placement `home` has two slots and defaults to silver; in `desk` the agent confirms what was presented.
    """
    await api.ok("PUT", "/v1/groups/cards", json={"name": "Cards", "goal": "grow"})
    for offer_id, value in (("gold", 40), ("silver", 10)):
        await put_offer(api, offer_id, value=value)
    limits = [{"max": 2, "window_s": 86_400}]
    await put_offer(api, "phone", value=5, requires_consent="marketing", contact_limits=limits)
    home = {
        "channel": "web",
        "slots": 2,
        "default_offers": ["silver"],
        "control_share": 0,
        "deadline_ms": 5000,
    }
    await api.ok("PUT", "/v1/placements/home", json=home)
    desk = {"channel": "web", "presentation": "explicit", "control_share": 0, "deadline_ms": 5000}
    await api.ok("PUT", "/v1/placements/desk", json=desk)


async def put_offer(api: Instance, offer_id: str, **fields: Any) -> None:
    """An offer of the group `cards`, with a treatment for the web."""
    await api.ok("PUT", f"/v1/offers/{offer_id}", json={"name": offer_id, "group": "cards"} | fields)
    treatment = {"channel": "web", "language": "en", "title": offer_id}
    await api.ok("PUT", f"/v1/offers/{offer_id}/treatments/banner", json=treatment)


@contextmanager
def without_policy(api: Instance, key: str) -> Iterator[None]:
    """Let a process lack a policy for a while, as one without the package that it comes from."""
    roster = api.state.roster
    policy = roster._policies.pop(key)
    api.state.decisions._runner._running.pop(key, None)
    try:
        yield
    finally:
        roster._policies[key] = policy


async def decide(api: Instance, customer_id: str = "ann", placement: str = "home", **fields: Any) -> Any:
    """Ask for a decision; returns the answer."""
    body = {"customer_id": customer_id, "placement": placement} | fields
    return await api.ok("POST", "/v1/decisions", json=body, role="frontend")


async def tell(api: Instance, decision_id: str, offer_id: str, outcome: str, **fields: Any) -> str:
    """Give feedback; returns the status."""
    body = {"decision_id": decision_id, "offer_id": offer_id, "outcome": outcome} | fields
    answer = await api.ok("POST", "/v1/feedback", json=body, role="frontend")
    return str(answer["status"])


def operations_of(api: Instance) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Method, path and description of each operation in the OpenAPI document."""
    return {
        operation["operationId"]: (method.upper(), path, operation)
        for path, methods in api.app.openapi()["paths"].items()
        for method, operation in methods.items()
    }


def problem_of(response: httpx.Response, status: int, field: str | None = None) -> dict[str, Any]:
    """The problem document of a refusal, checked to be one; with ``field``, it must name that field."""
    assert response.status_code == status, f"{response.status_code} {response.text[:500]}"
    assert response.headers["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    assert document["type"] == "about:blank"
    assert document["title"]
    assert document["detail"]
    assert {"type", "title", "status", "detail"} <= document.keys() <= {*ProblemOut.model_fields}
    if field is not None:
        assert field in [error["field"] for error in document["errors"]], document
        assert all(error["reason"] for error in document["errors"])
    return document


async def traces(nextbest: Nextbest) -> dict[str, Any]:
    """Everything that is stored but the profile cache: Redis by key, Postgres as a digest of each table."""
    state = nextbest.api.state
    stored: dict[str, Any] = {}
    redis: Any = state.redis
    async for key in redis.scan_iter():
        # Processes note there that they use it, asked or not.
        if b":profile:" in key or key.decode() in (FUNCTIONS, DATABASE, WORKER):
            continue
        # Reading a hash may bring its fields into another order, which a dump shows.
        is_hash = await redis.type(key) == b"hash"
        stored[key.decode()] = await (redis.hgetall(key) if is_hash else redis.dump(key))
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    async with state.engine.connect() as connection:
        for (table,) in (await connection.execute(text(tables))).all():
            if table == "installation":  # processes note there which Redis they use
                continue
            # When keys were used last is noted whatever becomes of a request.
            row = "(t.key_id, t.name, t.role, t.hash, t.revoked_at)" if table == "api_keys" else "t"
            digest = (
                f"SELECT coalesce(md5(string_agg({row}::text, '|' ORDER BY {row}::text)), '') FROM {table} t"
            )
            stored[f"table {table}"] = await connection.scalar(text(digest))
    return stored
