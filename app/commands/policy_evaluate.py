"""`nextbest policies evaluate`: a policy on its way through the archived log of a placement."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy.ext.asyncio import AsyncEngine

from app.commands.terminal import on_database, read_file
from app.specs import MAX_SPEC_BYTES, candidate_body, yaml_values
from decisioning.catalog.store import CatalogueStore
from decisioning.evaluation.service import EvaluationRequest, EvaluationScope, evaluate, spec_of
from decisioning.evaluation.store_pages import HindsightReader
from decisioning.policies.store import PolicyStore
from storage import clock
from storage.postgres import PATIENT_S

ESTIMATES = (
    ("was earned", "earned"),
    ("would have earned, DR", "dr"),
    ("would have earned, SNIPS", "snips"),
    ("would have earned, IPS", "ips"),
    ("DR less what was earned", "lift"),
)
"""Labels and keys of a result's estimates, in the order in which they are printed."""


def run(policy: str | None, spec: Path | None, scope: EvaluationScope, as_json: bool) -> None:
    """Evaluate a policy that is registered, or the specification in a file, and print what came of it."""
    if (policy is None) == (spec is None):
        raise typer.BadParameter("say either a policy, as name@version, or --spec FILE")
    parsed = None if spec is None else read_file(spec, _parse, MAX_SPEC_BYTES)
    request = EvaluationRequest(scope, policy, parsed)
    result = on_database(lambda engine: _evaluate_policy(engine, request), pool_size=2, statement_s=PATIENT_S)
    typer.echo(json.dumps(result, indent=2) if as_json else "\n".join(result_lines(result)))


def parse_time(text: str | None, option: str) -> datetime | None:
    """Parse a time as it is written on the command line; without a zone it is UTC."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not a date or time such as 2026-03-01 or 2026-03-01T08:00Z", param_hint=option
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _parse(document: str) -> dict[str, Any]:
    return candidate_body(yaml_values(document), clock.now_ms())


async def _evaluate_policy(engine: AsyncEngine, request: EvaluationRequest) -> dict[str, Any]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    spec = await spec_of(request, PolicyStore(engine))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("decisions", total=None)
        return await evaluate(
            spec,
            request.scope,
            HindsightReader(engine),
            CatalogueStore(engine),
            time.perf_counter,
            lambda done, total: bar.update(task, completed=done, total=total),
        )


def result_lines(result: Mapping[str, Any]) -> list[str]:
    """Put a result in words and figures."""
    unit = "a slot" if result["slots"] == "all" else "a first slot"
    text = [
        f"{result['policy']}@{result['version']} in {result['placement']}, {result['start']} start, "
        f"{result['reward']} {unit}",
        f"{result['decisions']} decisions from {result['from']} to {result['to']}; "
        f"learned from {result['learned']} outcomes",
    ]
    found = result["estimates"]
    if found is not None:
        text += [
            "",
            *[f"  {name:<28} {_interval_text(found[key])}" for name, key in ESTIMATES],
            f"  {found['rows']} slots, worth {found['effective_rows']:.0f} equally weighted ones; "
            f"mean weight {found['mean_weight']:.3f}, largest {found['largest_weight']:.1f}; "
            f"agrees with {found['agreement']:.1%} of what was shown",
        ]
    if result["logged"]:
        text += ["", "What the logging policies earned in the same slots:"]
        text += [
            f"  {row['group']:<16} {row['policy']:<20} {row['slots']:>8} slots  {_interval_text(row['earned'])}"
            for row in result["logged"]
        ]
    if result["left_out"]:
        text += ["", "Left out:"]
        text += [f"  {row['slots']:>8}  {row['reason']}: {row['meaning']}" for row in result["left_out"]]
    if result["us_per_decision"] is not None:
        text += ["", f"{result['us_per_decision']:.0f} µs a decision"]
    return text + [f"! {warning}" for warning in result["warnings"]]


def _interval_text(found: Mapping[str, float | None]) -> str:
    value, low, high = (found[name] for name in ("value", "low", "high"))
    if value is None:
        return "nothing"
    return f"{value:.4f}  [{low:.4f}, {high:.4f}]" if low is not None and high is not None else f"{value:.4f}"
