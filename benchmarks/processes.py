"""The processes of one run: servers of its own in a folder that is removed afterwards, API, worker."""

import json
import os
import shutil
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
from prometheus_client.parser import text_string_to_metric_families

import migrations
from app.embedded.server_urls import ServerUrls
from app.embedded.servers import EmbeddedServers
from app.processes.supervise import Child, Command, logged
from benchmarks.machine import BenchError, Cores
from benchmarks.plan import ROOT

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Site:
    """One installation: its folder, stores, API key and cores. ``settings``: more of them, by their variables."""

    folder: Path
    urls: ServerUrls
    key: str
    cores: Cores
    settings: Mapping[str, str] = field(default_factory=dict)

    def env(self) -> dict[str, str]:
        """The environment of API and worker: settings of the caller's do not get through, only these."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("NEXTBEST_")}
        kept.pop("PROMETHEUS_MULTIPROC_DIR", None)
        return {
            **kept,
            "NEXTBEST_POSTGRES_URL": self.urls.postgres_url,
            "NEXTBEST_REDIS_URL": self.urls.redis_url,
            "NEXTBEST_DATA_DIR": str(self.folder),
            "NEXTBEST_LOG_LEVEL": "warning",
            **self.settings,
        }


@dataclass(frozen=True, slots=True)
class ApiProcess:
    """A running API process."""

    port: int
    process: psutil.Process

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def cpu_s(self) -> float:
        """The processor time that it has used, in all its threads, in seconds."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def counted(self, metric: str, label: str | None = None) -> Mapping[str, float]:
        """A counter of ``/metrics`` by the values of ``label``, or all together under ``""``."""
        with urllib.request.urlopen(f"{self.url}/metrics") as answer:
            text = answer.read().decode()
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == f"{metric}_total":
                    value = sample.labels[label] if label else ""
                    found[value] = found.get(value, 0.0) + sample.value
        return found


@contextmanager
def fresh_servers() -> Iterator[tuple[Path, ServerUrls]]:
    """Migrated servers of our own, in a folder that is removed when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="nextbest-bench-"))
    folder.chmod(0o711)  # for root, whose PostgreSQL runs as another user
    try:
        with EmbeddedServers(folder) as urls:
            migrations.upgrade(urls.postgres_url)
            yield folder, urls
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def api(site: Site) -> Iterator[ApiProcess]:
    """An API process with the benchmark's routes on the API's core, once it is ready."""
    port = _free_port()
    argv = (sys.executable, "-m", "benchmarks.serve", str(port))
    with _running("api", (site.cores.api,), argv, site) as child:
        assert child.process is not None
        found = ApiProcess(port, psutil.Process(child.process.pid))
        _wait_ready(found.url, child, site.folder / "api.log")
        yield found


def time_replacement(site: Site) -> float:
    """Kill both API processes of ``nextbest serve``, and return the seconds until one is ready in their place."""
    port = _free_port()
    shared = replace(site, settings={**site.settings, "NEXTBEST_WORKERS": "2", "NEXTBEST_PORT": str(port)})
    argv = (sys.executable, "-m", "app.cli", "serve")
    with _running("serve", (site.cores.api,), argv, shared) as child:
        assert child.process is not None
        url, log = f"http://127.0.0.1:{port}", site.folder / "serve.log"
        _wait_ready(url, child, log)
        time.sleep(2.0)  # for the other one: uvicorn would wait for it to say that it has begun
        forked = psutil.Process(child.process.pid).children()
        started = time.perf_counter()
        for process in forked:
            process.kill()
        psutil.wait_procs(forked)
        _wait_ready(url, child, log)
        return time.perf_counter() - started


@contextmanager
def worker(site: Site, name: str = "worker", cores: Sequence[int] | None = None) -> Iterator[psutil.Process]:
    """A worker, as ``nextbest work`` runs it, on ``cores``, or those of the rest."""
    argv = (sys.executable, "-m", "app.cli", "work")
    with _running(name, cores or site.cores.rest, argv, site) as child:
        assert child.process is not None
        yield psutil.Process(child.process.pid)


@contextmanager
def _running(name: str, cores: Sequence[int], argv: Sequence[str], site: Site) -> Iterator[Child]:
    log = site.folder / f"{name}.log"
    pinned = ("taskset", "-c", ",".join(map(str, cores)), *argv)
    command = Command(name, pinned, {**site.env(), "PYTHONPATH": str(ROOT)})
    with logged(command, log, STOP_TIMEOUT_S) as child:
        yield child


def _wait_ready(url: str, child: Child, log: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    checks: object = "it does not answer"
    while time.monotonic() < deadline and child.running:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                return
        except urllib.error.HTTPError as error:
            checks = json.loads(error.read())
        except OSError:
            pass
        time.sleep(0.05)
    raise BenchError(f"the API does not get ready ({checks}):\n{log.read_text(errors='replace')[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
