"""The results: their form, a table for the terminal, and the block in the README."""

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.table import Table

BLOCK = re.compile(r"(<!-- bench:decide -->\n).*?(<!-- /bench -->)", re.DOTALL)
NOISE = 0.05
THREE_SLOTS = "decide, 3 slots"
LARGE = "decide, context of 16 KB"
NOT_CACHED = "decide, profiles not cached"
FEATURED = "decide, with features that the default chose"
PACED = "decide, open loop at half of that rate"
"""Its connections are the most that were in use at once."""
BATCH = "outcomes per second in feedback of 100 outcomes, by 4 connections"
WORKER = "records per second of a worker's processor time, archived and learned from"
EVENTS = "freshness_of_events"
START = "from the start of an API process until it is ready"
REPLACED = "from the loss of both API processes of `nextbest serve` until one is ready again"
TWO_WORKERS = (
    "two workers that were behind, the second on the API's core: records per second, over those of one"
)


class Row(BaseModel):
    """Throughput and latency at a number of connections."""

    model_config = ConfigDict(extra="forbid")

    connections: int = Field(ge=1)
    rps: float = Field(gt=0)
    p50_ms: float = Field(gt=0)
    p95_ms: float = Field(gt=0)
    p99_ms: float = Field(gt=0)
    p999_ms: float = Field(gt=0)


class Results(BaseModel):
    """``benchmarks/results/decide.json``. ``ratio``: decide over noop, requests per second at 16 connections."""

    model_config = ConfigDict(extra="forbid")

    noop: list[Row]
    decide: list[Row]
    ratio: float
    cpu_us_per_decision: float
    feedback_rps: float
    freshness_p50_ms: float
    freshness_p99_ms: float
    offers: int
    customers: int
    machine: str
    extra: dict[str, Any]


def save(results: Results, path: Path) -> None:
    """Write the results as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(results.model_dump_json(indent=2) + "\n")


def load(path: Path) -> Results:
    """Read the results again. Raises ``pydantic.ValidationError`` if they have another form."""
    return Results.model_validate_json(path.read_bytes())


def show(results: Results, console: Console) -> None:
    """Print the results as tables."""
    table = Table("route", "connections", "requests/s", "p50 ms", "p95 ms", "p99 ms", "p99.9 ms")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, row in _rows(results):
        table.add_row(name, *_cells(row))
    console.print(table)
    for name, value in _figures(results):
        console.print(f"{name}: [bold]{value}[/bold]", highlight=False)
    if noise(results) > NOISE:
        console.print(f"Other processes took up to {noise(results):.0%} of the API's core.", style="yellow")
    console.print(f"{results.machine}\n{results.extra.get('placement_of_processes', '')}", style="dim")


def markdown(results: Results) -> str:
    """Format what the README says: the table, the other figures, and the machine."""
    lines = [
        "| route | connections | requests/s | p50 ms | p95 ms | p99 ms | p99.9 ms |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [f"| {name} | {' | '.join(_cells(row))} |" for name, row in _rows(results)]
    lines += ["", *(f"- {name}: **{value}**" for name, value in _figures(results)), ""]
    lines.append(
        f"One API process on one core, {results.customers:,} customers drawn at random, {results.offers} offers, "
        f"profiles in the cache. `noop` is an empty typed FastAPI route in the same process, with the same body, "
        f"checks and middleware."
    )
    lines += ["", f"Machine: {results.machine}. {results.extra.get('placement_of_processes', '')}."]
    if noise(results) > NOISE:
        lines += [
            "",
            f"Other processes took up to {noise(results):.0%} of the API's core while it was measured.",
        ]
    return "\n".join(lines) + "\n"


def noise(results: Results) -> float:
    """The largest share of the API's core that went to processes which have nothing to do with the benchmark."""
    runs = results.extra.get("runs", {}).values()
    return float(max((share for run in runs for share in run["others"]), default=0.0))


def rewrite(readme: Path, results: Results) -> bool:
    """Put the figures between the README's markers; says whether it has them."""
    old = readme.read_text()
    new, count = BLOCK.subn(lambda match: match[1] + markdown(results) + match[2], old)
    if new != old:
        readme.write_text(new)
    return count == 1


def _rows(results: Results) -> list[tuple[str, Row]]:
    rows = [("noop", row) for row in results.noop] + [("decide", row) for row in results.decide]
    for name in (PACED, LARGE, THREE_SLOTS, NOT_CACHED, FEATURED):
        if name in results.extra:
            rows.append((name, Row.model_validate(results.extra[name])))
    return rows


def _cells(row: Row) -> list[str]:
    latencies = (row.p50_ms, row.p95_ms, row.p99_ms, row.p999_ms)
    return [str(row.connections), f"{row.rps:,.0f}", *(f"{ms:.2f}" for ms in latencies)]


def _figures(results: Results) -> list[tuple[str, str]]:
    more = [(name, f"{results.extra[name]:,.0f}") for name in (BATCH, WORKER) if name in results.extra]
    more += [
        (name, f"{results.extra[name]}") for name in (TWO_WORKERS, START, REPLACED) if name in results.extra
    ]
    return [
        ("decide over noop, requests per second at 16 connections", f"{results.ratio:.2f}"),
        ("CPU time per decision in the API process", f"{results.cpu_us_per_decision:.0f} µs"),
        ("single feedbacks per second at 16 connections", f"{results.feedback_rps:,.0f}"),
        *more,
        (
            "freshness, from an outcome's acknowledgement in one process to a changed decision in another",
            f"p50 {results.freshness_p50_ms:.1f} ms, p99 {results.freshness_p99_ms:.1f} ms",
        ),
        *_events(results),
    ]


def _events(results: Results) -> list[tuple[str, str]]:
    """Return the freshness of events, where it was measured."""
    found = results.extra.get(EVENTS)
    if found is None:
        return []
    said = f"p50 {found['p50_ms']:.1f} ms, p99 {found['p99_ms']:.1f} ms"
    return [
        ("freshness, from an event's acknowledgement in one process to a changed decision in another", said)
    ]
