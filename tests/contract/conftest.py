"""The installation that each module of these tests has to itself, on real servers."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from app.config import Settings
from tests.support.api import (
    BUCKETS,
    POLICY_BUDGET_MS,
    Instance,
    Nextbest,
    Worker,
    fill_shop,
    make_keys,
    running,
)
from tests.support.documented_calls import shell_environment


@pytest.fixture(scope="module")
def settings(postgres_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of this module's installation."""
    return Settings(
        postgres_url=postgres_url,
        redis_url=redis_url,
        buckets=BUCKETS,
        catalog_poll_ms=50,
        body_bytes=65_536,
        import_bytes=1_048_576,
        context_bytes=4_096,
        log_level="error",
        redis_stall_ms=10_000,  # a busy machine is no lost Redis
        policy_budget_ms=POLICY_BUDGET_MS,
        export_dir=tmp_path_factory.mktemp("exports"),
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nextbest(settings: Settings) -> AsyncIterator[Nextbest]:
    """This module's installation, with a key of each role and an empty catalogue."""
    keys = await make_keys(settings)
    worker = Worker(settings)
    try:
        await worker.start()
        async with running(settings, keys) as api:
            yield Nextbest(settings, api, worker)
    finally:
        await worker.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(nextbest: Nextbest) -> Nextbest:
    """The installation with a small catalogue, see `fill_shop`."""
    await fill_shop(nextbest.api)
    return nextbest


@pytest.fixture(scope="module")
def api(shop: Nextbest) -> Instance:
    """The first API instance, with the small catalogue."""
    return shop.api


@pytest.fixture(scope="module")
def environment(settings: Settings) -> Iterator[dict[str, str]]:
    """The environment of a shell that calls this module's installation as the documentation does."""
    with shell_environment(settings) as found:
        yield found
