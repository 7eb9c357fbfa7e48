"""The place where metrics are kept, and their labels."""

import os
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from starlette.types import Message, Receive, Scope, Send

from app.telemetry import MULTIPROC, Metrics, prepare_metrics


def test_processes_share_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(MULTIPROC, "to be put back at the end")
    monkeypatch.delenv(MULTIPROC)
    prepare_metrics(tmp_path)
    folder = Path(os.environ[MULTIPROC])
    assert folder.is_dir()
    assert folder.is_relative_to(tmp_path)
    (folder / "counter_1.db").touch()
    prepare_metrics(tmp_path / "other")  # a child process: what its parent has chosen stays
    assert os.environ[MULTIPROC] == str(folder)
    assert (folder / "counter_1.db").exists()
    monkeypatch.delenv(MULTIPROC)
    prepare_metrics(tmp_path)  # a new start with the same number: old counts are forgotten
    assert not (folder / "counter_1.db").exists()


def test_a_folder_of_the_environment_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(MULTIPROC, str(tmp_path / "a" / "b"))
    prepare_metrics(tmp_path)
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize(
    ("method", "label", "status"), [("GET", "GET", 204), ("MADE-UP", "other", 204), ("GET", "GET", None)]
)
async def test_requests_are_counted(method: str, label: str, status: int | None) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if status is None:
            raise RuntimeError("a defect")
        await send({"type": "http.response.start", "status": status, "headers": []})

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None: ...

    def count() -> float:
        labels = {"method": label, "route": "none", "status": str(status or 500)}
        return REGISTRY.get_sample_value("nextbest_requests_total", labels) or 0.0

    before = count()
    scope = {"type": "http", "method": method, "path": "/made-up"}
    if status is None:
        with pytest.raises(RuntimeError):
            await Metrics(app)(scope, receive, send)
    else:
        await Metrics(app)(scope, receive, send)
    assert count() == before + 1
