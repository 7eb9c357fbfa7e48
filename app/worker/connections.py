"""The connections of a worker."""

from dataclasses import dataclass
from typing import Self

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from app.config import ConfigError, Settings
from decisioning.log.store_archive import Archiver
from storage.postgres import PATIENT_S, make_engine
from storage.redis import make_redis
from storage.redis_pipe import Pipe


@dataclass(frozen=True)
class Connections:
    """The connections of a worker. ``patient`` may take long over a statement; ``blocking`` waits for streams."""

    engine: AsyncEngine
    patient: AsyncEngine
    redis: Redis
    blocking: Redis
    pipe: Pipe
    archiver: Archiver

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Make those of the configuration; nothing is connected yet."""
        if settings.postgres_url is None or settings.redis_url is None:
            raise ConfigError("set NEXTBEST_POSTGRES_URL and NEXTBEST_REDIS_URL, or start with nextbest up")
        return cls(
            make_engine(settings.postgres_url),
            make_engine(settings.postgres_url, statement_s=PATIENT_S),
            make_redis(settings.redis_url),
            # Reads of streams block their connection: others must not wait behind them.
            make_redis(settings.redis_url),
            Pipe(settings.redis_url, stall_ms=10 * settings.redis_stall_ms),
            Archiver(settings.postgres_url),
        )

    async def close(self) -> None:
        """Give all of them back."""
        await self.pipe.stop()
        await self.archiver.close()
        await self.redis.aclose()
        await self.blocking.aclose()
        await self.engine.dispose()
        await self.patient.dispose()
