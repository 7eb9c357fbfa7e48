"""``python -m benchmarks.persons``: the time of a merge of a visitor into a customer, and of an erasure.

Each visitor has told events and got decisions, which are archived by then. An erasure waits, before it looks at the
log, until decisions that were being made are in it; that time is given apart.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from statistics import median

from rich.console import Console

from benchmarks.__main__ import site
from benchmarks.caller import Caller
from benchmarks.events import BATCH_SIZE, PLAIN, declare
from benchmarks.machine import BenchError, describe, pin
from benchmarks.plan import PERSONS_RESULTS, QUICK, ROOT
from benchmarks.processes import ApiProcess, Site, api, worker
from benchmarks.world import DEADLINE_MS
from decisioning.privacy.erasure_service import SETTLE_MARGIN_S
from decisioning.triggers.decision_service import DEADLINE_MS as TRIGGER_DEADLINE_MS

MERGES, ERASURES = 200, 5
EVENTS_EACH, DECISIONS_EACH = 20, 5
ARCHIVED_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Found:
    """Times as who asks sees them. ``erase_wait_s``: the part of an erasure in which it only waits."""

    merges: int
    events_of_a_visitor: int
    decisions_of_a_visitor: int
    ms_merge: float
    ms_merge_p99: float
    us_merge_cpu: float
    erasures: int
    s_erase: float
    erase_wait_s: float
    machine: str


def measure(found: Site) -> Found:
    """Let visitors do something, merge them, and erase some of the customers."""
    with worker(found), api(found) as process, Caller(process, found.key) as client:
        declare(client)
        names = [(f"c{number:06d}", f"visitor:bench-{number:08d}") for number in range(MERGES)]
        last = _live(client, [visitor for _, visitor in names])
        _wait_until_archived(client, last)
        merges, cpu_us = _merge(process, client, names)
        erasures = [_took_s(client, f"/customers/{customer}/erase", {}) for customer, _ in names[:ERASURES]]
    wait_s = max(TRIGGER_DEADLINE_MS, DEADLINE_MS) / 1000 + SETTLE_MARGIN_S
    return Found(
        MERGES, EVENTS_EACH, DECISIONS_EACH, round(median(merges) * 1000, 2),
        round(sorted(merges)[int(MERGES * 0.99)] * 1000, 2), round(cpu_us, 1), ERASURES, round(median(erasures), 2),
        round(wait_s, 2), describe(),
    )  # fmt: skip


def _live(client: Caller, visitors: list[str]) -> str:
    """Tell events of visitors, and ask for decisions for them; returns the id of the last decision."""
    told = [
        {"event_id": f"e{number}", "customer_id": visitor, "type": "visit", "properties": {"seconds": 1.5}}
        for visitor in visitors
        for number in range(EVENTS_EACH)
    ]
    for start in range(0, len(told), BATCH_SIZE):
        if client.send("POST", "/events/batch", {"items": told[start : start + BATCH_SIZE]})["refused"]:
            raise BenchError("events were refused")
    last = ""
    for visitor in visitors:
        for _ in range(DECISIONS_EACH):
            last = client.send("POST", "/decisions", {"customer_id": visitor, "placement": PLAIN})[
                "decision_id"
            ]
    return last


def _wait_until_archived(client: Caller, decision_id: str) -> None:
    ends_s = time.monotonic() + ARCHIVED_WITHIN_S
    while not client.send("GET", f"/decisions/{decision_id}")["archived"]:
        if time.monotonic() > ends_s:
            raise BenchError(f"decisions are not archived after {ARCHIVED_WITHIN_S:.0f} s")
        time.sleep(0.2)


def _merge(process: ApiProcess, client: Caller, names: list[tuple[str, str]]) -> tuple[list[float], float]:
    """Merge; returns the seconds of each, and the CPU time of the API for one in microseconds."""
    before = process.cpu_s()
    took = [
        _took_s(client, f"/customers/{customer}/merge", {"visitor_id": visitor})
        for customer, visitor in names
    ]
    return took, (process.cpu_s() - before) / len(names) * 1e6


def _took_s(client: Caller, path: str, body: dict[str, str]) -> float:
    started = time.perf_counter()
    client.send("POST", path, body)
    return time.perf_counter() - started


def main() -> int:
    """Measure, show and save; the exit status is 2 if it cannot be measured here."""
    console = Console()
    try:
        plan = replace(QUICK, customers=2_000)
        with site(plan, pin(), lambda what: console.print(what, style="dim")) as found_site:
            found = measure(found_site)
    except BenchError as error:
        console.print(f"benchmarks: {error}", style="red", markup=False)
        return 2
    PERSONS_RESULTS.write_text(json.dumps(asdict(found), indent=2) + "\n")
    console.print_json(data=asdict(found))
    console.print(f"written to {PERSONS_RESULTS.relative_to(ROOT)}", style="dim")
    return 0


if __name__ == "__main__":
    sys.exit(main())
