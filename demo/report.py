"""The report of the demo: its figures in a terminal and in a JSON file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from demo.client import Json
from demo.names import CANARY, DESK, REWARD_WINDOW_S, WEB
from demo.visitors import VisitTally

NOTES = {
    "calibrated": "learns from every answer",
    CANARY: "canary: decides for a share of the households",
    "random": "control group, chosen at random",
    "propensity": "fallback: precomputed propensities only",
    "default": "the placement's default offers",
}
MAX_SHOWN_ALIKE = 2
MAX_INTERESTS = 4
HISTORY_NOTE = "targeted, not randomised: no uplift claimed"
SIMULATED = (
    "Visitors and their answers are simulated, by a model fitted on the real redemptions and scaled up: the rates "
    "show that the service learns, not what a grocer would earn. History was targeted by the grocer, not "
    "randomised, so no uplift is claimed from it."
)


@dataclass(slots=True)
class Figures:
    """All that is reported.

    `acceptance` and `arms` are rows of the API's answers; `learned_observations` is how much the arms' evidence grew by
    live feedback; `firings` has how often triggers fired, by what came of it; `interests` is the API's report on them,
    read when the visitors have gone; `beside` is what `ApiClient.beside` read at the end; `page_url` is the sample
    page's address, empty where it is not served; `set_up` has the seconds of each step.
    """

    api_url: str
    api_key: str
    agent_key: str = ""
    page_key: str = ""
    page_url: str = ""
    seconds: float = 0.0
    tally: VisitTally = field(default_factory=VisitTally)
    acceptance: Sequence[Json] = ()
    arms: Sequence[Json] = ()
    learned_observations: float = 0.0
    firings: Mapping[str, int] = field(default_factory=dict)
    interests: Json | None = None
    beside: Json = field(default_factory=dict)
    explained: Json | None = None
    example_customer: str = ""
    offer_names: Mapping[str, str] = field(default_factory=dict)
    set_up: Sequence[tuple[str, float]] = ()
    data: Json = field(default_factory=dict)

    @property
    def learned(self) -> bool:
        """True if live feedback has changed the arms."""
        return self.learned_observations >= 1.0

    @property
    def succeeded(self) -> bool:
        """True if decisions were served and learned from."""
        return self.tally.decisions > 0 and self.tally.feedback["recorded"] > 0 and self.learned

    def addresses(self) -> dict[str, str]:
        """List the addresses of the service, by name."""
        paths = {
            "console": "/console",  # first: it is where people look
            "API": "",
            "documentation": "/docs",
            "metrics": "/metrics",
            "readiness": "/readyz",
        }
        return {name: self.api_url + path for name, path in paths.items()}

    @property
    def shows_all(self) -> bool:
        """True if there are figures of all that is meant to be looked at: a firing, the hold-out, the shadow."""
        held_out = self.beside.get("holdout", {}).get("held_out", 0)
        shadow = self.beside.get("shadow") or {}
        return bool(self.firings.get("delivered") and held_out and shadow.get("decisions"))

    def example(self) -> str:
        """Return a household that is offered something: who is held out would be a poor example."""
        return self.explained["customer_id"] if self.explained else self.example_customer

    def curl_line(self) -> str:
        """Write a line to paste into a shell: it asks for a decision."""
        body = {"customer_id": self.example(), "placement": WEB, "context": {"page": "home"}}
        return (
            f"curl -s {self.api_url}/v1/decisions -H 'Authorization: Bearer {self.api_key}' "
            f"-H 'Content-Type: application/json' -d '{json.dumps(body)}'"
        )


def is_history(row: Json) -> bool:
    """Return whether a row of the acceptance report counts imported decisions, which no policy of ours made."""
    return row["policy"] not in NOTES


def note_of(row: Json) -> str:
    """Explain a row of the acceptance report."""
    return HISTORY_NOTE if is_history(row) else NOTES[row["policy"]]


def to_json(figures: Figures) -> Json:
    """Convert the figures to plain values, without the keys."""
    tally = figures.tally
    return {
        "decisions": tally.decisions,
        "without_offer": tally.empty,
        "feedback": sum(tally.feedback.values()),
        "feedback_statuses": dict(tally.feedback),
        "answers": dict(tally.answers),
        "events": dict(tally.events),
        "firings": dict(figures.firings),
        "interests": figures.interests,
        "beside": figures.beside,
        "errors": dict(tally.errors),
        "degraded": dict(tally.degraded),
        "decision_p50_ms": tally.latency_ms(0.5),
        "decision_p99_ms": tally.latency_ms(0.99),
        "seconds": round(figures.seconds, 2),
        "learned": figures.learned,
        "learned_observations": round(figures.learned_observations, 3),
        "acceptance": [row | {"note": note_of(row)} for row in figures.acceptance],
        "arms": list(figures.arms),
        "explained": figures.explained,
        "addresses": figures.addresses(),
        "set_up_s": {name: round(seconds, 2) for name, seconds in figures.set_up},
        "data": figures.data,
        "note": SIMULATED,
    }


def write_json(figures: Figures, path: Path) -> None:
    """Write the figures."""
    # Under another name first: the file appears whole or not at all.
    new = path.with_suffix(".new")
    new.write_text(json.dumps(to_json(figures), indent=2) + "\n")
    new.replace(path)


def print_start(console: Console, figures: Figures) -> None:
    """Print addresses, the keys of this run, where to look, a line to paste (not wrapped), one explained decision."""
    keys = {"API key": figures.api_key, "agent key": figures.agent_key, "page key": figures.page_key}
    lines = [f"{name:<14} {value}" for name, value in (figures.addresses() | keys).items()]
    lines += ["", "Where to look:", *where_to_look(figures), "", "Ask for a decision:", figures.curl_line()]
    console.print(Text("\n" + "\n".join(lines) + "\n"), soft_wrap=True)
    if figures.explained is not None:
        console.print(explained_panel(figures.explained, figures.offer_names))


def where_to_look(figures: Figures) -> list[str]:
    """Write a line for each thing that is worth a look, with the key that opens it."""
    console = figures.api_url + "/console"
    looks = [
        (
            console,
            "with the API key: what happens now, and an alert once a tenth of the party vouchers are gone",
        ),
        (f"{console}/reports", "at the bottom the hold-out: one household in ten is offered nothing"),
        (f"{console}/placements/{WEB}", "a policy in the shadow, and a canary for a tenth of the households"),
        (f"{console}/changes", "a change that waits for approval"),
        (
            f"{console}/desk",
            f"with the agent key: the desk, as for {figures.example()} at {DESK}, with reasons for a no",
        ),
    ]
    if figures.page_url:
        looks.append((figures.page_url, "a shop's page, with the page key"))
    return [f"  {address}  {what}" for address, what in looks]


def live_view(figures: Figures) -> RenderableType:
    """Build the part that is refreshed while visitors come."""
    return Group(*_result_parts(figures), Text("Ctrl-C stops the demo.", "dim"))


def print_end(console: Console, figures: Figures) -> None:
    """Print the part that stays when the demo is over."""
    if figures.explained is not None:
        console.print(explained_panel(figures.explained, figures.offer_names))
    console.print(*_result_parts(figures), sep="\n")
    if figures.interests is not None:
        console.print(interests_line(figures.interests), soft_wrap=True)
    for line in beside_lines(figures.beside):
        console.print(line, highlight=False)
    if figures.learned:
        grown = f"{figures.learned_observations:,.0f}"
        console.print(f"Learned: live feedback added {grown} observations to the arms.", style="green")
    else:
        console.print("Nothing was learned from live feedback.", style="red")


def interests_line(report: Json) -> str:
    """Write what events of purchases told of the households' interests, those of most households first."""
    rows = sorted((row for row in report["interests"] if row["customers"]), key=lambda row: -row["customers"])
    found = ", ".join(f"{row['name']} {row['customers']:,}" for row in rows[:MAX_INTERESTS])
    return (
        f"Interests told by purchases, in a sample of {report['sample']:,} households: {found or 'none yet'}"
    )


def beside_lines(beside: Json) -> list[str]:
    """Say what has come of the hold-out, the shadow, the canary, alerts and reasons; nothing of what is not known."""
    lines = []
    if holdout := beside.get("holdout"):
        lines.append(
            f"Hold-out: {holdout['held_out']:,} households were held out, {holdout['treated']:,} not."
        )
    if shadow := beside.get("shadow"):
        agreed = "" if shadow["agreement"] is None else f", {shadow['agreement']:.0%} as the others chose"
        lines.append(f"Shadow {shadow['policy']}: asked about {shadow['decisions']:,} decisions{agreed}.")
    if canary := beside.get("canary"):
        name = f"{canary['policy']}@{canary['version']}"
        known = f"{canary['acceptances']:,} of {canary['observations']:,} households accepted"
        lines.append(f"Canary {name}: {canary['decisions']:,} decisions, {known}.")
    lines += [f"Alert {alert['alert_id']}: {alert['message']}." for alert in beside.get("alerts", ())]
    if reasons := beside.get("reasons"):
        lines.append("Reasons for a no: " + ", ".join(f"{name} x {n}" for name, n in reasons.items()) + ".")
    return lines


def plain_line(figures: Figures) -> str:
    """Write a line of progress, for output that is not a terminal."""
    rates = [
        f"{row['policy']} {row['rate']:.1%} of {row['observed']:,} ({row['open']:,} open)"
        for row in _history_last(figures.acceptance)
        if row["observed"] and not is_history(row)
    ]
    return f"{_traffic_line(figures)}; accepted (simulated): {', '.join(rates) or 'nothing known yet'}"


def _result_parts(figures: Figures) -> list[RenderableType]:
    parts: list[RenderableType] = [_traffic_line(figures)]
    tally = figures.tally
    if tally.errors:
        parts.append(Text("errors: " + ", ".join(f"{kind} x {n}" for kind, n in tally.errors.items()), "red"))
    if tally.degraded:
        reasons = ", ".join(f"{why} x {n}" for why, n in tally.degraded.items())
        parts.append(Text(f"degraded answers: {reasons}", "yellow"))
    parts += [acceptance_table(figures.acceptance), Text(SIMULATED, "italic"), Text()]
    return [*parts, arms_table(figures.arms, figures.offer_names)]


def _traffic_line(figures: Figures) -> str:
    tally = figures.tally
    rate = tally.decisions / figures.seconds if figures.seconds else 0.0
    parts = [
        f"{figures.seconds:.0f} s: {tally.decisions:,} decisions ({rate:.0f}/s)",
        f"{sum(tally.feedback.values()):,} feedbacks ({tally.feedback['duplicate']:,} repeats counted once)",
    ]
    if tally.events:
        fired = ", ".join(f"{count:,} {status}" for status, count in figures.firings.items())
        parts.append(f"{tally.events.total():,} events of purchases, triggers fired {fired or 'not yet'}")
    if tally.empty:
        parts.append(f"{tally.empty:,} times nothing was right")
    median, slow = tally.latency_ms(0.5), tally.latency_ms(0.99)
    if median is not None and slow is not None:
        parts.append(f"p50 {median:.0f} ms, p99 {slow:.0f} ms as visitors see it")
    return ", ".join(parts)


def acceptance_table(rows: Sequence[Json]) -> Table:
    """Show acceptance by policy in closed reward windows, with 95 % Wilson intervals; history last."""
    table = Table(
        title=f"Acceptance by policy. Live answers are simulated; an offer is open, and not in a rate, for "
        f"{REWARD_WINDOW_S} s",
        title_justify="left",
    )
    table.add_column("policy")
    for heading in ("decided", "open", "outcome known", "accepted", "rate", "95 % interval"):
        table.add_column(heading, justify="right")
    table.add_column("what it is")
    for row in _history_last(rows):
        known = row["observed"] > 0
        table.add_row(
            row["policy"],
            f"{row['decided']:,}",
            f"{row['open']:,}",
            f"{row['observed']:,}",
            f"{row['accepted_closed']:,}",
            f"{row['rate']:.1%}" if known else "-",
            f"{row['low']:.1%} - {row['high']:.1%}" if known else "-",
            note_of(row),
        )
    return table


def _history_last(rows: Sequence[Json]) -> list[Json]:
    order = list(NOTES)
    return sorted(rows, key=lambda row: len(order) if is_history(row) else order.index(row["policy"]))


def arms_table(arms: Sequence[Json], names: Mapping[str, str]) -> Table:
    """Show what the policy has learned of the live offers, from history and from visitors."""
    table = Table(title="What calibrated has learned of the live offers", title_justify="left")
    table.add_column("offer")
    for heading in ("observations", "acceptances", "mean", "95 % interval"):
        table.add_column(heading, justify="right")
    for arm in arms:
        table.add_row(
            names.get(arm["offer_id"], arm["offer_id"]),
            f"{arm['observations']:,.0f}",
            f"{arm['successes']:,.0f}",
            f"{arm['mean']:.1%}",
            f"{arm['low']:.1%} - {arm['high']:.1%}",
        )
    return table


def explained_panel(explained: Json, names: Mapping[str, str]) -> Panel:
    """Take one decision apart: each ranked offer with its factors and the chance it was drawn with."""
    table = Table(box=None)
    for heading in ("rank", "offer", "P", "C", "V", "L", "score", "probability"):
        table.add_column(heading, justify="left" if heading == "offer" else "right")
    for offer in explained["offers"]:
        factors = offer["factors"] or {}
        table.add_row(
            str(offer["rank"]),
            names.get(offer["offer_id"], offer["offer_id"]),
            *(_format_number(factors.get(factor)) for factor in "PCVL"),
            _format_number(offer["score"]),
            _format_number(offer["probability"]),
        )
    policy = explained["policy"]
    heading = (
        f"{explained['decision_id']} for {explained['customer_id']} at {explained['placement']}, "
        f"by {policy['name']} version {policy['version']}"
    )
    meaning = (
        "score = P x C x V x L: propensity as the policy sees it now, context weight, value in dollars, lever. "
        "probability: the chance with which the offer was drawn for its rank."
    )
    parts: list[RenderableType] = [Text(heading), table, Text(meaning, "dim")]
    if explained.get("explanation"):
        parts += [Text(), _results_table(explained["explanation"], names)]
    return Panel(Group(*parts), title="One decision, explained")


def _results_table(candidates: Sequence[Json], names: Mapping[str, str]) -> Table:
    """Show what became of each offer of the catalogue; those that were stopped alike share a row."""
    rows: dict[tuple[str, str], list[str]] = {}
    for candidate in candidates:
        rows.setdefault(_describe_result(candidate), []).append(candidate["offer_id"])
    table = Table("what became of all offers", "why", "offers", box=None)
    for (result, why), offers in rows.items():
        shown = "; ".join(names.get(offer, offer) for offer in offers[:MAX_SHOWN_ALIKE])
        more = len(offers) - MAX_SHOWN_ALIKE
        table.add_row(result, why, shown + (f" and {more} more" if more > 0 else ""))
    return table


def _describe_result(candidate: Json) -> tuple[str, str]:
    """Describe a candidate's result, and what stopped it."""
    if candidate["result"] == "chosen":
        return "chosen", f"rank {candidate['rank']}"
    if candidate["result"] == "ready":
        return "ready", "others were drawn"
    stop = candidate["stops"][0]
    observed = stop["observed"]
    if isinstance(observed, dict):
        found = ", ".join(f"{path} is {'missing' if v is None else v}" for path, v in observed.items())
        return "stopped", f"{stop['stage']}, {stop['name']}: {found}"
    return "stopped", f"{stop['stage']}, {stop['name']}"


def _format_number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
