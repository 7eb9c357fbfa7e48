"""The folder in which servers of a test of their own run."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.embedded.servers import EmbeddedServers
from tests.support.folders import open_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder with a short name; whatever still runs in it at the end is stopped."""
    made = open_folder()
    yield made
    if (made / "servers.json").exists():
        last = EmbeddedServers(made, fsync=False)
        last.start()
        last.stop()
    shutil.rmtree(made, ignore_errors=True)
