"""Calls of the benchmarks to a service, with the project's own Python client, where its own time does not matter.

Load is made by wrk and ``benchmarks.paced``; what resolves single milliseconds (``benchmarks.freshness``) or counts the
bytes of answers (``benchmarks.console``) sends its requests itself.
"""

from types import TracebackType
from typing import Any, Self

from benchmarks.machine import BenchError
from benchmarks.processes import ApiProcess
from nextbest_client import Client, NextbestError, Retries

TIMEOUT_S = 30.0


class Caller:
    """A caller of one API process, by one connection that is kept open."""

    def __init__(self, process: ApiProcess, key: str) -> None:
        self.process = process
        # Asked once: a call that was made again would be measured as one, and its failure not be seen.
        self._client = Client(process.url, key, timeout_s=TIMEOUT_S, retries=Retries(attempts=1))

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send a request to a path below ``/v1``, and return the answer. Raises ``BenchError`` if it is refused."""
        try:
            return self._client.request(method, f"/v1{path}", body)
        except NextbestError as error:
            raise BenchError(f"{method} {path}: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
