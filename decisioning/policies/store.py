"""Registered policies in Postgres: their specifications, which never change, and what has become of them."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bandits.policy import PolicyKey, PolicySpec
from bandits.registry import ALGORITHMS, BUILT_IN, build_policy
from bandits.sequential_policy import is_learner
from decisioning.errors import Conflict
from decisioning.model.deciders import NOT_POLICIES
from decisioning.policies.store_rows import (
    BY_KEY,
    PolicyState,
    RegisteredPolicy,
    find_newest,
    find_policies,
    get_policy,
    has_specification,
    insert_policy,
    key_parameters,
    note_change,
    placements_of,
    read_states,
    update_policy,
)
from storage.locks import FORGETTING_LOCK, POLICIES_LOCK, WARMING_SPACE
from storage.postgres import single_statement, transaction

ALWAYS = frozenset(spec.key for spec in BUILT_IN)


class PolicyStore:
    """Registers policies and keeps their state. All methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def register(self, spec: PolicySpec, author: str, reason: str = "") -> bool:
        """Register a policy; False if exactly this one has been registered before.

        Raises ``UnknownPolicy`` or ``PolicyParameterError`` if it cannot be built; ``Conflict`` if another
        specification has this name and version: versions are immutable; or the name is one of ours.
        """
        has_arms = await _check_new(spec)
        async with self._exclusive() as connection:
            return await insert_policy(connection, spec, has_arms, author, reason)

    async def register_next(self, spec: PolicySpec, author: str, reason: str = "") -> tuple[PolicySpec, bool]:
        """Register under the next version of the name, unless the newest one says the same. Raises as ``register``."""
        has_arms = await _check_new(spec)
        async with self._exclusive() as connection:
            last = await find_newest(connection, spec.name)
            if last is not None and last.state != "retired" and has_specification(last, spec):
                return replace(spec, version=last.version), False
            numbered = replace(spec, version=1 if last is None else last.version + 1)
            return numbered, await insert_policy(connection, numbered, has_arms, author, reason)

    async def register_default(
        self, spec: PolicySpec, newest: int, author: str, reason: str
    ) -> PolicySpec | None:
        """Register the next version of a policy that is built in, if ``newest`` is its newest one still.

        ``None`` if it is not: another process was faster. Raises ``PolicyParameterError`` if it cannot be built.
        """
        has_arms = is_learner(await asyncio.to_thread(build_policy, spec))
        async with self._exclusive() as connection:
            last = await find_newest(connection, spec.name)
            if newest != (1 if last is None else last.version):
                return None
            numbered = replace(spec, version=newest + 1)
            await insert_policy(connection, numbered, has_arms, author, reason)
            return numbered

    async def all(self) -> list[RegisteredPolicy]:
        """Read all policies that were ever registered, by name and version."""
        async with transaction(self._engine) as connection:
            return await find_policies(connection, "ORDER BY name, version")

    async def versions(self, name: str) -> list[RegisteredPolicy]:
        """Read all versions of a policy, in their order."""
        return [policy for policy in await self.all() if policy.name == name]

    async def get(self, key: str) -> RegisteredPolicy:
        """Read the policy ``name@version``. Raises ``NotFound``."""
        async with transaction(self._engine) as connection:
            return await get_policy(connection, key)

    async def states(self) -> dict[str, PolicyState]:
        """Read the state of each policy, by ``name@version``."""
        async with single_statement(self._engine) as connection:
            return await read_states(connection)

    async def bodies(self, keys: Collection[str]) -> dict[str, Mapping[str, Any]]:
        """Read the stored specifications of some policies."""
        query = text(
            "SELECT name, version, spec AS body FROM policies WHERE name || '@' || version = ANY(:keys)"
        ).columns(body=JSONB)
        async with transaction(self._engine) as connection:
            rows = await connection.execute(query, {"keys": list(keys)})
            return {PolicyKey.of(row.name, row.version): row.body for row in rows}

    async def learning(self) -> list[str]:
        """Find the policies that have arms, or will have when their warm start ends: nothing is trimmed behind them."""
        async with single_statement(self._engine) as connection:
            query = "SELECT name, version FROM policies WHERE state IN ('folding', 'live') AND started_at IS NOT NULL"
            return [PolicyKey.of(row.name, row.version) for row in await connection.execute(text(query))]

    async def retire(self, key: str, author: str, reason: str = "") -> bool:
        """Let a policy learn no more; False if that is so already. Its arms go when their folds are archived.

        Raises ``NotFound`` if there is no such policy; ``Conflict`` if a placement uses it, or it is built in.
        """
        _not_built_in(key)
        async with self._exclusive() as connection:
            found = await get_policy(connection, key)
            if found.state == "retired":
                return False
            if used := await placements_of(connection, key):
                raise Conflict(
                    f"{key} is in use in {', '.join(used)}; take it out there first (stage 'retired')"
                )
            await update_policy(connection, key, "state = 'retired', retired_at = now(), error = NULL")
            await note_change(connection, key, "retired", author, reason)
            return True

    async def revive(self, key: str, author: str, reason: str = "") -> bool:
        """Take a retired policy back; it starts warm again. False if it is not retired.

        Raises ``NotFound`` if there is no such policy; ``Conflict`` if it is built in.
        """
        _not_built_in(key)
        async with self._exclusive() as connection:
            found = await get_policy(connection, key)
            if found.state != "retired":
                return False
            state = "registered" if is_learner(await asyncio.to_thread(build_policy, found.spec)) else "live"
            await update_policy(
                connection,
                key,
                "state = :state, retired_at = NULL, started_at = NULL, finished_at = NULL, folded = 0, total = 0",
                state=state,
            )
            await note_change(connection, key, "revived", author, reason)
            return True

    @asynccontextmanager
    async def lock_warm_start(self, key: str) -> AsyncIterator[bool]:
        """Try to be the only one who warms ``key`` up during the block. Yields whether that succeeded."""
        async with transaction(self._engine) as connection:
            query = text("SELECT pg_try_advisory_xact_lock(:space, hashtext(:key))")
            yield bool(await connection.scalar(query, {"space": WARMING_SPACE, "key": key}))

    @asynccontextmanager
    async def lock_forgetting(self) -> AsyncIterator[bool]:
        """Try to be the only one who looks during the block what the default forgets. Yields whether that succeeded."""
        async with transaction(self._engine) as connection:
            query = text("SELECT pg_try_advisory_xact_lock(:lock)")
            yield bool(await connection.scalar(query, {"lock": FORGETTING_LOCK}))

    @asynccontextmanager
    async def hold_state(
        self, key: str, state: PolicyState, lock: int | None = None
    ) -> AsyncIterator[AsyncConnection | None]:
        """Keep ``key`` in ``state`` during a transaction; ``None`` if it is not in it. What is built in is live.

        ``lock`` is an advisory lock that is waited for before.
        """
        async with transaction(self._engine) as connection:
            if lock is not None:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})
            query = text(f"SELECT state FROM policies WHERE {BY_KEY} FOR UPDATE")
            found = await connection.scalar(query, key_parameters(key)) or ("live" if key in ALWAYS else None)
            yield connection if found == state else None

    async def begin_warm_start(self, key: str) -> bool:
        """Note that a warm start begins, anew if there was one; False if none is wanted any more."""
        async with transaction(self._engine) as connection:
            return await update_policy(
                connection,
                key,
                "state = 'folding', started_at = now(), finished_at = NULL, folded = 0, total = 0, error = NULL",
                "state IN ('registered', 'folding', 'failed')",
            )

    async def note_progress(self, key: str, folded: int, total: int) -> None:
        """Note how far a warm start has come, or the folding anew of a live policy."""
        async with transaction(self._engine) as connection:
            await update_policy(
                connection,
                key,
                "folded = :folded, total = :total",
                "state IN ('registered', 'folding', 'live')",
                folded=folded,
                total=total,
            )

    async def fail_warm_start(self, key: str, error: str) -> None:
        """Note why a warm start failed."""
        await self._update(key, "state = 'failed', finished_at = now(), error = :error", error=error[:1000])

    async def set_aside(self, key: str, error: str) -> bool:
        """Note why a live policy's learner is waited for no longer; False if it is not live, or built in.

        Nothing keeps the streams for it any more; as a warm start that failed, it is folded anew from the archive.
        """
        async with transaction(self._engine) as connection:
            what = "state = 'failed', finished_at = now(), error = :error"
            return await update_policy(connection, key, what, "state = 'live'", error=error[:1000])

    async def _update(self, key: str, what: str, **values: Any) -> None:
        """Change the row of a policy that is to be warmed up."""
        async with transaction(self._engine) as connection:
            await update_policy(connection, key, what, "state IN ('registered', 'folding')", **values)

    @asynccontextmanager
    async def _exclusive(self) -> AsyncIterator[AsyncConnection]:
        """Run a transaction as the only one that registers, retires, or puts policies to use."""
        async with transaction(self._engine) as connection:
            await lock_policies(connection)
            yield connection


async def lock_policies(connection: AsyncConnection) -> None:
    """Keep others from registering and retiring policies until the transaction ends."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": POLICIES_LOCK})


async def finish_warm_start(connection: AsyncConnection, key: str, folded: int) -> None:
    """Note that a warm start has ended, in a transaction of ``hold_state``."""
    what = "state = 'live', finished_at = now(), folded = :folded, total = :folded"
    await update_policy(connection, key, what, folded=folded)


def _not_built_in(key: str) -> None:
    if key in ALWAYS:
        raise Conflict(f"{key} is built in: it is always there")


async def _check_new(spec: PolicySpec) -> bool:
    """Check a new specification. Returns whether the policy learns; raises as ``PolicyStore.register``."""
    name = spec.name
    if name in ALGORITHMS:
        raise Conflict(
            f"{name!r} is the name of an algorithm, and of a policy that is built in; take another"
        )
    if name in NOT_POLICIES:
        raise Conflict(f"{name!r} is what the log calls decisions that no policy made; take another name")
    return is_learner(await asyncio.to_thread(build_policy, spec))  # trying a pipeline out takes its time
