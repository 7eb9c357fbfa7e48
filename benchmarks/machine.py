"""The machine: its description, the use of its cores, and its load generator."""

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path


class BenchError(RuntimeError):
    """The benchmark cannot go on. The message says why, in words for the person who started it."""


@dataclass(frozen=True, slots=True)
class Cores:
    """The cores of the API process, of wrk, and of everything else."""

    api: int
    load: int
    rest: tuple[int, ...]

    def describe(self) -> str:
        """Describe the cores in words, for the results."""
        rest = ", ".join(map(str, self.rest))
        shared = " (shared with wrk)" if self.load in self.rest else ""
        return f"API: core {self.api}; wrk: core {self.load}; worker, Valkey, PostgreSQL: core {rest}{shared}"


def pin() -> Cores:
    """Choose cores, and keep this process and all that it starts off the API's.

    Raises
    ------
    BenchError
        If there are not two cores, or the system cannot pin processes.
    """
    if not hasattr(os, "sched_setaffinity") or shutil.which("taskset") is None:
        raise BenchError("processes are pinned to cores with taskset, which is only on Linux (util-linux)")
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise BenchError("two cores are needed: one for the API, one for the load generator")
    cores = Cores(usable[0], usable[1], tuple(usable[2:]) or (usable[1],))
    os.sched_setaffinity(0, cores.rest)
    return cores


def require_wrk() -> str:
    """Find the load generator.

    Raises
    ------
    BenchError
        If it is not installed; the message says how to get it.
    """
    found = shutil.which("wrk")
    if found is None:
        raise BenchError(
            "the load generator wrk is missing: apt install wrk (Debian, Ubuntu) or dnf install wrk (Fedora)"
        )
    return found


def describe() -> str:
    """Describe processor, cores, memory, Python and operating system in one line."""
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    release = _field(Path("/etc/os-release"), "PRETTY_NAME", "=").strip('"') or platform.system()
    return (
        f"{_field(Path('/proc/cpuinfo'), 'model name', ':') or platform.machine()}, {os.cpu_count()} cores, "
        f"{gigabytes:.0f} GB memory, Python {platform.python_version()}, {release}, "
        f"{sys.platform} {platform.release()}"
    )


def _field(path: Path, name: str, separator: str) -> str:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ""
    pairs = (line.partition(separator) for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == name), "")
