"""The part of an error that is logged: its kind and place, and its message only where it cannot quote anybody's data.

Messages of Python, of drivers and of policies, which may be anybody's code, quote the values that they failed on. Which
of these are personal cannot be told from a message, so all of them are left out: this is the one rule for log lines.
Spans have no messages at all.
"""

import traceback
from collections.abc import Iterator
from types import TracebackType

from storage.errors import StorageError

WITHHELD = "message withheld, since it may quote personal data"
MAX_CAUSES = 10
_CAUSED = "The above exception was the direct cause of the following exception:"
_WHILE_HANDLING = "During handling of the above exception, another exception occurred:"


def describe_error(error: BaseException) -> str:
    """Describe an error on one line, without what it may quote: its kind and the place where it was raised."""
    message = _safe_message(error)
    if message is not None:
        return f"{type(error).__name__}: {message}"
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    place = f" in {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place} ({WITHHELD})"


def format_traceback(exc_info: tuple[type[BaseException], BaseException, TracebackType | None]) -> str:
    """Format an error as Python does, with its causes and the lines of the source, but without what it may quote."""
    return "\n".join(_lines(exc_info[1], MAX_CAUSES)).rstrip("\n")


def _lines(error: BaseException, left: int) -> Iterator[str]:
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and left:
        yield from _lines(cause, left - 1)
        yield f"\n{_CAUSED if error.__cause__ else _WHILE_HANDLING}\n"
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):"
        yield "".join(traceback.format_tb(error.__traceback__)).rstrip("\n")
    message = _safe_message(error)
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    yield f"{name}: {WITHHELD if message is None else message}"
    if isinstance(error, BaseExceptionGroup) and left:
        for one in error.exceptions:
            yield from _lines(one, left - 1)


def _safe_message(error: BaseException) -> str | None:
    """Return the message of an error that cannot quote data; ``None`` of any other."""
    if isinstance(error, StorageError):  # made of the server's words on itself alone
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return None
