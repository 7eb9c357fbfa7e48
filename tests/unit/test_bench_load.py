"""The open loop counts from when requests were due; pairs of two commits become a ratio with an interval."""

import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.etree import ElementTree

import numpy as np
import psutil
import pytest

from benchmarks import flame, paced
from benchmarks.ab import _ratio
from benchmarks.caller import Caller
from benchmarks.machine import BenchError
from benchmarks.processes import ApiProcess

HELD_S = 0.3


@contextmanager
def serving(
    status: int = 200, held: frozenset[int] = frozenset(), asked: list[int] | None = None
) -> Iterator[int]:
    """A server that answers one request at a time, and notes their numbers; those that are ``held`` take a while."""
    one_at_a_time, numbers = threading.Lock(), itertools.count()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with one_at_a_time:
                number = next(numbers)
                if asked is not None:
                    asked.append(number)
                if number in held:
                    time.sleep(HELD_S)
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_those_who_wait_behind_a_slow_answer_are_counted_from_when_they_were_due() -> None:
    requests = paced.questions("localhost", "key", 1000, "home", 7)
    with serving(held=frozenset({20})) as port:
        row = paced.measure(port, requests, rate=100.0, seconds=1.0)
    # A closed loop would have asked once meanwhile. About thirty requests were due in that time, one after the other.
    assert row.p95_ms > 0.5 * HELD_S * 1000
    assert row.connections > 10
    assert 50.0 < row.rps < 200.0


def test_an_answer_that_is_no_success_ends_it_with_what_it_says() -> None:
    requests = paced.questions("localhost", "key", 1000, "home", 7)
    with serving(503) as port, pytest.raises(BenchError, match=r"503 \{\}"):
        paced.measure(port, requests, rate=50.0, seconds=0.2)


def test_the_ratio_of_pairs_does_not_mind_a_machine_that_slows_down() -> None:
    base = np.array([1000.0, 400.0, 800.0, 200.0])
    told = _ratio(np.stack((base, base * np.array([1.2, 1.21, 1.19, 1.2])), axis=1))
    assert told.startswith("x 1.200, 1.1")
    assert " to 1.2" in told


def test_a_flame_graph_shows_frames_below_their_callers_as_wide_as_their_share() -> None:
    lines = [
        "main (a/b.py:1);serve:2;choose:3 60",
        "main (a/b.py:7);serve:9;write:4 20",
        "main (a/b.py:1);idle 20",
        "other:1 100",
    ]
    root = flame.read_stacks(iter(lines), "main")
    assert (root.samples, root.calls["main (a/b.py)"].calls["serve"].calls["choose"].samples) == (100, 60)
    picture = ElementTree.fromstring(flame.draw(root, "a < b"))
    titles = [title.text for title in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == ["main (a/b.py): 100.0%", "idle: 20.0%", "serve: 80.0%", "choose: 60.0%", "write: 20.0%"]
    assert flame.read_stacks(iter(lines), "").samples == 200


def test_a_call_that_is_refused_is_an_error_of_the_benchmark_and_not_made_again() -> None:
    asked: list[int] = []
    with serving(503, asked=asked) as port:
        process = ApiProcess(port, psutil.Process())
        with Caller(process, "key") as caller, pytest.raises(BenchError, match=r"POST /events: .*503"):
            caller.send("POST", "/events", {})
    assert asked == [0]
