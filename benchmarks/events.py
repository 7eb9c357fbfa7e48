"""``python -m benchmarks.events``: the cost of a decision that looks at 50 aggregates, and of an event.

Two placements are the same but for their condition, which looks at all 50 aggregates of the customer in one, and at one
attribute in the other. Both are asked in turns over one connection, for customers with the same events, and what is
compared is the CPU time of the API process. Events are told singly, and in batches; how many a second is what one
caller with the Python client gets through.
"""

import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from rich.console import Console

from benchmarks.__main__ import site
from benchmarks.caller import Caller
from benchmarks.machine import BenchError, describe, pin
from benchmarks.plan import EVENTS_RESULTS, QUICK, ROOT
from benchmarks.processes import ApiProcess, Site, api, worker
from benchmarks.world import DEADLINE_MS
from storage.clock import to_iso

TOLD, PLAIN = "told", "plain"
AGGREGATES, CUSTOMERS, EVENTS_EACH = 50, 60, 40
ROUNDS, DECISIONS_A_ROUND = 15, 400
SINGLE_EVENTS, BATCH_SIZE = 600, 100
SPREAD_MS = 6 * 86_400_000
WINDOWS = ("30m", "24h", "7d", "30d", "90d")
FUNCTIONS = ("count", "count", "count", "count", "sum", "sum", "mean", "last", "recency", "deviation")


@dataclass(frozen=True, slots=True)
class Found:
    """CPU time of the API process in microseconds, medians; ``ratio``: a decision with aggregates over one without."""

    aggregates: int
    events_of_a_customer: int
    us_plain: float
    us_told: float
    ratio: float
    us_event: float
    events_per_s: float
    us_event_in_batch: float
    events_per_s_in_batches: float
    machine: str


def aggregate(number: int) -> tuple[str, dict[str, Any]]:
    """The id and the body of an aggregate; of ten, four are counts."""
    function = FUNCTIONS[number % len(FUNCTIONS)]
    body: dict[str, Any] = {"event": "visit", "function": function}
    if function not in ("last", "recency"):
        body["window"] = WINDOWS[number // 2 % len(WINDOWS)]
    if function in ("sum", "mean"):
        body["property"] = "seconds"
    if function == "last":
        body["property"] = "page"
    if number % 4 == 0:
        body["where"] = f"event.page != 'page-{number}'"
    return f"a{number}", body


def condition() -> str:
    """A condition that looks at all aggregates, and always holds."""
    parts = []
    for number in range(AGGREGATES):
        name, body = aggregate(number)
        function = body["function"]
        if function in ("count", "sum"):
            parts.append(f"events.{name} >= {'0' if function == 'count' else '0.0'}")
        else:
            parts.append(
                f"(!has(events.{name}) || events.{name} != {repr('x') if function == 'last' else '-1.0'})"
            )
    return " && ".join(parts)


def declare(client: Caller) -> None:
    """Declare the events, what they tell, and the two placements."""
    properties = {"page": {"type": "string"}, "seconds": {"type": "number"}}
    client.send("PUT", "/event-types/visit", {"name": "Visit", "json_schema": {"properties": properties}})
    for number in range(AGGREGATES):
        name, body = aggregate(number)
        client.send("PUT", f"/aggregates/{name}", body)
    # A cheap policy, which is the fallback as well: it hides nothing of what events cost, and a machine that is busy
    # with something else measures the same.
    same = {
        "channel": "web",
        "policy": "propensity",
        "control_share": 0.0,
        "deadline_ms": DEADLINE_MS,
        "slots": 1,
    }
    client.send("PUT", f"/placements/{PLAIN}", same | {"when": "customer.known"})
    client.send("PUT", f"/placements/{TOLD}", same | {"when": condition()})


def events(count: int, name: str) -> Iterator[dict[str, Any]]:
    """Make events of all customers in turns, spread over some days."""
    rng, now_ms = random.Random(name), time.time_ns() // 1_000_000
    for number in range(count):
        yield {
            "event_id": f"{name}-{number}",
            "customer_id": f"c{number % CUSTOMERS:06d}",
            "type": "visit",
            "occurred_at": to_iso(now_ms - rng.randrange(SPREAD_MS)),
            "properties": {"page": f"page-{rng.randrange(50)}", "seconds": rng.randrange(100) / 4},
        }


def measure(found: Site) -> Found:
    """Tell events, and ask for decisions of both placements in turns."""
    with worker(found), api(found) as process, Caller(process, found.key) as client:
        declare(client)
        single = _cost(process, SINGLE_EVENTS, _tell_singly(client))
        told = list(events(CUSTOMERS * EVENTS_EACH - SINGLE_EVENTS, "batch"))
        batches = _cost(process, len(told), _tell_in_batches(client, told))
        costs: dict[str, list[float]] = {PLAIN: [], TOLD: []}
        for _ in range(ROUNDS):
            for placement, took in costs.items():
                took.append(_cost(process, DECISIONS_A_ROUND, _decide(client, placement))[0])
    plain, with_events = median(costs[PLAIN][1:]), median(costs[TOLD][1:])
    return Found(
        AGGREGATES, EVENTS_EACH, round(plain, 1), round(with_events, 1), round(with_events / plain, 3),
        round(single[0], 1), round(single[1]), round(batches[0], 1), round(batches[1]), describe(),
    )  # fmt: skip


def _cost(process: ApiProcess, count: int, work: Iterator[None]) -> tuple[float, float]:
    """Do the work; returns the CPU time of the API for each of ``count``, in microseconds, and how many a second."""
    before, started = process.cpu_s(), time.perf_counter()
    for _ in work:
        pass
    return (process.cpu_s() - before) / count * 1e6, count / (time.perf_counter() - started)


def _tell_singly(client: Caller) -> Iterator[None]:
    for event in events(SINGLE_EVENTS, "single"):
        client.send("POST", "/events", event)
        yield


def _tell_in_batches(client: Caller, told: list[dict[str, Any]]) -> Iterator[None]:
    for start in range(0, len(told), BATCH_SIZE):
        answer = client.send("POST", "/events/batch", {"items": told[start : start + BATCH_SIZE]})
        if answer["refused"]:
            raise BenchError(f"events were refused: {answer['items'][:3]}")
        yield


def _decide(client: Caller, placement: str) -> Iterator[None]:
    for number in range(DECISIONS_A_ROUND):
        body = {"customer_id": f"c{number % CUSTOMERS:06d}", "placement": placement}
        answer = client.send("POST", "/decisions", body)
        if len(answer["offers"]) != 1 or {*answer["degraded"]} - {"policy_slow"}:
            raise BenchError(f"a decision without an offer: {answer}")
        yield


def main() -> int:
    """Measure, show and save; the exit status is 2 if it cannot be measured here."""
    console = Console()
    try:
        with site(
            replace(QUICK, customers=2_000), pin(), lambda what: console.print(what, style="dim")
        ) as found_site:
            found = measure(found_site)
    except BenchError as error:
        console.print(f"benchmarks: {error}", style="red", markup=False)
        return 2
    EVENTS_RESULTS.write_text(json.dumps(asdict(found), indent=2) + "\n")
    console.print_json(data=asdict(found))
    console.print(f"written to {EVENTS_RESULTS.relative_to(ROOT)}", style="dim")
    return 0


if __name__ == "__main__":
    sys.exit(main())
