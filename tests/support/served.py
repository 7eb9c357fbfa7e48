"""The service as its command line starts it: a supervisor, API processes that share a port, a worker."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support.installation import ROOT, START_S, free_port
from tests.support.waiting import DEADLINE_S, wait_until


class Served:
    """A running service. ``url`` is its address, ``metrics`` the folder that its processes share.

    ``redis_stall_ms``: a busy machine is no lost Redis, so that only tests of one that is silent take less.
    """

    def __init__(
        self,
        postgres_url: str,
        redis_url: str,
        folder: Path,
        workers: int = 2,
        *,
        redis_stall_ms: int = 10_000,
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.metrics = folder / "metrics"
        self._log = folder / "service.log"
        ours = {
            "NEXTBEST_POSTGRES_URL": postgres_url,
            "NEXTBEST_REDIS_URL": redis_url,
            "NEXTBEST_DATA_DIR": str(folder),
            "NEXTBEST_PORT": str(self.port),
            "NEXTBEST_WORKERS": str(workers),
            "NEXTBEST_REDIS_STALL_MS": str(redis_stall_ms),
            "NEXTBEST_CATALOG_POLL_MS": "50",
            "NEXTBEST_ARCHIVE_INTERVAL_MS": "20",
            "NEXTBEST_AUTO_FEATURES_INTERVAL_S": "0",
            "NEXTBEST_LOG_LEVEL": "warning",
            "PROMETHEUS_MULTIPROC_DIR": str(self.metrics),
        }
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("NEXTBEST_", "PROMETHEUS_"))}
        self.env = kept | ours
        # A connection for each request, so that both API processes get some.
        self.http = httpx.Client(base_url=self.url, headers={"Connection": "close"}, timeout=30)

    @contextmanager
    def running(self) -> Iterator["Served"]:
        """Start it, and stop it in good order at the end."""
        with self._log.open("wb") as log:
            process = self._process = subprocess.Popen(
                [sys.executable, "-m", "app.cli", "up"],
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            try:
                wait_until(
                    lambda: process.poll() is not None or self._ready(),
                    "the service to be ready",
                    timeout_s=START_S,
                    explain=self.printed,
                )
                assert process.poll() is None, self.printed()
                yield self
            finally:
                self.http.close()
                self.stop()
        assert process.returncode in (0, -signal.SIGTERM), self.printed()

    def stop(self) -> None:
        """Stop it in good order; may be called again."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._process.wait(DEADLINE_S)

    def cli(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run `nextbest` with these arguments to its end."""
        return subprocess.run(
            [sys.executable, "-m", "app.cli", *arguments],
            cwd=ROOT,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_S,
            check=False,
        )

    def get(self, path: str, key: str = "") -> httpx.Response:
        """GET something, over a connection of its own."""
        return self.http.get(path, headers={"X-API-Key": key})

    def make_key(self, role: str) -> str:
        """A key, as users make one."""
        done = self.cli("keys", "create", "--role", role)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def printed(self) -> str:
        """Return the log output of the processes so far."""
        return self._log.read_text(errors="replace")

    def _ready(self) -> bool:
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False
