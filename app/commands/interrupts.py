"""Ctrl-C and SIGTERM as a wish that is looked at, instead of an exception that may come anywhere.

An exception in the midst of starting a process forgets the process; one that meets an event loop becomes a
cancellation, which libraries may swallow. So a command that sets things up asks, between its steps, whether
it is to stop.
"""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def between_steps() -> Iterator[Callable[[], None]]:
    """Hold the first signal back until the function that this yields is called; a second one acts at once.

    The function raises KeyboardInterrupt after SIGINT, and SystemExit after SIGTERM; so does the end of the block. To
    be used in the main thread.
    """
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            check()

    def check() -> None:
        if received:
            if received[0] == signal.SIGINT:
                raise KeyboardInterrupt
            sys.exit(128 + received[0])

    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    # One that was not set from Python could not be put back, so it stays.
    before = {number: handler for number, handler in handlers.items() if handler is not None}
    try:
        for number in before:
            signal.signal(number, note)
        yield check
    except Exception:
        check()  # in the place of the error, which is then likely to be of the same cause
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    check()
