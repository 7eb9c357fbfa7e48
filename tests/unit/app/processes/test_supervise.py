"""The supervisor: crashed processes come back, signals reach all, nothing is left behind."""

import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from app.commands.service import require_free_port, service_commands
from app.config import ConfigError, Settings
from app.embedded.process import find_process
from app.embedded.server_urls import ServerUrls
from app.processes.supervise import Command, RestartLimits, Supervisor
from tests.support.waiting import DEADLINE_S, wait_until

QUICK = RestartLimits(first_delay_s=0.01, max_delay_s=0.02, steady_s=60, max_attempts=3, grace_s=60)

# Runs a supervisor over the Python programs given as arguments, as `nextbest up` does.
SUPERVISOR = """
import sys
from app.processes.supervise import Command, RestartLimits, Supervisor
limits = RestartLimits(first_delay_s=0.01, max_delay_s=0.02, max_attempts=1000, grace_s=float(sys.argv[1]))
commands = [Command(f"c{n}", (sys.executable, "-c", code)) for n, code in enumerate(sys.argv[2:])]
sys.exit(Supervisor(commands, limits).run())
"""

# Notes its start, and the signal that ends it.
OBEDIENT = """
import os, signal, sys, time
log = os.open({file!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
note = lambda text: os.write(log, f"{{text}}\\n".encode())
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, _: (note(signal.Signals(number).name), sys.exit(0)))
note(f"pid {{os.getpid()}}")
time.sleep(600)
"""

# Will not stop when asked, and has a child that will not either.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
os.write(os.open({file!r}, os.O_WRONLY | os.O_CREAT), f"{{os.getpid()}} {{child.pid}}\\n".encode())
time.sleep(600)
"""


def lines(file: Path) -> list[str]:
    """The lines that a process has noted so far."""
    return file.read_text().splitlines() if file.exists() else []


def has_lines(file: Path, count: int) -> bool:
    """True if that many lines have been noted."""
    return len(lines(file)) == count


def supervise(grace_s: float, *programs: str) -> subprocess.Popen[bytes]:
    """A supervisor in a process of its own."""
    return subprocess.Popen([sys.executable, "-c", SUPERVISOR, str(grace_s), *programs])


def is_running(pid: int) -> bool:
    """True if a process is there and is not merely waiting to be reaped."""
    return find_process(pid) is not None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_to_all(tmp_path: Path, number: signal.Signals) -> None:
    files = [tmp_path / "a", tmp_path / "b"]
    supervisor = supervise(60, *(OBEDIENT.format(file=str(file)) for file in files))
    wait_until(lambda: all(lines(file) for file in files), "all processes to note their start")
    supervisor.send_signal(number)
    assert supervisor.wait(DEADLINE_S) == 0
    assert [lines(file)[1:] for file in files] == [[number.name]] * 2


def test_a_killed_process_is_started_again_and_the_others_are_not(tmp_path: Path) -> None:
    crashing, steady = tmp_path / "crashing", tmp_path / "steady"
    supervisor = supervise(60, OBEDIENT.format(file=str(crashing)), OBEDIENT.format(file=str(steady)))
    for count in (1, 2):
        wait_until(partial(has_lines, crashing, count), f"start {count}")
        os.kill(int(lines(crashing)[-1].removeprefix("pid ")), signal.SIGKILL)
    wait_until(partial(has_lines, crashing, 3), "the last start")
    supervisor.terminate()
    assert supervisor.wait(DEADLINE_S) == 0
    assert len({line for line in lines(crashing) if line.startswith("pid")}) == 3
    assert [line for line in lines(steady) if not line.startswith("pid")] == ["SIGTERM"]


def test_what_does_not_stop_in_time_is_ended_with_its_children(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    supervisor = supervise(0.2, STUBBORN.format(file=str(file)))
    wait_until(lambda: lines(file), "the process to note its start")
    supervisor.terminate()
    assert supervisor.wait(DEADLINE_S) == 0
    pids = [int(word) for word in lines(file)[0].split()]
    wait_until(lambda: not any(is_running(pid) for pid in pids), "the process and its child to be ended")


def test_processes_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "a"
    supervisor = supervise(60, OBEDIENT.format(file=str(file)))
    wait_until(lambda: lines(file), "the process to note its start")
    supervisor.kill()
    supervisor.wait(DEADLINE_S)
    wait_until(lambda: lines(file)[1:] == ["SIGTERM"], "the process to get SIGTERM")


def test_a_command_that_keeps_failing_is_given_up_and_the_rest_stopped(tmp_path: Path) -> None:
    starts, steady = tmp_path / "starts", tmp_path / "steady"
    failing = f"import sys; open({str(starts)!r}, 'a').write('x'); sys.exit(7)"
    supervisor = Supervisor(
        [
            Command("steady", (sys.executable, "-c", OBEDIENT.format(file=str(steady)))),
            Command("failing", (sys.executable, "-c", failing)),
        ],
        QUICK,
    )
    assert supervisor.run() == 7
    assert starts.read_text() == "xxx"


def test_what_is_watched_is_looked_at_and_its_failure_stops_nothing(tmp_path: Path) -> None:
    looked = []

    def watch() -> None:
        looked.append(1)
        raise RuntimeError("not well")

    failing = Command("failing", (sys.executable, "-c", "raise SystemExit(7)"))
    assert Supervisor([failing], QUICK, watch=watch).run() == 7
    assert looked


def test_up_refuses_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="NEXTBEST_PORT"):
            require_free_port("127.0.0.1", taken.getsockname()[1])


def test_signal_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    Supervisor([Command("failing", (sys.executable, "-c", "raise SystemExit(1)"))], QUICK).run()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_up_runs_the_api_and_the_worker_on_the_servers_it_was_given(tmp_path: Path) -> None:
    urls = ServerUrls("postgresql://p/n", "redis://r/0")
    found = service_commands(Settings(data_dir=tmp_path), urls)
    assert [command.argv[-3:] for command in found] == [("-m", "app.cli", "serve"), ("-m", "app.cli", "work")]
    for command in found:
        assert command.env is not None
        assert command.env["NEXTBEST_POSTGRES_URL"] == urls.postgres_url
        assert command.env["NEXTBEST_REDIS_URL"] == urls.redis_url
