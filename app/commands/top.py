"""`nextbest top`: Home in a terminal: what goes on now, once a second."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from app.commands.remote import Remote, remote
from app.config import get_settings

EVERY_S = 1.0
REPORTS_EVERY = 10
"""Alerts and capacities are read so much more seldom than the live numbers."""
BARS = "▁▂▃▄▅▆▇█"
KEPT = 60

Json = Mapping[str, Any]


def top(url: str | None, key: str | None, key_file: Path | None, rounds: int | None) -> None:
    """Show the live numbers until Ctrl-C, or for so many ``rounds`` (at least one).

    Without a ``url``, those of the service of this machine's settings.
    """
    settings = get_settings()
    service = remote(url or f"http://{settings.host}:{settings.port}", key, key_file)
    assert service is not None
    console = Console()
    history: list[float] = []
    slow: tuple[Json, Json] = ({}, {})
    with Live(console=console, auto_refresh=False, transient=False) as live:
        turn = 0
        while rounds is None or turn < max(rounds, 1):
            if turn:
                time.sleep(EVERY_S)
            if turn % REPORTS_EVERY == 0:
                slow = _read(service, "/v1/alerts?state=firing"), _read(service, "/v1/reports/capacity")
            now = _read(service, "/v1/live")
            history = [*history, float(now["decisions_per_s"])][-KEPT:]
            live.update(draw(service.url, now, *slow, history), refresh=True)
            turn += 1


def _read(service: Remote, path: str) -> Json:
    found: Json = service.call("GET", path).json()
    return found


def draw(url: str, now: Json, alerts: Json, usage: Json, history: Sequence[float]) -> RenderableType:
    """Draw one moment: the answers of ``/v1/live``, of alerts that fire and of capacities, and decisions a second."""
    table = Table.grid(padding=(0, 3))
    for name, value in _rows(now, history):
        table.add_row(Text(name, style="bold"), value)
    parts: list[RenderableType] = [Panel(table, title=f"nextbest  {url}", title_align="left")]
    firing = alerts.get("alerts", ())
    said = [f"{alert['alert_id']}: {alert['message']}" for alert in firing[:5]]
    style = "red" if firing else "green"
    parts.append(
        Panel(Text("\n".join(said) or "no alert fires", style=style), title="alerts", title_align="left")
    )
    if usage.get("capacities"):
        left = Table.grid(padding=(0, 3))
        for capacity in usage["capacities"][:8]:
            used = 1 - capacity["remaining"] / capacity["max"] if capacity["max"] else 1.0
            left.add_row(
                capacity["name"], _bar(used), f"{capacity['remaining']:,} of {capacity['max']:,} left"
            )
        parts.append(Panel(left, title="capacity", title_align="left"))
    return Group(*parts)


def _rows(now: Json, history: Sequence[float]) -> list[tuple[str, str]]:
    latency = now["latency_ms"]
    degraded = now["degraded_per_s"]
    outcomes = now["outcomes"]
    times = "nobody asks" if latency is None else ", ".join(f"{k} {v:.1f} ms" for k, v in latency.items())
    return [
        ("decisions/s", f"{now['decisions_per_s']:,.1f}  {sparkline(history)}"),
        ("by placement", _rates(now["placements_per_s"]) or "-"),
        ("outcomes/s", _rates(now["feedback_per_s"]) or "-"),
        ("since the start", f"{now['decisions']:,} decisions, {outcomes['accepted']:,} accepted"),
        ("latency", times),
        ("degraded/s", _rates(degraded) or "none"),
        (
            "behind",
            f"learning {_seconds(now['learning_behind_s'])}, archive {_seconds(now['archive_behind_s'])}",
        ),
    ]


def _rates(of: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {rate:,.1f}" for name, rate in sorted(of.items(), key=lambda x: -x[1]))


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} s"


def _bar(share: float, width: int = 24) -> str:
    filled = round(min(max(share, 0.0), 1.0) * width)
    return "█" * filled + "░" * (width - filled)


def sparkline(values: Sequence[float]) -> str:
    """Draw numbers as a line of bars, the largest at full height."""
    most = max(values, default=0.0)
    if most <= 0:
        return BARS[0] * len(values)
    return "".join(BARS[round(max(value, 0.0) / most * (len(BARS) - 1))] for value in values)
