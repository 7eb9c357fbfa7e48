"""The servers' processes: found while they live, started without interruption, reachable for their user."""

import os
import pwd
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.embedded.process import (
    EmbeddedServersError,
    find_process,
    make_folders,
    require_reachable,
    require_readable,
    uninterrupted,
)
from tests.support.waiting import DEADLINE_S

OTHER = pwd.struct_passwd(("somebody", "x", os.getuid() + 1, os.getgid() + 1, "", "/", "/bin/false"))


def test_folders_that_were_there_keep_their_permissions(tmp_path: Path) -> None:
    """A folder that somebody closed stays closed, and the error says what can be done."""
    tmp_path.chmod(0o700)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    made = make_folders(closed / "data" / "postgres")
    assert made == [closed / "data" / "postgres", closed / "data"]
    with pytest.raises(EmbeddedServersError, match=r"'somebody' cannot pass through .*/closed.*chmod o\+rX"):
        require_reachable(closed / "data" / "postgres", OTHER, made)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_folders_that_were_made_for_the_servers_are_opened(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    with pytest.raises(EmbeddedServersError, match="cannot pass through"):
        require_reachable(data / "postgres", OTHER, [data])  # what is above it is closed
    assert stat.S_IMODE(data.stat().st_mode) == 0o701


def test_files_that_cannot_be_read_are_named_and_left_as_they_are(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    program = tmp_path / "initdb"
    program.touch(mode=0o700)
    with pytest.raises(EmbeddedServersError, match=r"cannot read .*initdb"):
        require_readable(tmp_path, OTHER)
    assert stat.S_IMODE(program.stat().st_mode) == 0o700
    program.chmod(0o755)
    require_readable(tmp_path, OTHER)


@pytest.mark.parametrize("status", [psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD])
def test_a_process_that_has_ended_is_not_found_while_it_is_reaped(
    status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_process(os.getpid()) is not None
    monkeypatch.setattr(psutil.Process, "status", lambda self: status)
    assert find_process(os.getpid()) is None


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Ctrl-C does what it does in a command, also where tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_ctrl_c_waits_for_the_end_of_the_block() -> None:
    done = []

    def work() -> None:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("the rest")
        done.append("what follows")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["the rest"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("interrupts")
def test_ctrl_c_comes_through_when_the_block_fails() -> None:
    def work() -> None:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("of the block")

    with pytest.raises(KeyboardInterrupt) as caught:
        work()
    assert isinstance(caught.value.__context__, ValueError)


def test_a_handler_of_ones_own_is_called_once_for_each_signal() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: seen.append(number))
    try:
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert seen == []
        assert set(seen) == {signal.SIGTERM}
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_leave_signals_alone() -> None:
    inside = []

    def work() -> None:
        with uninterrupted():
            inside.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(DEADLINE_S)
    assert inside == [before]
