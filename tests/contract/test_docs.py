"""The README is tried out: its calls are run as they stand, one after the other, against a running service."""

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from app.config import Settings
from app.keys import Role
from app.main import create_app
from tests.contract.support import Worker, make_keys

STAND_IN = Path(__file__).with_name("curl.py")
README = Path(__file__).resolve().parents[2] / "README.md"
BLOCK = re.compile(r"^<!-- test:api -->\s*\n```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CALLS = 5


def blocks() -> list[str]:
    """The marked blocks of the README, in their order."""
    found = BLOCK.findall(README.read_text(encoding="utf-8"))
    assert {language for language, _ in found} == {"bash"}, "each <!-- test:api --> goes before a bash block"
    return [script for _, script in found]


def documents(printed: str) -> list[Any]:
    """The JSON documents that calls have printed one after the other."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(printed.rstrip()):
        document, end = decoder.raw_decode(printed, at)
        found.append(document)
        at = end + len(printed[end:]) - len(printed[end:].lstrip())
    return found


async def prepare(settings: Settings) -> dict[Role, str]:
    """Keys, and what a worker does when it starts."""
    worker = Worker(settings)
    try:
        await worker.start()
        return await make_keys(settings)
    finally:
        await worker.close()


@pytest.fixture(scope="module")
def environment(settings: Settings) -> Iterator[dict[str, str]]:
    """$URL and $KEY of a running service, and whatever else a shell needs."""
    keys = asyncio.run(prepare(settings))
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(settings), log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield {"URL": url, "KEY": keys["admin"], "PATH": os.environ["PATH"], "NO_PROXY": "*"}
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def test_the_readme_has_the_api_in_five_calls() -> None:
    scripts = blocks()
    assert len(scripts) >= CALLS
    assert all("curl" in script and "$URL" in script and "$KEY" in script for script in scripts)


def run(script: str, environment: dict[str, str]) -> list[Any]:
    """Run a block as its reader would; returns the documents that it printed."""
    command = ["bash", "-eu", "-o", "pipefail", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, script + done.stderr
    return documents(done.stdout)


@pytest.mark.parametrize("curl", ["curl", "stand-in"] if shutil.which("curl") else ["stand-in"])
def test_the_calls_of_the_readme_work(environment: dict[str, str], curl: str, tmp_path: Path) -> None:
    if curl == "stand-in":
        stand_in = tmp_path / "curl"
        stand_in.write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} "$@"\n')
        stand_in.chmod(0o755)
        environment = environment | {"PATH": f"{tmp_path}:{environment['PATH']}"}
    for script in blocks():
        answers = run(script, environment)
        assert answers, script
        for answer in answers:
            assert not (isinstance(answer, dict) and isinstance(answer.get("status"), int)), (script, answer)
    (record,) = run('curl -sS $URL/v1/decisions/visit-1 -H "X-API-Key: $KEY"', environment)
    assert [offer["rank"] for offer in record["offers"]] == [1]
    assert [outcome["outcome"] for outcome in record["outcomes"]] == ["accepted"]


def test_the_json_of_the_readme_is_json() -> None:
    text = README.read_text(encoding="utf-8")
    found = re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found
    for block in found:
        json.loads(block)


def test_documents_are_told_apart() -> None:
    assert documents('{"a": 1}[2]\n\n{"b": "}{"}  \n') == [{"a": 1}, [2], {"b": "}{"}]
    with pytest.raises(json.JSONDecodeError):
        documents('{"a": 1} curl: (7) failed')
