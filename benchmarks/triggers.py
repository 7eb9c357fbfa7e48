"""``python -m benchmarks.triggers``: the time from an event that was acknowledged to the call of the webhook.

Events come in an open loop, so many a second whatever is answered. A part of them, each of another customer, makes a
trigger fire, whose decision among 200 offers goes to a receiver on loopback. A sample is the time from the answer to
the event until the receiver has read the request: matching, decision and delivery. Before that, the same is done with
events that make nothing fire, to tell the processor time of a firing from that of all else that a worker does.
"""

import argparse
import base64
import json
import os
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks import paced
from benchmarks.__main__ import site
from benchmarks.caller import Caller
from benchmarks.machine import BenchError, Cores, describe, pin
from benchmarks.plan import QUICK, ROOT, TRIGGERS_RESULTS
from benchmarks.processes import Site, api, worker

WARM_UP_S = 5.0
WAIT_S = 30.0
CALLED, OTHER = "call-dropped", "visit"
SECRET = "bench"


@dataclass(frozen=True, slots=True)
class Found:
    """Times in milliseconds. ``fired``: firings whose webhook was called, ``lost``: those of which nothing came.

    ``worker_ms_per_event``: processor time of the worker while no event fires, with all else that it does by itself;
    ``worker_ms_per_firing``: what each firing adds to that. ``load``: the load average, of what else the machine does.
    """

    events_per_s: float
    firings_per_s: float
    seconds: float
    fired: int
    lost: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    answer_p99_ms: float
    worker_ms_per_event: float
    worker_ms_per_firing: float
    load: float
    machine: str


@dataclass(frozen=True, slots=True)
class Round:
    """One round: when each event was answered, the worker's processor time, and how long it took until all was done."""

    answered: dict[str, float]
    answer_p99_ms: float
    cpu_s: float
    took_s: float


class Receiver:
    """Takes webhooks, and remembers when the one of each event came."""

    def __init__(self) -> None:
        self.at_s: dict[str, float] = {}
        at_s = self.at_s

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                at_s.setdefault(json.loads(body)["data"]["cause"]["event_id"], time.perf_counter())
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Write nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    @contextmanager
    def listening(self) -> Iterator["Receiver"]:
        """Take requests until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def requests(host: str, key: str, share: float, name: str) -> Iterator[tuple[str, bytes]]:
    """Make events without end, each with its id; of a share of them the type makes a trigger fire."""
    head = (
        f"POST /v1/events HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {key}\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    )
    every = max(1, round(1 / share)) if share else 0
    number = 0
    while True:
        kind = CALLED if every and number % every == 0 else OTHER
        event_id = f"{name}-{kind}-{number}"
        event = {"event_id": event_id, "customer_id": f"c{number % QUICK.customers:06d}", "type": kind}
        body = json.dumps(event)
        yield event_id, f"{head}{len(body)}\r\n\r\n{body}".encode()
        number += 1


def declare(client: Caller, url: str) -> None:
    """Declare the events, the placement and the trigger."""
    for name in (CALLED, OTHER):
        client.send("PUT", f"/event-types/{name}", {"name": name})
    client.send("PUT", "/placements/told", {"channel": "web", "slots": 1, "control_share": 0.0})
    trigger = {
        "on": {"event": CALLED},
        "placement": "told",
        "again_after_s": 0,
        "deliver": {"webhook": url, "secret": SECRET},
    }
    client.send("PUT", "/triggers/dropped", trigger)


def measure(found: Site, rate: float, share: float, seconds: float) -> Found:
    """Send events, and compare when they were answered with when webhooks were called."""
    rounds: dict[str, Round] = {}
    with Receiver().listening() as receiver, worker(found) as busy, api(found) as process:
        with Caller(process, found.key) as client:
            declare(client, receiver.url)
        for name, firing, for_s in (
            ("warm", share, WARM_UP_S),
            ("none", 0.0, seconds),
            ("main", share, seconds),
        ):
            ids: list[str] = []
            answered: dict[str, float] = {}

            def bodies(name: str = name, firing: float = firing, ids: list[str] = ids) -> Iterator[bytes]:
                for event_id, request in requests("localhost", found.key, firing, name):
                    ids.append(event_id)
                    yield request

            def note(number: int, ids: list[str] = ids, answered: dict[str, float] = answered) -> None:
                answered[ids[number]] = time.perf_counter()

            began_s, before = time.perf_counter(), busy.cpu_times()
            row = paced.measure(process.port, bodies(), rate, for_s, on_answer=note)
            _wait(receiver, [event_id for event_id in answered if CALLED in event_id])
            after, took_s = busy.cpu_times(), time.perf_counter() - began_s
            cpu_s = after.user + after.system - before.user - before.system
            rounds[name] = Round(answered, row.p99_ms, cpu_s, took_s)
    main, none = rounds["main"], rounds["none"]
    fired = [event_id for event_id in main.answered if CALLED in event_id]
    took = [1000 * (receiver.at_s[i] - main.answered[i]) for i in fired if i in receiver.at_s]
    if not took:
        raise BenchError("no webhook was called")
    p50, p99 = np.quantile(took, [0.5, 0.99])
    more_s = main.cpu_s - none.cpu_s * main.took_s / none.took_s
    return Found(
        rate, rate * share, seconds, len(took), len(fired) - len(took), round(float(p50), 1),
        round(float(p99), 1), round(max(took), 1), main.answer_p99_ms,
        round(1000 * none.cpu_s / len(none.answered), 3), round(1000 * more_s / len(took), 2),
        round(max(os.getloadavg()), 1), describe(),
    )  # fmt: skip


def _wait(receiver: Receiver, wanted: list[str]) -> None:
    """Wait until the webhooks of all of these events were called, or nothing has come for long."""
    before, until_s = -1, 0.0
    while any(event_id not in receiver.at_s for event_id in wanted):
        if len(receiver.at_s) != before:
            before, until_s = len(receiver.at_s), time.monotonic() + WAIT_S
        if time.monotonic() > until_s:
            return
        time.sleep(0.05)


def spread() -> Cores:
    """Let the API keep to one core, and everything else take any: there may be no more than two."""
    cores = pin()
    usable = tuple(sorted({cores.api, cores.load, *cores.rest}))
    os.sched_setaffinity(0, usable)
    return replace(cores, rest=usable)


def main() -> int:
    """Measure, show and save; the exit status is 2 if it cannot be measured here."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.triggers")
    parser.add_argument("--rate", type=float, default=500.0, help="events a second")
    parser.add_argument("--share", type=float, default=0.02, help="of them make the trigger fire")
    parser.add_argument("--seconds", type=float, default=20.0)
    asked = parser.parse_args()
    console = Console()
    try:
        with site(QUICK, spread(), lambda what: console.print(what, style="dim")) as plain:
            folder = plain.folder / "secrets"
            folder.mkdir()
            (folder / SECRET).write_text(f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}")
            settings = {"NEXTBEST_WEBHOOK_SECRETS": str(folder), "NEXTBEST_WEBHOOK_HOSTS": "127.0.0.1"}
            found = measure(replace(plain, settings=settings), asked.rate, asked.share, asked.seconds)
    except BenchError as error:
        console.print(f"benchmarks: {error}", style="red", markup=False)
        return 2
    TRIGGERS_RESULTS.write_text(json.dumps(asdict(found), indent=2) + "\n")
    console.print_json(data=asdict(found))
    console.print(f"written to {TRIGGERS_RESULTS.relative_to(ROOT)}", style="dim")
    return 0


if __name__ == "__main__":
    sys.exit(main())
