"""What the demo shows: a screen refreshed while it runs, and the same figures as a JSON file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from app.demo.client import Json
from app.demo.visitors import Tally

CONTROL_POLICY = "random"
HISTORY_POLICY = "history"
NOTES = {
    "thompson": "learns from every answer",
    CONTROL_POLICY: "control group, chosen at random",
    HISTORY_POLICY: "targeted, not randomised: no uplift claimed",
}
SIMULATED = (
    "Visitors and their answers are simulated, by a model fitted on the real redemptions and scaled up: the "
    "rates show that the service learns, not what a grocer would earn. History was targeted by the grocer, "
    "not randomised, so no uplift is claimed from it."
)


@dataclass(slots=True)
class Figures:
    """All that is reported. `learned_observations` is how much the arms' evidence grew by live feedback."""

    api_url: str
    api_key: str
    seconds: float = 0.0
    tally: Tally = field(default_factory=Tally)
    acceptance: Sequence[Json] = ()
    arms: Sequence[Json] = ()
    learned_observations: float = 0.0
    explained: Json | None = None
    set_up: Sequence[tuple[str, float]] = ()
    data: Json = field(default_factory=dict)

    @property
    def learned(self) -> bool:
        """Whether live feedback has changed the arms."""
        return self.learned_observations >= 1.0

    @property
    def succeeded(self) -> bool:
        """Whether decisions were served and learned from."""
        return self.tally.decisions > 0 and sum(self.tally.feedback.values()) > 0 and self.learned


def addresses(api_url: str) -> dict[str, str]:
    """Where to look, by name."""
    return {
        "API": api_url,
        "documentation": f"{api_url}/docs",
        "metrics": f"{api_url}/metrics",
        "readiness": f"{api_url}/readyz",
    }


def curl_line(api_url: str, api_key: str, customer_id: str, placement: str) -> str:
    """A line to paste into a shell: it asks for a decision."""
    body = json.dumps({"customer_id": customer_id, "placement": placement, "context": {"page": "home"}})
    return (
        f"curl -s {api_url}/v1/decisions -H 'Authorization: Bearer {api_key}' "
        f"-H 'Content-Type: application/json' -d '{body}'"
    )


def to_json(figures: Figures) -> Json:
    """The same figures as plain values."""
    tally = figures.tally
    return {
        "decisions": tally.decisions,
        "feedback": sum(tally.feedback.values()),
        "feedback_statuses": dict(tally.feedback),
        "answers": dict(tally.answers),
        "errors": dict(tally.errors),
        "degraded": dict(tally.degraded),
        "decision_p50_ms": tally.latency_ms(0.5),
        "decision_p99_ms": tally.latency_ms(0.99),
        "seconds": round(figures.seconds, 2),
        "learned": figures.learned,
        "learned_observations": round(figures.learned_observations, 3),
        "acceptance": [row | {"note": NOTES.get(_policy(row), "")} for row in figures.acceptance],
        "arms": list(figures.arms),
        "explained": figures.explained,
        "addresses": addresses(figures.api_url),
        "set_up_s": {name: round(seconds, 2) for name, seconds in figures.set_up},
        "data": figures.data,
        "note": SIMULATED,
    }


def write_json(figures: Figures, path: Path) -> None:
    """Write the figures; the file appears whole or not at all."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(to_json(figures), indent=2) + "\n")
    new.replace(path)


def screen(figures: Figures) -> RenderableType:
    """The part that is refreshed: traffic, acceptance by policy, arms."""
    return Group(_traffic(figures), acceptance_table(figures.acceptance), arms_table(figures.arms))


def _traffic(figures: Figures) -> Text:
    tally = figures.tally
    rate = tally.decisions / figures.seconds if figures.seconds else 0.0
    parts = [
        f"{figures.seconds:5.0f} s",
        f"{tally.decisions:,} decisions ({rate:.0f}/s)",
        f"{sum(tally.feedback.values()):,} feedbacks",
        f"{tally.feedback['duplicate']:,} of them repeats, counted once",
    ]
    median, slow = tally.latency_ms(0.5), tally.latency_ms(0.99)
    if median is not None and slow is not None:
        parts.append(f"p50 {median:.1f} ms, p99 {slow:.1f} ms as seen by visitors")
    line = Text(" · ".join(parts))
    if tally.errors:
        line.append("\nerrors: " + ", ".join(f"{kind} x {n}" for kind, n in tally.errors.items()), "red")
    if tally.degraded:
        line.append("\ndegraded: " + ", ".join(f"{why} x {n}" for why, n in tally.degraded.items()), "yellow")
    return line


def acceptance_table(rows: Sequence[Json]) -> Table:
    """Acceptance by policy with 95 % Wilson intervals; history last."""
    table = Table(title="Acceptance by policy (live answers are simulated)", title_justify="left")
    table.add_column("policy")
    for heading in ("decided", "outcome known", "accepted", "rate", "95 % interval"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for row in sorted(rows, key=lambda row: (_policy(row) == HISTORY_POLICY, _policy(row) == CONTROL_POLICY)):
        known = row["observed"] > 0
        table.add_row(
            _policy(row),
            f"{row['decided']:,}",
            f"{row['observed']:,}",
            f"{row['accepted']:,}",
            f"{row['rate']:.1%}" if known else "-",
            f"{row['low']:.1%} - {row['high']:.1%}" if known else "-",
            NOTES.get(_policy(row), ""),
        )
    return table


def arms_table(arms: Sequence[Json]) -> Table:
    """What the policy believes of the live offers."""
    table = Table(title="Arms of thompson (live offers; warm from history)", title_justify="left")
    table.add_column("offer")
    for heading in ("observations", "acceptances", "mean", "95 % interval"):
        table.add_column(heading, justify="right")
    for arm in arms:
        table.add_row(
            arm["offer_id"],
            f"{arm['observations']:,.0f}",
            f"{arm['successes']:,.0f}",
            f"{arm['mean']:.1%}",
            f"{arm['low']:.1%} - {arm['high']:.1%}",
        )
    return table


def explained_panel(explained: Json, names: dict[str, str]) -> Panel:
    """One decision, taken apart: each ranked offer with its factors and the chance it was drawn with."""
    table = Table(box=None)
    for heading in (
        "rank",
        "offer",
        "P propensity",
        "C context",
        "V value",
        "L lever",
        "score",
        "probability",
    ):
        table.add_column(heading, justify="left" if heading == "offer" else "right")
    for offer in explained["offers"]:
        factors = offer["factors"] or {}
        table.add_row(
            str(offer["rank"]),
            names.get(offer["offer_id"], offer["offer_id"]),
            *(_number(factors.get(factor)) for factor in "PCVL"),
            _number(offer["score"]),
            _number(offer["probability"]),
        )
    policy = explained["policy"]
    heading = (
        f"Decision {explained['decision_id']} for {explained.get('customer_id', 'a household')} by "
        f"{policy['name']} version {policy['version']}"
    )
    meaning = "score = P x C x V x L; probability = the chance with which the offer was drawn for its rank"
    return Panel(Group(Text(heading), table, Text(meaning, "dim")), title="One decision, explained")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _policy(row: Json) -> str:
    """The policy's name without its version."""
    return str(row["policy"]).partition("@")[0]
