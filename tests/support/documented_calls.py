"""Calls of the API as the documentation has them, run in a shell against a running service."""

import asyncio
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from app.config import Settings
from app.keys import Role
from app.main import create_app
from tests.support.api import Worker, make_keys
from tests.support.installation import START_S
from tests.support.waiting import DEADLINE_S

STAND_IN = Path(__file__).with_name("curl.py")


def parse_documents(printed: str) -> list[Any]:
    """Parse the JSON documents that calls have printed one after the other."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(printed.rstrip()):
        document, end = decoder.raw_decode(printed, at)
        found.append(document)
        at = end + len(printed[end:]) - len(printed[end:].lstrip())
    return found


def run_script(script: str, environment: dict[str, str]) -> list[Any]:
    """Run a block as its reader would; returns the documents that it printed."""
    command = ["bash", "-eu", "-o", "pipefail", "-c", script]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=START_S, check=False
    )
    assert done.returncode == 0, script + done.stderr
    return parse_documents(done.stdout)


async def _prepare(settings: Settings) -> dict[Role, str]:
    """Do what a worker does when it starts; return a key of each role."""
    worker = Worker(settings)
    try:
        await worker.start()
        return await make_keys(settings)
    finally:
        await worker.close()


@contextmanager
def shell_environment(settings: Settings) -> Iterator[dict[str, str]]:
    """Serve the API; gives $URL and $KEY of the service, and whatever else a shell needs."""
    keys = asyncio.run(_prepare(settings))
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(settings), log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield {"URL": url, "KEY": keys["admin"], "PATH": os.environ["PATH"], "NO_PROXY": "*"}
    finally:
        server.should_exit = True
        thread.join(DEADLINE_S)
        listener.close()
        assert not thread.is_alive(), "the service does not end"
