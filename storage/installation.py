"""Settings that are fixed when nextbest is installed, and the one Redis database that an installation uses."""

import os
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, OutOfMemoryError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage.errors import PostgresUnavailable
from storage.keys import DATABASE
from storage.postgres import describe_refusal, transaction
from storage.redis import redis_errors
from storage.redis_pipe import Pipe

RENEW_S = 3.0
LEASE_S = 10.0
"""So long after its last renewal is a claim on a Redis database in force."""
TAKEN = (
    "processes of this installation use another redis database: point all to the same one, or start again"
    f" {LEASE_S:.0f} s after the last of them has ended"
)


@dataclass(frozen=True, slots=True)
class InstallationRecord:
    """The id of an installation, and into how many buckets its customers are divided."""

    id: str
    buckets: int


async def read_installation(engine: AsyncEngine, buckets: int) -> InstallationRecord:
    """Read the record of this installation; the first caller fixes it. Raises ``PostgresUnavailable``."""
    async with transaction(engine) as connection:
        await connection.execute(
            text("INSERT INTO installation (buckets) VALUES (:buckets) ON CONFLICT DO NOTHING"),
            {"buckets": buckets},
        )
        row = (await connection.execute(text("SELECT id, buckets FROM installation"))).one()
        return InstallationRecord(str(row.id), row.buckets)


class RedisClaim:
    """A process's part in the claim of its installation on one Redis database; renewed every ``RENEW_S``.

    Contacts and capacity are counted in Redis: two databases would each give all of them. A process that starts while
    others use another database does not use its own. One that runs is not stopped: its Redis may have been replaced,
    which all of them see; it has a ``warning`` until the claim on the old one has lapsed.
    """

    def __init__(self, engine: AsyncEngine, redis: "Redis", pipe: Pipe) -> None:
        self._engine = engine
        self._redis: Any = redis
        self._pipe = pipe
        self._was_held = False
        self.warning: str | None = None
        self.refusal: str | None = None
        """Why Postgres refused to write the claim, the last time; ``None`` if it did not."""

    async def renew(self) -> bool:
        """Renew the claim, and return whether it is held. Raises ``PostgresUnavailable``, ``RedisUnavailable``."""
        database, run = await self._identify()
        try:
            is_held = await self._note_use(database, run)
        except PostgresUnavailable as error:
            self.refusal = describe_refusal(error)
            raise
        self.refusal = None
        self._was_held = self._was_held or is_held
        self._pipe.bar(None if self._was_held else TAKEN)
        self.warning = None if is_held else TAKEN
        return is_held

    async def _identify(self) -> tuple[str, str]:
        """Return the database's mark, which a copy of the data keeps, and the server's run id, which emptying keeps."""
        async with redis_errors("identify the redis database"):
            mark = await self._redis.get(DATABASE)
            if mark is None:
                made = os.urandom(16).hex()
                try:
                    mark = await self._redis.set(DATABASE, made, nx=True, get=True) or made.encode()
                except OutOfMemoryError:  # it is marked once a worker has drained it
                    mark = made.encode()
            try:
                run_id = (await self._redis.info("server"))["run_id"]
            except NoPermissionError:  # a user who may not ask: it is known by its mark alone
                run_id = mark.decode()
        number = self._redis.connection_pool.connection_kwargs.get("db") or 0
        return mark.decode(), f"{run_id}/{number}"

    async def _note_use(self, database: str, run: str) -> bool:
        """Note that the database is in use, unless another one is. Raises ``PostgresUnavailable``."""
        async with transaction(self._engine) as connection:
            noted = await connection.execute(
                text(
                    "UPDATE installation SET redis_id = :database, redis_run = :run, redis_seen_at = now()"
                    " WHERE redis_id IS NULL OR redis_id = :database OR redis_run = :run"
                    " OR redis_seen_at < now() - make_interval(secs => :lease_s)"
                ),
                {"database": database, "run": run, "lease_s": LEASE_S},
            )
            if noted.rowcount:
                return True
            # None is fixed yet: then none is in use either.
            return (await connection.execute(text("SELECT 1 FROM installation"))).first() is None
