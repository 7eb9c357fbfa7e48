"""An outage as an operator sees it: on the worker's own port, and in logs that stay short."""

import asyncio
import os
from functools import partial

import httpx
import pytest

from app.embedded.servers import EmbeddedServers
from storage.postgres import connector
from tests.support.installation import free_port, hardy_servers, installed, place, publish
from tests.support.waiting import wait_until

MAX_LINES = 60
"""Of a process in the first minute, whatever fails in it: a line for each job and each reason."""
REQUESTS = 200


def answer(http: httpx.Client) -> tuple[int, dict[str, str]]:
    """Return the status and the checks of the worker's ``/readyz``; 0 while it does not answer."""
    try:
        response = http.get("/readyz")
    except httpx.TransportError:
        return 0, {}
    return response.status_code, response.json()["checks"]


def answer_with(http: httpx.Client, check: str, words: str) -> tuple[int, dict[str, str]] | None:
    """Return the same once a check says this."""
    found = answer(http)
    return found if words in found[1].get(check, "") else None


def test_an_outage_is_seen_at_the_worker_and_takes_few_lines(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("installation")
    port = free_port()
    with (
        hardy_servers() as servers,
        installed(*servers.urls, folder) as installation,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        api, worker = installation.serve(), installation.work(work_port=port)
        api.wait()
        publish(api, ["gold"])
        place(api)
        wait_until(lambda: answer(http)[0] == 200, "the worker to be ready", explain=worker.printed)
        serving, working = (os.getpriority(os.PRIO_PROCESS, one.pid) for one in (api.process, worker))
        assert working == max(serving, 5)  # the worker weighs less
        assert http.get("/metrics").text.count("# TYPE nextbest_") == api.http.get("/metrics").text.count(
            "# TYPE nextbest_"
        )
        stop(servers)
        # One answer is looked at: the next one may not come in time from a worker whose calls all fail.
        status, checks = wait_until(
            partial(answer_with, http, "jobs", "archiver"),
            "the worker to name its jobs",
            explain=worker.printed,
        )
        assert (status, checks["redis"], checks["start"]) == (503, "does not answer", "ok")
        assert http.get("/livez").status_code == 200
        body = {"decision_id": "nb000-" + "0" * 32, "offer_id": "gold", "outcome": "clicked"}
        for _ in range(REQUESTS):
            assert api.http.post("/v1/feedback", json=body).status_code == 503
        for process in (api.process, worker):
            lines = process.printed().splitlines()
            assert 0 < len(lines) <= MAX_LINES, "\n".join(lines[:200])
        servers.revive()
        wait_until(lambda: answer(http)[0] == 200, "the worker to be ready again", explain=worker.printed)


def test_a_worker_is_not_ready_while_postgres_refuses_writes(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    port = free_port()
    with (
        hardy_servers() as servers,
        installed(*servers.urls, tmp_path_factory.mktemp("installation")) as installation,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as http,
    ):
        worker = installation.work(work_port=port)
        wait_until(lambda: answer(http)[0] == 200, "the worker to be ready", explain=worker.printed)
        asyncio.run(make_read_only(installation.postgres_url, "on"))
        status, checks = wait_until(
            partial(answer_with, http, "postgres", "refuses writes: it is read only"),
            "the worker to name Postgres",
            explain=worker.printed,
        )
        assert checks["postgres"].startswith("refuses writes: it is read only")
        assert (status, checks["redis"], checks["start"]) == (503, "ok", "ok")
        assert http.get("/livez").status_code == 200
        asyncio.run(make_read_only(installation.postgres_url, "off"))
        wait_until(lambda: answer(http)[0] == 200, "the worker to be ready again", explain=worker.printed)


async def make_read_only(postgres_url: str, value: str) -> None:
    """Let a database refuse writes, or take them again, and end all sessions, which would go on as before."""
    connection = await connector(postgres_url, server_settings={"default_transaction_read_only": "off"})()
    try:
        name = await connection.fetchval("SELECT quote_ident(current_database())")
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {value}")
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()


def stop(servers: EmbeddedServers) -> None:
    """End both servers, as a power failure of their machine would."""
    servers.kill_redis()
    servers._postgres.stop()
