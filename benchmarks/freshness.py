"""Freshness: the time until a decision of one process knows what another process has acknowledged.

An offer that has a placement to itself is decided and accepted by process A. From the moment at which A's
acknowledgement has been read, process B is asked for dry-run decisions at this placement, one after the other, until
the offer's propensity in the answer is another one than before. A sample is the time from the acknowledgement to
the arrival of that answer: so it holds the answer's own way, and is at most one question too long. The time that a
question takes is given beside the samples, as the resolution.
"""

import http.client
import json
import time
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from benchmarks.machine import BenchError
from benchmarks.plan import FRESH
from benchmarks.processes import ApiProcess

MAX_WAIT_S = 5.0
PAUSE_S = 0.01


@dataclass(frozen=True, slots=True)
class Freshness:
    """All times in milliseconds. ``poll_ms``: the median time of one question to B."""

    p50_ms: float
    p99_ms: float
    poll_ms: float
    samples: int


class _Client:
    """A connection that is kept open."""

    def __init__(self, api: ApiProcess, key: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=10)
        self._headers = {"X-API-Key": key, "Content-Type": "application/json"}

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self._connection.request("POST", path, json.dumps(body), self._headers)
        answer = self._connection.getresponse()
        content: dict[str, Any] = json.loads(answer.read())
        if answer.status != 200:
            raise BenchError(f"{path} answered {answer.status}: {content}")
        return content

    def decide(self, *, dry_run: bool) -> dict[str, Any]:
        answer = self.post(
            "/v1/decisions", {"customer_id": "c000000", "placement": FRESH, "dry_run": dry_run}
        )
        if answer["degraded"] or len(answer["offers"]) != 1:
            raise BenchError(f"a decision without its offer: {answer}")
        return answer

    def close(self) -> None:
        self._connection.close()


def measure(writer: ApiProcess, reader: ApiProcess, key: str, samples: int) -> Freshness:
    """Give feedback to ``writer`` and watch ``reader``, ``samples`` times.

    Raises
    ------
    BenchError
        If a request fails, or an outcome does not show within ``MAX_WAIT_S``.
    """
    a, b = _Client(writer, key), _Client(reader, key)
    took_ms: list[float] = []
    polls_ms: list[float] = []
    try:
        for _ in range(samples):
            took_ms.append(_sample(a, b, polls_ms))
            time.sleep(PAUSE_S)
    finally:
        a.close()
        b.close()
    cuts = quantiles(took_ms, n=100, method="inclusive")
    middle = quantiles(polls_ms, n=2)[0]
    return Freshness(round(cuts[49], 2), round(cuts[98], 2), round(middle, 2), samples)


def _sample(a: _Client, b: _Client, polls_ms: list[float]) -> float:
    decision = a.decide(dry_run=False)
    offer = decision["offers"][0]["offer_id"]
    before = b.decide(dry_run=True)["offers"][0]["factors"]["P"]
    outcome = {"decision_id": decision["decision_id"], "offer_id": offer, "outcome": "accepted"}
    status = a.post("/v1/feedback", outcome)["status"]
    acknowledged = asked = time.perf_counter()
    if status != "recorded":
        raise BenchError(f"an outcome was not recorded, but {status}")
    while True:
        seen = b.decide(dry_run=True)["offers"][0]["factors"]["P"]
        now = time.perf_counter()
        polls_ms.append((now - asked) * 1000)
        if seen != before:
            return (now - acknowledged) * 1000
        if now - acknowledged > MAX_WAIT_S:
            raise BenchError(f"an outcome was not learned from within {MAX_WAIT_S:.0f} s")
        asked = now
