"""The errors of a call."""

from collections.abc import Mapping, Sequence
from typing import Any


class NextbestError(Exception):
    """The root of all errors of this package."""


class Refused(NextbestError):
    """The service said no, and would say so again: an answer of 4xx.

    ``errors`` names the fields at fault, each with ``field`` and ``reason``; ``request_id`` finds it in the log.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Sequence[Mapping[str, Any]] = (),
        request_id: str | None = None,
    ) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail
        self.errors = errors
        self.request_id = request_id


class Unavailable(NextbestError):
    """The service did not answer in time, however often it was asked.

    ``status`` is that of its last answer, ``None`` if there was none.
    """

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
