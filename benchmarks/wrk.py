"""wrk, the load generator: runs it, and reads what it measured.

wrk keeps each connection busy with one request at a time (a closed loop), so latencies are those of a server that
is as loaded as the connections can make it. They are not corrected for coordinated omission.
"""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmarks.machine import BenchError
from benchmarks.report import Row

SCRIPT = Path(__file__).with_name("load.lua")
TIMEOUT_S = 60


class Measured(BaseModel):
    """One run of wrk. ``errors``: connections, timeouts, and answers other than 2xx and 3xx."""

    model_config = ConfigDict(extra="forbid")

    requests: int
    duration_us: int
    p50_us: int
    p95_us: int
    p99_us: int
    p999_us: int
    errors: int
    exhausted: int = 0

    @property
    def rps(self) -> float:
        """Answers per second."""
        return self.requests / (self.duration_us / 1e6)


def parse(output: str) -> Measured:
    """Read the line that ``load.lua`` prints at the end.

    Raises
    ------
    BenchError
        If there is none, or no request was answered.
    """
    line = next((line for line in reversed(output.splitlines()) if line.startswith("{")), "")
    try:
        measured = Measured.model_validate_json(line)
    except ValidationError as error:
        raise BenchError(f"wrk printed no result:\n{output}") from error
    if not measured.requests:
        raise BenchError(f"no request was answered:\n{output}")
    return measured


def run(core: int, connections: int, seconds: int, url: str, arguments: Sequence[str]) -> Measured:
    """Load ``url`` for a while from ``core``. ``arguments`` are those of ``load.lua``.

    Raises
    ------
    BenchError
        If wrk fails, or a request was not answered with success.
    """
    command = _command(core, connections, seconds, url, arguments)
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + TIMEOUT_S, check=False)
    if done.returncode:
        raise BenchError(f"wrk failed:\n{done.stdout}{done.stderr}")
    measured = parse(done.stdout)
    if measured.errors:
        answers = "\n".join(line for line in done.stdout.splitlines() if line.startswith("! "))
        raise BenchError(
            f"{measured.errors} of {measured.requests} requests failed ({arguments[0]}):\n"
            + (answers or "no answer came")
        )
    return measured


@contextmanager
def background(core: int, connections: int, url: str, arguments: Sequence[str]) -> Iterator[None]:
    """Load ``url`` from ``core`` for as long as the block runs."""
    command = _command(core, connections, 3600, url, arguments)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _command(core: int, connections: int, seconds: int, url: str, arguments: Sequence[str]) -> list[str]:
    pinned = [
        "taskset",
        "-c",
        str(core),
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--timeout",
        "5s",
    ]
    return [*pinned, "-s", str(SCRIPT), url, "--", *arguments]


def row(connections: int, runs: Sequence[Measured]) -> Row:
    """The medians of several runs."""

    def ms(name: str) -> float:
        return round(float(median(getattr(run, name) for run in runs)) / 1000, 3)

    return Row(
        connections=connections,
        rps=round(median(run.rps for run in runs), 1),
        p50_ms=ms("p50_us"),
        p95_ms=ms("p95_us"),
        p99_ms=ms("p99_us"),
        p999_ms=ms("p999_us"),
    )
