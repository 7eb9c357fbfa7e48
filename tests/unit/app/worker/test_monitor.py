"""A worker on a port of its own: alive, ready or not, and its metrics."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from app.config import ConfigError, Settings
from app.worker.jobs import MAX_FAILING_S, JobHealth
from app.worker.monitor import monitored
from tests.support.installation import free_port


def settings(port: int) -> Settings:
    return Settings.model_construct(**{**Settings().model_dump(), "host": "127.0.0.1", "work_port": port})


async def test_a_worker_says_how_it_is_on_its_own_port() -> None:
    state = {"postgres": "ok", "redis": "ok", "jobs": "ok"}

    async def check() -> Mapping[str, str]:
        return state

    port = free_port()
    async with (
        monitored(settings(port), check),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        assert (await http.get("/livez")).json() == {"status": "ok"}
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ok", "checks": state, "warnings": {}})
        state["jobs"] = "failing: archiver for 12 s (the log says why)"
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["jobs"]) == (503, state["jobs"])
        metrics = await http.get("/metrics")
        assert metrics.headers["Content-Type"].startswith("text/plain")
        assert "nextbest_job_failures" in metrics.text
        assert (await http.get("/v1/offers")).status_code == 404
    async with httpx.AsyncClient() as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(f"http://127.0.0.1:{port}/livez")


async def test_without_a_port_nothing_is_served_and_a_taken_one_is_named() -> None:
    async def check() -> Mapping[str, str]:
        return {}

    async with monitored(settings(0), check):
        pass
    port = free_port()
    async with monitored(settings(port), check):
        with pytest.raises(ConfigError, match=f"port {port} .*NEXTBEST_WORK_PORT"):
            async with monitored(settings(port), check):
                pass


def test_jobs_that_fail_for_long_are_named() -> None:
    now_s: Any = 0.0
    health = JobHealth(lambda: now_s)
    health.note("archiver", failed=True)
    assert health.describe() == "ok"
    now_s = MAX_FAILING_S
    health.note("archiver", failed=True)
    health.note("expirer", failed=True)
    assert health.describe() == "failing: archiver for 10 s (the log says why)"
    health.note("archiver", failed=False)
    assert health.describe() == "ok"
    now_s = 2 * MAX_FAILING_S
    health.forget("expirer")
    assert health.describe() == "ok"
