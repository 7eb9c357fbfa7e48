"""Between steps: signals are looked at when it suits, and never lost."""

import asyncio
import signal
from collections.abc import Iterator

import pytest

from app.commands.interrupts import between_steps


@pytest.fixture(autouse=True)
def _ctrl_c_is_free() -> Iterator[None]:
    """Ctrl-C does what it does in a command, also where tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_without_signals_nothing_happens() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with between_steps() as check:
        check()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("number", "ends"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_waits_for_the_next_look(number: signal.Signals, ends: type[BaseException]) -> None:
    steps = []

    def work() -> None:
        with between_steps() as check:
            signal.raise_signal(number)
            steps.append("finished")
            check()
            steps.append("never begun")

    with pytest.raises(ends) as caught:
        work()
    assert steps == ["finished"]
    if isinstance(caught.value, SystemExit):
        assert caught.value.code == 128 + number
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_signal_does_not_wait() -> None:
    steps = []

    def work() -> None:
        with between_steps():
            signal.raise_signal(signal.SIGINT)
            steps.append("goes on")
            signal.raise_signal(signal.SIGINT)
            steps.append("never")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["goes on"]


def test_a_signal_that_nobody_looked_at_ends_the_block() -> None:
    with pytest.raises(KeyboardInterrupt), between_steps():
        signal.raise_signal(signal.SIGINT)


def test_an_error_after_a_signal_is_the_signals_doing() -> None:
    def work() -> None:
        with between_steps():
            signal.raise_signal(signal.SIGINT)
            raise OSError("a child got the signal, too")

    with pytest.raises(KeyboardInterrupt) as caught:
        work()
    assert isinstance(caught.value.__context__, OSError)


def test_errors_without_a_signal_stay_what_they_are() -> None:
    with pytest.raises(OSError, match="of its own"), between_steps():
        raise OSError("of its own")


def test_a_handler_that_python_does_not_know_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python says None for a handler that was set in C, and cannot put it back."""
    getsignal, install = signal.getsignal, signal.signal

    def unknown(number: int, given: object) -> object:
        return None if number == signal.SIGTERM else given

    before = getsignal(signal.SIGTERM)
    monkeypatch.setattr(signal, "getsignal", lambda number: unknown(number, getsignal(number)))
    monkeypatch.setattr(signal, "signal", lambda number, to: unknown(number, install(number, to)))
    with between_steps():
        assert getsignal(signal.SIGTERM) is before
        assert getsignal(signal.SIGINT) is not signal.default_int_handler
    assert getsignal(signal.SIGTERM) is before
    assert getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_event_loop_inside_makes_no_cancellation_of_it() -> None:
    """A cancellation may be swallowed by whoever is being waited for; then the wish would be lost."""
    seen = []

    async def swallows() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            seen.append("cancelled")

    with pytest.raises(KeyboardInterrupt), between_steps():
        asyncio.run(swallows())
    assert seen == []
