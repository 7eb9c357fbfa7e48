"""The hook that gives whoever traces stores the names of commands and statements, never keys, parameters or values."""

from collections.abc import Callable

EndSpan = Callable[[BaseException | None], None]
"""Ends a span, with the error that the call ended with, if it did."""

BeginSpan = Callable[[str, str, str | None], EndSpan | None]
"""Begins the span of a call to a system (``redis``, ``postgresql``), by its operation and, where it is known, what that
is about: a function or a table. ``None`` if nothing is recorded."""
