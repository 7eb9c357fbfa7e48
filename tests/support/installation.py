"""An installation as users run it: real servers, API and worker processes that can be killed, clients over HTTP."""

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from app.config import Settings
from app.embedded.servers import EmbeddedServers
from app.keys import KeyStore
from storage.postgres import make_engine
from tests.support.databases import running_servers
from tests.support.forking import Forked, can_fork
from tests.support.waiting import DEADLINE_S, wait_until

ROOT = Path(__file__).resolve().parents[2]
BUCKETS = 8
START_S = 180.0
"""For what loads all of the code: many processes start at once, on few processors."""


FIRST_PORT, PORTS_EACH = 11_000, 1_000
# Where it begins differs, so that two runs of the tests at once are unlikely to meet.
_ports = itertools.count(os.getpid())


class Process:
    """A command of ours in a process of its own; what it prints goes to a file.

    Without ``afresh`` it is forked from one that has loaded the code, where that can be.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        env: dict[str, str],
        log: Path,
        *,
        afresh: bool = False,
    ) -> None:
        self.log = log
        self._process: subprocess.Popen[bytes] | Forked
        with log.open("ab") as output:
            if can_fork() and not afresh:
                self._process = Forked(module, arguments, env, ROOT, output)
                return
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=env,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """True if it has not ended."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it as a crash would; may be called again."""
        if self.running:
            self._process.kill()
        self._process.wait(DEADLINE_S)

    def stop(self, timeout_s: float = DEADLINE_S) -> int:
        """End it in good order; returns its exit status."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout_s)

    def wait_ended(self, what: str) -> None:
        """Wait until it ends by itself."""
        wait_until(lambda: not self.running, what, timeout_s=START_S, explain=self.printed)

    def printed(self) -> str:
        """Return its output so far."""
        return self.log.read_text(errors="replace")


class Api:
    """An API process and a client of it."""

    def __init__(self, port: int, key: str, start: Callable[[], Process]) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.headers = {"X-API-Key": key}
        self._start = start
        self.process = start()
        self.http = httpx.Client(base_url=self.url, headers=self.headers, timeout=30)

    def restart(self) -> None:
        """Start it again after a kill, on the same port; does not wait for it."""
        self.process.kill()
        self.process = self._start()

    def wait(self, path: str = "/readyz") -> "Api":
        """Wait until it is ready (or, with ``/livez``, until it answers)."""
        what, explain = f"{path} of the API on port {self.port}", self.process.printed
        wait_until(lambda: self._is_well(path), what, timeout_s=START_S, explain=explain)
        return self

    def _is_well(self, path: str) -> bool:
        assert self.process.running, self.process.printed()
        try:
            return self.http.get(path).status_code == 200
        except httpx.TransportError:
            return False

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        """A request that must succeed; returns the parsed answer."""
        response = self.http.request(method, path, json=body)
        assert response.is_success, f"{method} {path}: {response.status_code} {response.text}"
        return response.json()

    def decide(self, customer_id: str, placement: str = "web", **more: Any) -> Any:
        """Ask for offers."""
        return self.ok("POST", "/v1/decisions", {"customer_id": customer_id, "placement": placement, **more})

    def feedback(self, decision_id: str, offer_id: str, outcome: str, **more: Any) -> str:
        """Tell an outcome; returns the status."""
        body = {"decision_id": decision_id, "offer_id": offer_id, "outcome": outcome, **more}
        return str(self.ok("POST", "/v1/feedback", body)["status"])

    def client(self) -> httpx.AsyncClient:
        """A client for many requests at once."""
        limits = httpx.Limits(max_connections=64)
        return httpx.AsyncClient(base_url=self.url, headers=self.headers, timeout=30, limits=limits)


class Installation:
    """Processes that share a database and a Redis."""

    def __init__(self, postgres_url: str, redis_url: str, folder: Path, **settings: Any) -> None:
        self.folder = folder
        chosen = {
            "buckets": BUCKETS,
            "catalog_poll_ms": 50,
            "archive_interval_ms": 20,
            "log_retain_s": 0,  # what is trimmed too early would be missed, so it is trimmed as early as may be
            "expire_interval_ms": 20,
            "auto_features_interval_s": 0,  # tests name the versions that decide
            "redis_stall_ms": 10_000,  # a busy machine is no lost Redis
            "log_level": "warning",
        }
        self.settings = Settings(
            postgres_url=postgres_url, redis_url=redis_url, data_dir=folder, **{**chosen, **settings}
        )
        self.postgres_url = postgres_url
        self.redis_url = redis_url
        self.key = asyncio.run(_make_key(postgres_url))
        self._processes: list[Process] = []
        self._apis: list[Api] = []

    def _spawn(
        self, name: str, *arguments: str, module: str = "app.cli", afresh: bool = False, **settings: Any
    ) -> Process:
        ours = {**self.settings.model_dump(exclude_none=True), **settings}
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("NEXTBEST_", "PROMETHEUS_"))}
        env = {**kept, **{f"NEXTBEST_{k.upper()}": str(v) for k, v in ours.items()}}
        process = Process(module, arguments, env, self.folder / f"{name}.log", afresh=afresh)
        self._processes.append(process)
        return process

    def serve(self, **settings: Any) -> Api:
        """Start an API process; does not wait for it."""
        port = free_port()
        api = Api(port, self.key, lambda: self._spawn(f"serve-{port}", "serve", port=port, **settings))
        self._apis.append(api)
        return api

    def work(self, name: str = "work", **settings: Any) -> Process:
        """Start a worker."""
        return self._spawn(name, "work", **settings)

    def work_until(self, step: str, when: str) -> None:
        """A worker that ends with SIGKILL ``before`` or ``after`` a step (see ``killed_worker``); waits for its end."""
        process = self._spawn(
            f"until-{len(self._processes)}", step, when, module="tests.support.killed_worker"
        )
        process.wait_ended(f"the worker to be killed {when} {step}")
        assert process.stop() == -signal.SIGKILL, process.printed()

    def command(self, *arguments: str) -> str:
        """Run a command to its end, as it is typed; it must succeed. Returns what it printed."""
        name = f"{arguments[0]}-{len(self._processes)}"
        process = self._spawn(name, *arguments, afresh=True)
        process.wait_ended(f"the command {' '.join(arguments)} to end")
        assert process.stop() == 0, process.printed()
        return process.printed()

    def close(self) -> None:
        """Kill what still runs."""
        for process in self._processes:
            process.kill()
        for api in self._apis:
            api.http.close()


@contextmanager
def installed(postgres_url: str, redis_url: str, folder: Path, **settings: Any) -> Iterator[Installation]:
    """An installation whose processes are gone at the end."""
    installation = Installation(postgres_url, redis_url, folder, **settings)
    try:
        yield installation
    finally:
        installation.close()


@contextmanager
def hardy_servers() -> Iterator[EmbeddedServers]:
    """Migrated servers that are stopped, killed and wiped by tests.

    Redis writes with ``appendfsync always``: an acknowledgement survives SIGKILL. ``everysec`` does not promise that,
    not even for the process alone, because on a busy disk it may put off a write by up to two seconds.
    """
    with running_servers(appendfsync="always") as servers:
        yield servers


def publish(
    api: Api,
    offers: Sequence[str],
    *,
    limits: Sequence[dict[str, int]] = (),
    consent: str | None = None,
    value: float = 1.0,
) -> None:
    """Offers with a treatment for the web and one for agents; the group is made as well."""
    api.ok("PUT", "/v1/groups/grow", {"name": "Grow", "goal": "grow"})
    for offer_id in offers:
        body = {"name": offer_id, "group": "grow", "value": value, "contact_limits": list(limits)}
        api.ok("PUT", f"/v1/offers/{offer_id}", body | {"requires_consent": consent})
        for channel in ("web", "agent"):
            api.ok(
                "PUT", f"/v1/offers/{offer_id}/treatments/{channel}", {"channel": channel, "title": offer_id}
            )


def place(api: Api, placement_id: str = "web", **more: Any) -> None:
    """A placement without a control group and with time enough for a busy machine."""
    body = {
        "channel": "web",
        "slots": 1,
        "deadline_ms": 10_000,
        "reward_window_s": 3600,
        "control_share": 0.0,
    }
    api.ok("PUT", f"/v1/placements/{placement_id}", body | more)


def everywhere(publisher: Api, *others: Api) -> None:
    """Wait until all processes have the catalogue of the one that published last."""
    for api in others:
        for path in ("/v1/offers", "/v1/placements"):
            newest = publisher.ok("GET", path)
            wait_until(partial(_answers, api, path, newest), f"{path} of port {api.port} to be the newest")


def _answers(api: Api, path: str, expected: Any) -> bool:
    return bool(api.ok("GET", path) == expected)


def free_port() -> int:
    """A port of the loopback address that nobody listens on, and that nobody else is given meanwhile.

    It takes a process seconds to listen on it. So each test process has ports of its own, below those that the system
    gives to connections, and those of embedded servers; and it takes one after the other.
    """
    for _ in range(PORTS_EACH):
        port = FIRST_PORT + PORTS_EACH * (_worker_number() % 8) + next(_ports) % PORTS_EACH
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError("no port is free")


def _worker_number() -> int:
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


async def _make_key(postgres_url: str) -> str:
    engine = make_engine(postgres_url, pool_size=1)
    try:
        return await KeyStore(engine).create("admin", "tests")
    finally:
        await engine.dispose()
