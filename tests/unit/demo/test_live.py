"""The live part ends after the seconds that were asked for, and a service that ends is told with its log."""

import asyncio
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from demo.client import ApiClient, DemoError
from demo.live import Session, _watch
from demo.report import Figures
from tests.support.demo_service import FakeService


def session_of(folder: Path, *, running: bool) -> Session:
    """A session without data, of a service that runs or not."""
    child: Any = SimpleNamespace(running=running)
    prepared: Any = SimpleNamespace(offers=[])
    log = folder / "service.log"
    log.write_text("it was killed")
    console = Console(file=io.StringIO(), width=120)
    return Session(Figures("u", "k"), prepared, child, log, folder / "report.json", console, lambda: None)


async def watch(session: Session, seconds: float) -> asyncio.Event:
    """Watch visitors who never go by themselves."""
    stop, crowd = asyncio.Event(), asyncio.get_running_loop().create_future()
    async with FakeService([]).client() as http:
        await _watch(session, ApiClient(http), crowd, stop, {}, seconds)
    return stop


async def test_it_ends_by_itself_after_the_seconds_that_were_asked_for(tmp_path: Path) -> None:
    session = session_of(tmp_path, running=True)
    stop = await asyncio.wait_for(watch(session, 0.05), 30)
    assert not stop.is_set()
    assert session.figures.seconds >= 0.05


async def test_a_service_that_has_ended_ends_it_with_what_it_logged(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="it was killed"):
        await watch(session_of(tmp_path, running=False), 30)
