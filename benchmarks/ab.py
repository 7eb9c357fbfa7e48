"""``python -m benchmarks.ab BASE``: this tree against a commit, in turns, so that a noisy machine is noisy for both.

Both have an installation of their own and the same requests; the one that is not asked does nothing. What is told is
the ratio of each pair of runs, with an interval: a machine that slows down meanwhile slows down both of a pair.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray
from scipy import stats

from benchmarks import paced, wrk
from benchmarks.caller import Caller
from benchmarks.machine import BenchError, Cores, pin, require_wrk
from benchmarks.plan import ONE_SLOT, QUICK, ROOT, THREE_SLOTS
from benchmarks.processes import ApiProcess

MODES = {
    "noop": ("noop", ONE_SLOT),
    "decide": ("decide", ONE_SLOT),
    "decide, three slots": ("decide", THREE_SLOTS),
}
TOLD = {"outcomes singly": 1, "outcomes in hundreds": 100, "outcomes in thousands": 1000}
"""By the number of outcomes in a request; with one, wrk tells them on all connections."""
OPEN_LOOP = "decide, open loop"
RATES = ("/s", 0), (" us of CPU", 0)
"""The two figures of a run: their units, and digits behind the point."""
TIMES = (" ms (p50)", 2), (" ms (p99)", 1)
"""The same of a run in an open loop."""
SETTLE_S = 1.0
"""Between decisions and outcomes: the process has changes of arms to follow that decisions led to."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two trees, being served: its API process and a key."""

    name: str
    api: ApiProcess
    key: str


@dataclass(frozen=True, slots=True)
class Load:
    """How a side is asked in each run: from which core, and by how many connections, or at which rate."""

    cores: Cores
    connections: int
    seconds: int
    rate: int

    def __str__(self) -> str:
        return f"{self.rate} a second" if self.rate else f"{self.connections} connections"

    def ask(self, side: Side, arguments: Sequence[str]) -> wrk.Measured:
        """Ask on all connections until the time is up."""
        return wrk.run(self.cores.load, self.connections, self.seconds, side.api.url, arguments)


def main() -> int:
    """Compare; the exit status is 2 if that cannot be done here."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ab", description="Compare with a commit.")
    parser.add_argument("base", help="the commit to compare with")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=8, help="so often is each asked (at least 2)")
    parser.add_argument("--seconds", type=int, default=3, help="of each run")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--feedback", action="store_true", help="compare feedback, not decisions")
    other.add_argument(
        "--rate",
        type=int,
        default=0,
        help="compare times of answers, in an open loop of so many decisions a second",
    )
    options = parser.parse_args()
    modes: Iterable[str] = TOLD if options.feedback else MODES
    if options.rate:
        modes = [OPEN_LOOP]
    try:
        require_wrk()
        with tempfile.TemporaryDirectory(prefix="nextbest-ab-") as folder, ExitStack() as stack:
            stack.enter_context(_checkout(options.base, Path(folder) / "base"))
            sides = (
                stack.enter_context(_served(options.base, Path(folder) / "base")),
                stack.enter_context(_served("this tree", ROOT)),
            )
            cores = pin()  # not before: those who serve choose cores themselves
            load = Load(cores, options.connections, options.seconds, options.rate)
            for mode in modes:
                print(compare(sides, mode, load, options.pairs), flush=True)
    except BenchError as error:
        print(f"benchmarks.ab: {error}", file=sys.stderr)
        return 2
    return 0


def compare(sides: Sequence[Side], mode: str, load: Load, pairs: int) -> str:
    """Load both sides in turns, and describe the two figures of their runs, with their ratios, in a line."""
    seeds = random.Random(7)
    figures = np.zeros((2, pairs + 1, 2))
    for pair in range(pairs + 1):
        seed = seeds.randrange(2**31)
        # Who is first alternates, and the first pair warms up.
        for place in (0, 1) if pair % 2 else (1, 0):
            run = _wait_for if mode == OPEN_LOOP else _tell if mode in TOLD else _ask
            figures[:, pair, place] = run(sides[place], mode, load, seed)
    told = []
    for values, (unit, digits) in zip(figures[:, 1:], TIMES if mode == OPEN_LOOP else RATES, strict=True):
        base, here = np.median(values, axis=0)
        told.append(f"{base:.{digits}f} -> {here:.{digits}f}{unit} ({_ratio(values)})")
    return f"{mode}, {load}: " + "; ".join(told)


def _wait_for(side: Side, mode: str, load: Load, seed: int) -> tuple[float, float]:
    """Return the median and the 99th percentile of the times of answers, in milliseconds."""
    asked = paced.questions("127.0.0.1", side.key, QUICK.customers, ONE_SLOT, seed)
    row = paced.measure(side.api.port, asked, load.rate, load.seconds, seed)
    return row.p50_ms, row.p99_ms


def _ask(side: Side, mode: str, load: Load, seed: int) -> tuple[float, float]:
    """Return requests a second, and the processor time of one in microseconds."""
    what, placement = MODES[mode]
    arguments = (what, side.key, str(QUICK.customers), placement, str(seed))
    before = side.api.cpu_s()
    run = load.ask(side, arguments)
    return run.rps, (side.api.cpu_s() - before) / run.requests * 1e6


def _tell(side: Side, mode: str, load: Load, seed: int) -> tuple[float, float]:
    """Decide for a while, and tell an outcome of each offer: outcomes a second, and the processor time of one (us)."""
    with tempfile.NamedTemporaryFile("r", prefix="nextbest-ab-") as file:
        collect, tell = (
            (what, side.key, str(QUICK.customers), THREE_SLOTS, str(seed), file.name)
            for what in ("collect", "feedback")
        )
        load.ask(side, collect)
        time.sleep(SETTLE_S)
        if TOLD[mode] == 1:
            before = side.api.cpu_s()
            run = load.ask(side, tell)
            return run.rps, (side.api.cpu_s() - before) / run.requests * 1e6
        names = [line.split() for line in file]
    items = [{"decision_id": decision, "offer_id": offer, "outcome": "accepted"} for decision, offer in names]
    before, started = side.api.cpu_s(), time.perf_counter()
    with Caller(side.api, side.key) as client:
        for at in range(0, len(items), TOLD[mode]):
            answer = client.send("POST", "/feedback/batch", {"items": items[at : at + TOLD[mode]]})
            if answer["refused"]:
                raise BenchError(f"{answer['refused']} outcomes were refused")
    wall_s, cpu_s = time.perf_counter() - started, side.api.cpu_s() - before
    return len(items) / wall_s, cpu_s / len(items) * 1e6


def _ratio(values: NDArray[np.float64]) -> str:
    """Describe the ratio of here over base: the geometric mean over pairs, and its 95 % interval (Student's t)."""
    logs = np.log(values[:, 1] / values[:, 0])
    half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    low, middle, high = np.exp([logs.mean() - half, logs.mean(), logs.mean() + half])
    return f"x {middle:.3f}, {low:.3f} to {high:.3f}"


@contextmanager
def _checkout(commit: str, folder: Path) -> Iterator[None]:
    """Check a commit out into ``folder`` until the block ends. Raises ``BenchError`` if there is no such commit."""
    added = subprocess.run(
        ["git", "worktree", "add", "--detach", str(folder), commit],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if added.returncode:
        raise BenchError(f"{commit} cannot be checked out: {added.stderr.strip()}")
    try:
        _compile(folder)
        yield
    finally:
        subprocess.run(
            ["git", "worktree", "remove", "--force", str(folder)], cwd=ROOT, check=False, capture_output=True
        )


def _compile(tree: Path) -> None:
    """Compile the kernels of a tree, which a checkout has not: it would be slower than it is where it is installed."""
    built = subprocess.run(
        [
            sys.executable,
            "-c",
            "from setuptools import setup; setup(script_args=['-q', 'build_ext', '--inplace'])",
        ],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode or not list(tree.glob("bandits/_kernels*.so")):
        print(f"benchmarks.ab: {tree.name} runs without kernels: {built.stderr[-500:]}", file=sys.stderr)


@contextmanager
def _served(name: str, tree: Path) -> Iterator[Side]:
    """Serve a tree's own benchmark installation until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "--hold", "--quick"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said: list[str] = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("X-API-Key:"):
                break
        else:
            raise BenchError(f"{name} is not served: {''.join(said)[-2000:]}")
        url, _, pid = next(text for text in reversed(said) if text.startswith("http")).split()
        port = int(url.rpartition(":")[2])
        yield Side(name, ApiProcess(port, psutil.Process(int(pid))), line.split()[1])
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


if __name__ == "__main__":
    sys.exit(main())
