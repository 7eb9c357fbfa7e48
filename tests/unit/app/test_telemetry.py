"""The place where metrics are kept, and their labels."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, Counter
from prometheus_client.metrics import MetricWrapperBase
from starlette.types import Message, Receive, Scope, Send

from app.telemetry import (
    MULTIPROC,
    REQUEST_ID,
    Metrics,
    configure_logs,
    prepare_metrics,
    render_metrics,
)


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


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (b"req-7:a/b=@1", True),
        (b"x" * 128, True),
        (b"x" * 129, False),
        (b"", False),
        (b"two words", False),
        (b"a\xff", False),
        (b'"quoted"', False),
        (None, False),
    ],
)
async def test_each_request_has_an_id_and_callers_may_give_it(given: bytes | None, kept: bool) -> None:
    seen: list[str | None] = []
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(REQUEST_ID.get())
        await send({"type": "http.response.start", "status": 204, "headers": [(b"a", b"b")]})

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [] if given is None else [(b"x-request-id", given)]
    await Metrics(app)({"type": "http", "method": "GET", "path": "/", "headers": headers}, receive, send)
    (told,) = [value for name, value in sent[0]["headers"] if name == b"x-request-id"]
    assert seen == [told.decode()]
    assert (b"a", b"b") in sent[0]["headers"]
    assert (told == given) == kept
    assert kept or re.fullmatch(rb"[0-9a-f]{16}", told)
    assert REQUEST_ID.get() is None


def test_logs_in_json_are_an_object_a_line_with_the_id_of_the_request(
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    token = REQUEST_ID.set("req-7")
    try:
        configure_logs("info", "json")
        try:
            raise KeyError("what")
        except KeyError:
            logging.getLogger("somebody").exception("a defect in %s", "this")
        REQUEST_ID.reset(token)
        logging.getLogger("somebody").info("done")
        defect, done = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    finally:
        root.handlers[:], root.level = before
    assert (defect["event"], defect["level"], defect["logger"]) == ("a defect in this", "error", "somebody")
    assert "KeyError" in defect["exception"]
    assert defect["request_id"] == "req-7"
    assert done["event"] == "done"
    assert "request_id" not in done


def test_metrics_that_have_no_value_yet_are_there_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """However a process was started: alone, beside others, or with none."""
    import app.metrics as defined

    families = [metric for metric in vars(defined).values() if isinstance(metric, MetricWrapperBase)]
    monkeypatch.setenv(MULTIPROC, str(tmp_path))
    alone = render_metrics().decode()
    monkeypatch.delenv(MULTIPROC)
    together = render_metrics().decode()
    assert len(families) > 20
    for family in families:
        name = family._name + ("_total" if isinstance(family, Counter) else "")
        for written in (alone, together):
            assert f"# TYPE {name} " in written


def test_what_is_counted_after_the_folder_was_prepared_is_rendered(tmp_path: Path) -> None:
    """Promised: all documented metrics are there in every way of running; in a process of its own, as those start."""
    program = """
import sys
from pathlib import Path
import app.commands.service, app.config, app.telemetry
app.telemetry.prepare_metrics(Path(sys.argv[1]))
from app.metrics import FEEDBACK
FEEDBACK.labels("accepted", "recorded").inc()
print(app.telemetry.render_metrics().decode())
"""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PROMETHEUS_")}
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], env=kept, capture_output=True, text=True, check=True
    )
    assert 'nextbest_feedback_total{outcome="accepted",status="recorded"} 1.0' in done.stdout
