"""The rules by which a call is made again, and the time before it. Nothing here waits or sends."""

import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import httpx

from nextbest_client.errors import Refused, Unavailable

AGAIN = frozenset((408, 425, 429, 500, 502, 503, 504))
"""Statuses after which the same call may succeed."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request. Each is safe to repeat: reads, and what the service counts once however often it is told."""

    method: str
    path: str
    json: Any = None
    params: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request; the answer, or the transport's error, is sent back."""

    request: Request
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait."""

    seconds: float


Steps = Generator[Send | Pause, httpx.Response | httpx.TransportError | TimeoutError | None, httpx.Response]


@dataclass(frozen=True, slots=True)
class Retries:
    """The number of tries of a call, and the pauses between them.

    After attempt ``n`` (from 0) it waits for a random time of at most ``first_s * 2**n``, and ``most_s`` ("full
    jitter"), so that clients who failed together do not come back together; longer if the service says so by
    ``Retry-After``. A pause that would not end in time is not begun. ``attempt_s`` bounds one attempt, so that there is
    time for another.
    """

    attempts: int = 3
    first_s: float = 0.05
    most_s: float = 2.0
    attempt_s: float | None = None

    def pause_s(self, attempt: int, at_least_s: float, draw: float) -> float:
        """Compute the pause after attempt ``attempt`` (from 0); ``draw`` lies in 0 to 1."""
        return max(at_least_s, draw * min(self.most_s, self.first_s * 2.0**attempt))


def attempts(
    request: Request,
    retries: Retries,
    timeout_s: float,
    clock_s: Callable[[], float] = time.monotonic,
    draw: Callable[[], float] = random.random,
) -> Steps:
    """Yield the steps of a call that may take ``timeout_s`` in all; returns its answer, a success.

    Raises ``Refused``, and ``Unavailable`` when there are no attempts or no time left.
    """
    ends_s, reason, status = clock_s() + timeout_s, "there was no time to ask", None
    for attempt in range(retries.attempts):
        left_s = ends_s - clock_s()
        if left_s <= 0:
            break
        got = yield Send(request, min(left_s, retries.attempt_s or left_s))
        wait_s = 0.0
        if isinstance(got, httpx.Response):
            if got.is_success:
                return got
            if got.status_code not in AGAIN:
                raise _refusal(got)
            reason, status, wait_s = f"answered {got.status_code}", got.status_code, retry_after_s(got)
        else:
            reason, status = f"{type(got).__name__}: {got}", None
        pause_s = retries.pause_s(attempt, wait_s, draw())
        if attempt + 1 == retries.attempts or clock_s() + pause_s >= ends_s:
            break
        yield Pause(pause_s)
    raise Unavailable(f"{request.method} {request.path}: {reason}", status)


def retry_after_s(response: httpx.Response) -> float:
    """Read ``Retry-After`` in seconds; 0 if it is missing or a date, which services of ours do not send."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() and len(text) < 7 else 0.0


def _refusal(response: httpx.Response) -> Refused:
    try:
        body = response.json()
        return Refused(
            response.status_code, str(body["detail"]), body.get("errors", ()), body.get("request_id")
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return Refused(response.status_code, response.text[:500] or response.reason_phrase)


@dataclass(slots=True)
class Breaker:
    """Remembers that the service is away, so that not every caller waits to find it out.

    After ``threshold`` failures in a row nothing is asked for ``rest_s`` seconds; then one call tries.
    """

    threshold: int = 5
    rest_s: float = 1.0
    clock_s: Callable[[], float] = time.monotonic
    _failures: int = 0
    _closed_until_s: float = field(default=0.0)

    def lets_through(self) -> bool:
        """Return whether a call may ask."""
        if self._failures < self.threshold:
            return True
        now_s = self.clock_s()
        if now_s < self._closed_until_s:
            return False
        self._closed_until_s = now_s + self.rest_s  # one tries; the others wait for what it finds
        return True

    def note(self, *, failed: bool) -> None:
        """Tell how a call ended."""
        if not failed:
            self._failures = 0
            return
        self._failures += 1
        if self._failures >= self.threshold:
            self._closed_until_s = self.clock_s() + self.rest_s
