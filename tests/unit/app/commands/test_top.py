"""Home in a terminal: what is drawn of the answers of a service."""

from typing import Any

import httpx
import pytest
from rich.console import Console
from typer.testing import CliRunner

from app.api.live.schemas import LiveNow
from app.cli import app
from app.commands.top import draw, sparkline

NOW: dict[str, Any] = dict(LiveNow.model_json_schema()["examples"][0])
CAPACITIES = {"capacities": [{"name": "Call-backs", "remaining": 3, "max": 300}]}
ALERTS = {"alerts": [{"alert_id": "archive-behind", "message": "the oldest record waits"}]}


def drawn(now: dict[str, Any], alerts: dict[str, Any], usage: dict[str, Any]) -> str:
    console = Console(width=120, record=True, file=None, force_terminal=False, quiet=False)
    with console.capture() as capture:
        console.print(draw("http://here", now, alerts, usage, [1.0, 2.0]))
    return capture.get()


def test_it_shows_what_goes_on() -> None:
    shown = drawn(NOW, ALERTS, CAPACITIES)
    for text in (
        "41.3", "home 40.0, desk 1.3", "rejected 3.4, accepted 2.1", "120,345 decisions, 6,034 accepted",
        "p50 1.6 ms", "redis_unavailable 0.2", "learning 0.0 s, archive 0.1 s",
        "archive-behind: the oldest record waits", "3 of 300 left",
    ):  # fmt: skip
        assert text in shown, text


def test_it_says_so_when_nothing_goes_on_or_is_known() -> None:
    quiet = NOW | {
        "latency_ms": None,
        "degraded_per_s": {},
        "placements_per_s": {},
        "feedback_per_s": {},
        "archive_behind_s": None,
    }
    shown = drawn(quiet, {"alerts": []}, {"capacities": []})
    for text in ("nobody asks", "no alert fires", "archive unknown"):
        assert text in shown


@pytest.mark.parametrize(
    ("values", "line"), [([], ""), ([0.0, 0.0], "▁▁"), ([0.0, 7.0, 14.0], "▁▅█"), ([-1.0, 1.0], "▁█")]
)
def test_numbers_become_bars(values: list[float], line: str) -> None:
    assert sparkline(values) == line


def test_the_command_asks_the_service_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.url.path, request.headers["X-API-Key"]))
        found = {"/v1/live": NOW, "/v1/alerts": {"alerts": []}, "/v1/reports/capacity": CAPACITIES}
        return httpx.Response(200, json=found[request.url.path])

    client = httpx.Client
    monkeypatch.setattr(httpx, "Client", lambda **kept: client(transport=httpx.MockTransport(answer), **kept))
    done = CliRunner().invoke(app, ["top", "--url", "http://there", "--key", "nb_ops_x", "--rounds", "1"])
    assert done.exit_code == 0, done.output
    assert "Call-backs" in done.output
    assert asked == [(path, "nb_ops_x") for path in ("/v1/alerts", "/v1/reports/capacity", "/v1/live")]
