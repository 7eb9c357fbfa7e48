"""An open loop: requests come when they come, whether or not earlier ones were answered.

A closed loop, such as wrk's, stops asking while it waits, so that it never meets the queue that a slow moment leaves
behind (coordinated omission: Tene, *How NOT to measure latency*, 2013). Here arrivals are random, with exponential
gaps, and the time of each answer counts from when its request was due, also where no connection was free.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from benchmarks.machine import BenchError
from benchmarks.report import Row

MAX_CONNECTIONS = 64
_CONTEXT = '{"reason":"browse","pages":["/home","/cards/%04d"],"basket":{"items":%d},"visit":"v%07d"}'


def questions(host: str, key: str, customers: int, placement: str, seed: int) -> Iterator[bytes]:
    """Make requests for decisions without end."""
    draw = random.Random(seed)
    head = (
        f"POST /v1/decisions HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {key}\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    )
    while True:
        context = _CONTEXT % (draw.randrange(10_000), draw.randrange(100), draw.randrange(10_000_000))
        customer = f"c{draw.randrange(customers):06d}"
        body = f'{{"customer_id":"{customer}","placement":"{placement}","context":{context}}}'
        yield f"{head}{len(body)}\r\n\r\n{body}".encode()


def measure(
    port: int,
    requests: Iterator[bytes],
    rate: float,
    seconds: float,
    seed: int = 7,
    on_answer: Callable[[int], None] = lambda _: None,
) -> Row:
    """Ask ``rate`` times a second in the mean. ``connections`` of the row: the most that were in use.

    ``on_answer`` is told the number of each request, from 0, as soon as its answer has been read.

    Raises
    ------
    BenchError
        If an answer was no success.
    """
    draw = random.Random(seed)
    due_s, at_s = [], 0.0
    while (at_s := at_s + draw.expovariate(rate)) < seconds:
        due_s.append(at_s)
    return asyncio.run(_run(port, requests, due_s, on_answer))


async def _run(
    port: int, requests: Iterator[bytes], due_s: Sequence[float], on_answer: Callable[[int], None]
) -> Row:
    free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    opened: list[asyncio.StreamWriter] = []
    gate, latencies, most = asyncio.Semaphore(MAX_CONNECTIONS), list[float](), 0
    start_s = time.perf_counter()

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        opened.append(writer)
        return reader, writer

    async def ask(number: int, request: bytes, at_s: float) -> None:
        nonlocal most
        async with gate:
            most = max(most, MAX_CONNECTIONS - gate._value)
            reader, writer = free.pop(0) if free else await connect()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            latencies.append(time.perf_counter() - at_s)
            on_answer(number)
            if not head.startswith(b"HTTP/1.1 200"):
                raise BenchError(f"a request failed: {head[9:12].decode()} {body.decode()}")
            free.append((reader, writer))

    try:
        async with asyncio.TaskGroup() as group:
            for number, due in enumerate(due_s):
                await asyncio.sleep(max(start_s + due - time.perf_counter(), 0.0))
                group.create_task(ask(number, next(requests), start_s + due))
    except* BenchError as failures:
        raise failures.exceptions[0] from None
    finally:
        for writer in opened:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in opened), return_exceptions=True)
    p50, p95, p99, p999 = np.quantile(latencies, [0.5, 0.95, 0.99, 0.999]) * 1000
    return Row(
        connections=most,
        rps=round(len(latencies) / due_s[-1], 1),
        p50_ms=round(p50, 3),
        p95_ms=round(p95, 3),
        p99_ms=round(p99, 3),
        p999_ms=round(p999, 3),
    )
