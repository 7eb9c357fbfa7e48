"""``python -m benchmarks.client_connections``: the Python client's connections beside a pool of httpx.

Both ask a server that answers at once, in turns, with 1, 16 and 64 requests under way. The server is a process of its
own, so that the client's processor time is the client's.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from statistics import median

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.machine import BenchError, describe
from nextbest_client.connections import MAX_CONNECTIONS, AsyncConnections

REQUESTS, TURNS, AT_ONCE = 1000, 5, (1, 16, 64)
BODY = b'{"offers":[]}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY


def _httpx_pool() -> httpx.AsyncBaseTransport:
    limits = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS)
    return httpx.AsyncHTTPTransport(limits=limits, trust_env=False)


POOLS: dict[str, Callable[[], httpx.AsyncBaseTransport]] = {
    "a pool of httpx": _httpx_pool,
    "the client's": AsyncConnections,
}


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            writer.write(ANSWER)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _serve() -> None:
    """Serve on a free port, which is printed, until standard input ends."""
    async with await asyncio.start_server(_answer, "127.0.0.1", 0) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def _measure(url: str, transport: httpx.AsyncBaseTransport, at_once: int) -> tuple[float, float, float]:
    """Return processor microseconds a request, and the median and the 99th percentile of latencies in ms."""
    latencies: list[float] = []
    body = {"customer_id": "1025", "placement": "home"}
    async with httpx.AsyncClient(base_url=url, transport=transport) as http:

        async def ask() -> None:
            while len(latencies) < REQUESTS:
                began = time.perf_counter()
                (await http.post("/v1/decisions", json=body)).raise_for_status()
                latencies.append(time.perf_counter() - began)

        used = time.process_time()
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(ask())
        used = time.process_time() - used
    p50, p99 = np.quantile(latencies, (0.5, 0.99))
    return used / len(latencies) * 1e6, float(p50 * 1e3), float(p99 * 1e3)


async def main() -> None:
    """Measure and print."""
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __spec__.name,
        "serve",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    port = (await server.stdout.readline()).decode().strip()
    if not port:
        raise BenchError("the server did not start")
    try:
        table = Table("at once", "connections", "CPU us", "p50 ms", "p99 ms", title=str(describe()))
        for at_once in AT_ONCE:
            found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in POOLS}
            for _ in range(TURNS):
                for name, pool in POOLS.items():
                    found[name].append(await _measure(f"http://127.0.0.1:{port}", pool(), at_once))
            for name, turns in found.items():
                us, p50, p99 = (median(column) for column in zip(*turns, strict=True))
                table.add_row(str(at_once), name, f"{us:.0f}", f"{p50:.1f}", f"{p99:.1f}")
        Console().print(table)
    finally:
        server.stdin.close()
        await server.wait()


if __name__ == "__main__":
    asyncio.run(_serve() if sys.argv[1:] == ["serve"] else main())
