"""`nextbest policies check`: the laws one by one, then the time that a decision and an update take."""

import gc
import importlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any

import numpy as np
import typer

from app.commands.policy.model_files import with_model_file
from app.commands.terminal import describe_error, fail, read_file
from app.config import get_settings
from app.specs import MAX_SPEC_BYTES, spec_of, yaml_values
from bandits.conformance.checks import checks_for
from bandits.conformance.scenarios import NOW_MS, make_observations, make_scenario
from bandits.errors import BanditsError, ConformanceError
from bandits.policy import Observation, Policy, PolicySpec
from bandits.registry import build_plugin_policy, build_policy
from bandits.sequential_policy import is_sequential
from decisioning.errors import Invalid
from decisioning.policies.store_models import shown_body
from storage import clock

OFFER_COUNTS = (10, 200, 2500)
NOT_MADE = 2
"""The exit status when there is no policy to check."""
_MIN_NS = 100_000_000
_MIN_RUNS, _MAX_RUNS = 5, 300


def check(
    target: str = typer.Argument(..., help="a class as mypackage:MyPolicy, or the name of an algorithm"),
    spec: Path | None = typer.Option(None, help="a specification (YAML or JSON) to try it with"),
) -> None:
    """Run the conformance laws on a policy, then measure how fast it is. Exit status 1 if a law is broken."""
    build_it = _find_builder(target)
    made_of = _read_spec(target, spec, build_it)
    try:
        policy = build_it(made_of)
    except BanditsError as error:
        fail(str(error), NOT_MADE)
    shown = shown_body({"algorithm": made_of.algorithm, "parameters": made_of.parameters})["parameters"]
    typer.echo(f"{target}: {made_of.algorithm} with {dict(shown) or 'no parameters'}")
    broken = run_laws(policy)
    if broken:
        typer.secho(f"{broken} broken; a policy is ready for use when none is", fg=typer.colors.RED)
        raise typer.Exit(1)
    measure_times(policy, get_settings().policy_budget_ms)


def run_laws(policy: Policy) -> int:
    """Print a line for each law; returns how many are broken."""
    broken = 0
    for law in checks_for(policy):
        try:
            law(policy)
        except ConformanceError as error:
            broken += 1
            _, _, reason = str(error).partition(f"({law.__doc__}): ")
            typer.secho(f"  broken  {law.__name__}: {law.__doc__}", fg=typer.colors.RED)
            typer.echo(f"          {reason}")
        else:
            typer.echo(f"  passed  {law.__name__}")
    return broken


def measure_times(policy: Policy, budget_ms: float) -> None:
    """Print how long a decision and an update take, beside ``thompson`` on this machine, and against the budget."""
    yardstick = build_policy(PolicySpec("thompson", 1, "thompson"))
    typer.echo(f"{'offers':>8}{'decision':>14}{'thompson':>14}{'update':>14}{'thompson':>14}  (µs, median)")
    slow = []
    for offers in OFFER_COUNTS:
        ours, theirs = median_times(policy, offers), median_times(yardstick, offers)
        columns = (ours[0], theirs[0], ours[1], theirs[1])
        typer.echo(f"{offers:>8}" + "".join(f"{value:>14,.0f}" for value in columns))
        if max(ours) > 1000.0 * budget_ms:
            slow.append(offers)
    budget = f"{budget_ms:g} ms (NEXTBEST_POLICY_BUDGET_MS)"
    if not slow:
        typer.echo(f"within the budget of {budget}")
        return
    among = " and ".join(map(str, slow))
    typer.secho(
        f"over the budget of {budget} among {among} offers: after three decisions in a row that take longer, a "
        "policy is paused, and the propensities decide",
        fg=typer.colors.YELLOW,
    )


def median_times(policy: Policy, offers: int) -> tuple[float, float]:
    """Measure a decision (features encoded, one slot drawn from) and an update: median times in microseconds."""
    w = make_scenario(policy, offers, seed=21)
    prepared = policy.prepare(w.sums)
    available = np.ones(offers, dtype=bool)
    (seen,) = make_observations(policy, w.offers, 1, seed=22)
    rows = np.flatnonzero(w.offers == seen[0].offer).astype(np.intp)
    learn = _learning_step(policy, *seen)

    def decide() -> None:
        x = policy.encoder.encode(w.candidates.facts, NOW_MS)
        asked = replace(w.candidates, x=x)  # another request, as far as the policy can tell
        policy.propensities(prepared, asked)
        policy.selector(prepared, asked)(available)

    def update() -> None:
        nonlocal prepared
        learn()
        prepared = policy.refresh(prepared, w.sums, rows)

    return _median_us(decide), _median_us(update)


def _learning_step(policy: Policy, seen: Observation, at_s: float) -> Callable[[], Any]:
    if not is_sequential(policy):
        return lambda: policy.learn(seen)
    model = policy.fresh()
    return lambda: policy.observe(model, seen, at_s)


def _median_us(run: Callable[[], None]) -> float:
    run()  # once before: what is cached and compiled then is not measured
    found: list[int] = []
    gc.disable()  # a collection is not the policy's time
    try:
        while len(found) < _MIN_RUNS or (sum(found) < _MIN_NS and len(found) < _MAX_RUNS):
            start = perf_counter_ns()
            run()
            found.append(perf_counter_ns() - start)
    finally:
        gc.enable()
    return median(found) / 1000.0


def _find_builder(target: str) -> Callable[[PolicySpec], Policy]:
    """Find what makes the policy: a class, imported here and now, or the name of an algorithm."""
    module, colon, path = target.partition(":")
    if not colon:
        return build_policy
    try:
        found: Any = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except ModuleNotFoundError as error:
        fail(f"{error}; is its package installed here (pip install -e .)?", NOT_MADE)
    except Exception as error:  # whatever a module does while it is imported
        fail(f"{target} cannot be imported: {error!r}", NOT_MADE)
    if not isinstance(found, type):
        fail(f"{target} is not a class", NOT_MADE)
    return lambda spec: build_plugin_policy(found, spec)


def _read_spec(target: str, file: Path | None, build_it: Callable[[PolicySpec], Policy]) -> PolicySpec:
    """Read the specification of the file, which need not say all that it must have; without a file, make one."""
    usual = {"name": "checked", "algorithm": target.rpartition(":")[2]}
    folder = Path() if file is None else file.parent

    def parse(document: str) -> PolicySpec:
        values = with_model_file(yaml_values(document), folder)
        named = {**usual, **values} if isinstance(values, Mapping) else values
        return spec_of(named, clock.now_ms(), build_it)[0]

    if file is not None:
        return read_file(file, parse, MAX_SPEC_BYTES, NOT_MADE)
    try:
        return spec_of(usual, clock.now_ms(), build_it)[0]
    except Invalid as error:
        fail(describe_error(error), NOT_MADE)
