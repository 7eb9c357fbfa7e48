"""Processes that are forked from one that has loaded the code are as good as processes of their own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import forking
from tests.support.forking import Forked
from tests.support.waiting import DEADLINE_S, wait_until

ROOT = Path(__file__).resolve().parents[2]
MODULE = """
import atexit, os, random, sys, time
atexit.register(print, "good order")
print(__name__, sys.argv[1:], sorted(os.environ), os.getcwd(), random.random(), "fractions" in sys.modules, flush=True)
if sys.argv[1] == "wait":
    time.sleep(600)
sys.exit(int(sys.argv[1]))
"""

pytestmark = pytest.mark.skipif(not forking.can_fork(), reason="processes are not forked on this system")


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all be forked from a process that has loaded little."""
    (tmp_path / "told.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(forking, "REST", ("fractions",))


def start(folder: Path, *arguments: str) -> Forked:
    """A process with one variable, ``OURS``."""
    with (folder / "log").open("ab") as log:
        return Forked("told", arguments, {"OURS": "1"}, folder, log)


def test_arguments_environment_folder_and_output_are_its_own(tmp_path: Path) -> None:
    assert [start(tmp_path, status, "more").wait(DEADLINE_S) for status in ("0", "7")] == [0, 7]
    first, _, second, _ = (tmp_path / "log").read_text().splitlines()
    assert first.startswith(f"__main__ ['0', 'more'] ['OURS', 'PROMETHEUS_MULTIPROC_DIR'] {tmp_path} ")
    assert first.endswith(" True")  # loaded before
    assert first.split()[-2] != second.split()[-2]  # of two random numbers
    assert "good order" in (tmp_path / "log").read_text()


def test_it_is_killed_as_any_other(tmp_path: Path) -> None:
    process = start(tmp_path, "wait")
    wait_until((tmp_path / "log").read_text, "its first words")
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.kill()
    assert process.wait(DEADLINE_S) == -signal.SIGKILL
    process.kill()  # again: its number may be that of another one by now
    assert "good order" not in (tmp_path / "log").read_text()


def test_it_ends_with_the_tests_even_if_these_are_killed(tmp_path: Path) -> None:
    program = f"""
import os, sys
from pathlib import Path
from tests.support import forking
forking.REST = ("fractions",)
folder = Path({str(tmp_path)!r})
print(forking.Forked("told", ["wait"], {{}}, folder, (folder / "log").open("wb")).pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    wait_until(lambda: not is_alive(int(done.stdout)), "it to end")


def is_alive(pid: int) -> bool:
    """True if there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
