"""Freshness: the time until a decision of one process knows what another process has acknowledged.

An offer that has a placement to itself is decided and accepted by process A. From the moment at which A's
acknowledgement has been read, process B is asked for dry-run decisions at this placement, one after the other, until
the offer's propensity in the answer is another one than before. A sample is the time from the acknowledgement to
the arrival of that answer: so it holds the answer's own way, and is at most one question too long. The time that a
question takes is given beside the samples, as the resolution.

The same of an event: process A acknowledges one that changes an aggregate, and process B is asked at a placement whose
condition looks at it, until there is an offer where there was none, or the other way round.
"""

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import quantiles
from typing import Any
from uuid import uuid4

from benchmarks.machine import BenchError
from benchmarks.plan import FRESH
from benchmarks.processes import ApiProcess
from benchmarks.world import DEADLINE_MS

MAX_WAIT_S = 5.0
PAUSE_S = 0.01
CUSTOMER = "c000000"
SWITCH = "freshness-switch"
TOLD = "freshness-events"
"""The placement at which there is an offer after the event ``on``, and none after ``off``."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """All times in milliseconds. ``poll_ms``: the median time of one question to B."""

    p50_ms: float
    p99_ms: float
    poll_ms: float
    samples: int


class _Client:
    """A connection that is kept open.

    Not the Python client: its own time would be in each sample and each poll, which take a few milliseconds.
    """

    def __init__(self, api: ApiProcess, key: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=10)
        self._headers = {"X-API-Key": key, "Content-Type": "application/json"}

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Send a request; returns the status and the answer."""
        self._connection.request(method, path, None if body is None else json.dumps(body), self._headers)
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read() or b"{}")

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        status, content = self.send("POST", path, body)
        if status != 200:
            raise BenchError(f"{path} answered {status}: {content}")
        return content

    def is_offered(self) -> bool:
        """Return whether there is an offer where an event decides on that."""
        asked = {"customer_id": CUSTOMER, "placement": TOLD, "dry_run": True}
        answer = self.post("/v1/decisions", asked)
        if answer["degraded"]:
            raise BenchError(f"a decision that knew less than it should: {answer}")
        return bool(answer["offers"])

    def decide(self, *, dry_run: bool) -> dict[str, Any]:
        answer = self.post("/v1/decisions", {"customer_id": CUSTOMER, "placement": FRESH, "dry_run": dry_run})
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
    with _clients(writer, reader, key) as (a, b):
        return _measured(lambda polls_ms, _: _sample(a, b, polls_ms), samples)


def measure_events(writer: ApiProcess, reader: ApiProcess, key: str, samples: int) -> Freshness:
    """Tell ``writer`` events and watch ``reader``, ``samples`` times. What is declared for it is removed at the end.

    Raises
    ------
    BenchError
        If a request fails, or an event does not show within ``MAX_WAIT_S``.
    """
    with _clients(writer, reader, key) as (a, b), _declared(a, b):
        return _measured(lambda polls_ms, number: _event_sample(a, b, polls_ms, number), samples)


@contextmanager
def _clients(writer: ApiProcess, reader: ApiProcess, key: str) -> Iterator[tuple[_Client, _Client]]:
    a, b = _Client(writer, key), _Client(reader, key)
    try:
        yield a, b
    finally:
        a.close()
        b.close()


@contextmanager
def _declared(a: _Client, b: _Client) -> Iterator[None]:
    """Declare an event, what it tells and a placement that looks at it; no other decision shall pay for it later."""
    place = {"channel": "fresh", "control_share": 0.0, "deadline_ms": DEADLINE_MS, "slots": 1}
    things: list[tuple[str, dict[str, Any]]] = [
        (
            f"event-types/{SWITCH}",
            {"name": "Switch", "json_schema": {"properties": {"state": {"type": "string"}}}},
        ),
        ("aggregates/switched", {"event": SWITCH, "function": "last", "property": "state"}),
        (f"placements/{TOLD}", place | {"when": "events.switched == 'on'"}),
    ]
    made: list[str] = []
    try:
        for path, body in things:
            status, answer = a.send("PUT", f"/v1/{path}", body)
            if status not in (200, 201):
                raise BenchError(f"PUT {path} answered {status}: {answer}")
            made.append(path)
        # The other process learns of the catalogue a moment later.
        until = time.monotonic() + MAX_WAIT_S
        asked = {"customer_id": CUSTOMER, "placement": TOLD, "dry_run": True}
        while b.send("POST", "/v1/decisions", asked)[0] != 200:
            if time.monotonic() > until:
                raise BenchError(f"the placement {TOLD} was not known within {MAX_WAIT_S:.0f} s")
            time.sleep(PAUSE_S)
        yield
    finally:
        for path in reversed(made):
            status, answer = a.send("DELETE", f"/v1/{path}")
            if status not in (200, 204):
                raise BenchError(f"DELETE {path} answered {status}: {answer}")


def _measured(sample: Callable[[list[float], int], float], samples: int) -> Freshness:
    """Take samples. ``sample``: adds the times of its questions to a list; it is told its number."""
    took_ms: list[float] = []
    polls_ms: list[float] = []
    for number in range(samples):
        took_ms.append(sample(polls_ms, number))
        time.sleep(PAUSE_S)
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


def _event_sample(a: _Client, b: _Client, polls_ms: list[float], number: int) -> float:
    on = number % 2 == 0
    if b.is_offered() == on:
        raise BenchError(f"before event {number} the decision was what it should be behind it")
    event = {
        "event_id": uuid4().hex,
        "customer_id": CUSTOMER,
        "type": SWITCH,
        "properties": {"state": "on" if on else "off"},
    }
    status = a.post("/v1/events", event)["status"]
    acknowledged = asked = time.perf_counter()
    if status != "recorded":
        raise BenchError(f"an event was not recorded, but {status}")
    while True:
        seen = b.is_offered()
        now = time.perf_counter()
        polls_ms.append((now - asked) * 1000)
        if seen == on:
            return (now - acknowledged) * 1000
        if now - acknowledged > MAX_WAIT_S:
            raise BenchError(f"an event was not known within {MAX_WAIT_S:.0f} s")
        asked = now
