"""Real stores of profiles, for the tests that need them."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from profiles.store import ProfileStore


def key_of(customer_id: str) -> str:
    """Make the key under which a profile is cached."""
    return f"nb:{{b0}}:profile:{customer_id}"


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
