"""`nextbest policies evaluate`: a policy on its way through the archived log of a placement."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from app.commands.policy.model_files import with_model_file
from app.commands.terminal import describe_error, fail, on_database, progress_bar, read_file
from app.specs import MAX_SPEC_BYTES, candidate_body, yaml_values
from bandits.errors import BanditsError
from bandits.registry import BUILT_IN
from bandits.specification import parse_stored_spec
from decisioning.catalog.store import CatalogueStore
from decisioning.errors import DecisioningError
from decisioning.evaluation.service import EvaluationRequest, EvaluationScope, evaluate, spec_of
from decisioning.evaluation.store_pages import HindsightReader
from decisioning.exporting.log_evaluation import evaluate_log
from decisioning.policies.store import PolicyStore
from decisioning.policies.store_models import look_up_models, needs_look_up
from storage import clock
from storage.postgres import PATIENT_S

Slots = Literal["first", "all"]
Reward = Literal["acceptance", "value"]
Start = Literal["cold", "warm"]

ESTIMATES = (
    ("was earned", "earned"),
    ("would have earned, DR", "dr"),
    ("would have earned, SNIPS", "snips"),
    ("would have earned, IPS", "ips"),
    ("DR less what was earned", "lift"),
)
"""Labels and keys of a result's estimates, in the order in which they are printed."""


def evaluate_policy(
    policy: str | None = typer.Argument(None, metavar="[NAME@VERSION]", help="a policy that is known here"),
    spec: Path | None = typer.Option(None, help="a specification (YAML or JSON); it need not be registered"),
    placement: str | None = typer.Option(
        None, "--placement", help="the placement; with --log all if left out"
    ),
    since: str | None = typer.Option(None, "--from", help="decisions from then on"),
    until: str | None = typer.Option(None, "--to", help="decisions before then"),
    limit: int = typer.Option(20_000, min=1, help="the newest so many decisions whose window is closed"),
    slots: Slots = typer.Option("first", help="first slots only, or all of them"),
    reward: Reward = typer.Option("acceptance", help="what counts: acceptance, or value"),
    start: Start = typer.Option(
        "cold", help="what it knows at first: nothing, or all that was logged before"
    ),
    as_json: bool = typer.Option(False, "--json", help="print JSON"),
    log: Path | None = typer.Option(
        None,
        help="a log in Parquet, a file or a folder, in place of the archive: exported, or somebody else's",
    ),
) -> None:
    """Show what a policy would have earned in the archived decisions of a placement, learning on its way."""
    times = _parse_time(since, "--from"), _parse_time(until, "--to")
    if (policy is None) == (spec is None):
        raise typer.BadParameter("say either a policy, as name@version, or --spec FILE")
    if placement is None and log is None:
        raise typer.BadParameter("say the placement whose decisions are meant", param_hint="--placement")
    parsed = None if spec is None else read_file(spec, partial(_parse, spec.parent), MAX_SPEC_BYTES)
    scope = EvaluationScope(placement or "", *times, limit, slots, reward, start)
    request = EvaluationRequest(scope, policy, parsed)
    if log is None:
        result = on_database(lambda engine: _evaluate(engine, request), pool_size=2, statement_s=PATIENT_S)
    else:
        result = _evaluate_log(request, log)
    typer.echo(json.dumps(result, indent=2) if as_json else "\n".join(result_lines(result)))


def _parse_time(text: str | None, option: str) -> datetime | None:
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


def _parse(folder: Path, document: str) -> dict[str, Any]:
    values = with_model_file(yaml_values(document), folder)
    if needs_look_up(values):
        values = on_database(lambda engine: _look_up(values, engine))
    return candidate_body(values, clock.now_ms())


async def _look_up(values: Any, engine: AsyncEngine) -> dict[str, Any]:
    catalogue = await CatalogueStore(engine).load()
    return await look_up_models(values, engine, catalogue.offers.values(), catalogue.groups)


async def _evaluate(engine: AsyncEngine, request: EvaluationRequest) -> dict[str, Any]:
    spec = await spec_of(request, PolicyStore(engine))
    logged, catalogues = HindsightReader(engine), CatalogueStore(engine)
    with progress_bar("decisions") as progress:
        return await evaluate(spec, request.scope, logged, catalogues, time.perf_counter, progress)


def _evaluate_log(request: EvaluationRequest, log: Path) -> dict[str, Any]:
    """Evaluate on files. The database is asked only for a registered policy."""
    built_in = next((spec for spec in BUILT_IN if spec.key == request.policy), None)
    try:
        if request.spec is not None:
            spec = parse_stored_spec(request.spec)
        else:
            spec = built_in or on_database(lambda engine: spec_of(request, PolicyStore(engine)))
        with progress_bar("decisions") as progress:
            return evaluate_log(spec, log, request.scope, time.perf_counter, progress)
    except (BanditsError, DecisioningError) as error:
        fail(describe_error(error))


def result_lines(result: Mapping[str, Any]) -> list[str]:
    """Put a result in words and figures."""
    unit = "a slot" if result["slots"] == "all" else "a first slot"
    text = [
        f"{result['policy']}@{result['version']} in {result['placement']}, {result['start']} start, "
        f"{result['reward']} {unit}",
        f"{result['decisions']} decisions from {result['from']} to {result['to']}; "
        f"learned from {result['learned']} outcomes",
    ]
    if result["open"]:
        text.append(f"{result['open']} decisions with an open reward window are not used")
    if result.get("imported"):
        text.append(
            f"{result['imported']} imported decisions are not used, and do not count toward the limit"
        )
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


def _interval_text(found: Mapping[str, Any]) -> str:
    value, low, high = (found[name] for name in ("value", "low", "high"))
    if value is None:
        return "nothing"
    if low is not None and high is not None:
        cut = f"  ({found['reason']})" if found.get("reason") else ""
        return f"{value:.4f}  [{low:.4f}, {high:.4f}]{cut}"
    return f"{value:.4f}  (no interval: {found['reason']})" if found.get("reason") else f"{value:.4f}"
