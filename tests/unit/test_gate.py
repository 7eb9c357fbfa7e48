"""The gate of tests leaves nothing open, also not what is being accepted as it shuts."""

import asyncio
import gc
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.gate import Gate

pytestmark = pytest.mark.asyncio


async def test_connections_that_are_being_accepted_are_closed(tmp_path: Path) -> None:
    async def read_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(read_all, "127.0.0.1", 0)
    way = Gate(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", tmp_path)
    await way.open()
    for turns in range(12):
        callers = [socket.create_connection(("127.0.0.1", urlsplit(way.url).port or 0)) for _ in range(4)]
        for _ in range(turns % 4):
            await asyncio.sleep(0)
        await way.relent()
        for caller in callers:
            caller.close()
        gc.collect()  # an open socket that nobody has any more is an error of the test then
    await way.shut()
    server.close()
    await server.wait_closed()
