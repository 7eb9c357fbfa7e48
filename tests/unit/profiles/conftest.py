"""Real stores of profiles, for the tests that need them."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from profiles.store import ProfileStore
from tests.support.profile_keys import key_of


@pytest.fixture
async def engine(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    """The database of this module."""
    made = create_async_engine(postgres_url.replace("postgresql://", "postgresql+asyncpg://"))
    yield made
    await made.dispose()


@pytest.fixture
async def cache(redis_url: str) -> AsyncIterator[Redis]:
    """An empty Redis."""
    client = Redis.from_url(redis_url)
    await client.flushdb()
    yield client
    await client.aclose()


@pytest.fixture
async def store(engine: AsyncEngine, cache: Redis) -> ProfileStore:
    """Profiles in both."""
    return ProfileStore(engine, cache, key_of)
