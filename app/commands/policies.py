"""`nextbest policies`: registered, staged, watched, rolled back and checked from the command line."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_args

import typer
import yaml
from sqlalchemy.ext.asyncio import AsyncEngine

from app.commands.policy.model_files import with_model_file
from app.commands.policy.policy_check import check
from app.commands.policy.policy_evaluate import evaluate_policy
from app.commands.terminal import author, fail, on_database, read_file
from app.policy_schema import specification_schema
from app.specs import MAX_SPEC_BYTES, history_warnings, spec_of, warnings_of, with_dates, yaml_values
from bandits.policy import PolicyKey, PolicySpec
from bandits.registry import BUILT_IN
from bandits.specification import spec_to_dict, wants_auto_features
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.store import CatalogueStore, Published
from decisioning.errors import NotFound
from decisioning.model.deployment import Autopilot, Stage, champion_of
from decisioning.policies.store import PolicyStore
from decisioning.policies.store_facts import choose_features, find_unsent
from decisioning.policies.store_models import look_up_models, needs_look_up, shown_body
from decisioning.policies.store_rows import RegisteredPolicy
from decisioning.rollout.service import RolloutService, check_share, progress_text
from decisioning.rollout.stages import parts_of, stage_of
from storage import clock

app = typer.Typer()

T = TypeVar("T")
POLL_S = 0.5
UNFINISHED_STATES = ("registered", "folding", "failed")

_KEY = typer.Argument(..., metavar="NAME@VERSION", help="the policy")
_PLACEMENT = typer.Option(..., "--placement", help="the placement")
_REASON = typer.Option("", help="why; kept in the audit trail")
_POLICY_REASON = typer.Option("", help="why; kept with the policy")


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores that the commands work on."""

    engine: AsyncEngine
    policies: PolicyStore
    catalogues: CatalogueStore

    def stager(self, reason: str) -> RolloutService:
        """Change stages in the name of the user who types."""
        return RolloutService(self.catalogues, self.policies, clock.now_ms, author(), reason)


@app.command()
def register(
    file: Path = typer.Argument(..., help="a specification (YAML or JSON); - is the standard input"),
    reason: str = _POLICY_REASON,
) -> None:
    """Register a policy. Without a version in the file it gets the next one; workers warm it up at once."""
    values, spec, numbered = read_file(file, partial(_parse, file.parent), MAX_SPEC_BYTES)

    async def work(stores: Stores) -> tuple[PolicySpec, bool, list[str]]:
        made = spec
        if made is None or wants_auto_features(values):
            known = await stores.catalogues.load()
            features = await choose_features(stores.engine, known.attributes.values())
            found = values
            if needs_look_up(values):
                found = await look_up_models(values, stores.engine, known.offers.values(), known.groups)
            made, _ = spec_of(found, clock.now_ms(), auto_features=features)
        if numbered:
            new = await stores.policies.register(made, author(), reason)
        else:
            made, new = await stores.policies.register_next(made, author(), reason)
        catalogue = await stores.catalogues.load()
        warnings = warnings_of(spec_to_dict(made), catalogue.placements)
        warnings += await find_unsent(
            stores.engine, made.features, catalogue.checker.vocabulary.attributes.values()
        )
        warnings += history_warnings(made, catalogue)
        return made, new, warnings

    made, new, warnings = _with_stores(work)
    typer.echo(f"{made.key} is registered" if new else f"{made.key} is registered already, and says the same")
    for warning in warnings:
        typer.secho(f"warning: {warning}", err=True, fg=typer.colors.YELLOW)


@app.command()
def schema() -> None:
    """Print the JSON Schema of specifications, by which editors complete and check them."""
    typer.echo(json.dumps(specification_schema(), indent=2))


@app.command("list")
def list_policies() -> None:
    """Show all policies: state, progress, where they have a part."""

    async def work(stores: Stores) -> tuple[list[RegisteredPolicy], Catalogue]:
        return await stores.policies.all(), await stores.catalogues.load()

    policies, catalogue = _with_stores(work)
    for spec in BUILT_IN:
        typer.echo(f"{spec.key}  built in{_parts_text(catalogue, spec.key)}")
    for policy in policies:
        typer.echo(f"{policy.key}  {_state_text(policy)}{_parts_text(catalogue, policy.key)}")


@app.command()
def show(
    name: str = typer.Argument(..., metavar="NAME[@VERSION]", help="the policy"),
) -> None:
    """Show a policy, or all its versions, with the specification as YAML, as it can be registered."""

    async def work(stores: Stores) -> tuple[list[RegisteredPolicy], Catalogue]:
        policies = [await stores.policies.get(name)] if "@" in name else await stores.policies.versions(name)
        return policies, await stores.catalogues.load()

    built_in = [spec for spec in BUILT_IN if name in (spec.key, spec.name)]
    found: list[RegisteredPolicy] = []
    if not (built_in and "@" in name):
        found, catalogue = _with_stores(work)
    if not found and not built_in:
        fail(str(NotFound("policy", name)))
    for spec in built_in:
        typer.echo(f"# {spec.key}, built in")
        typer.echo(_to_yaml(spec_to_dict(spec)), nl=False)
    for policy in found:
        typer.echo(
            f"# {policy.key}, {_state_text(policy)}; {_change_text(policy.created_at, policy.author, policy.reason)}"
        )
        for one in policy.changes:
            typer.echo(f"# {one.change}: {_change_text(one.changed_at, one.author, one.reason)}")
        for warning in warnings_of(policy.body, catalogue.placements):
            typer.echo(f"# warning: {warning}")
        typer.echo(_to_yaml(policy.body), nl=False)


@app.command()
def stage(
    policy: str = _KEY,
    stage: str = typer.Argument(..., help="shadow, canary, champion or retired"),
    placement: str = _PLACEMENT,
    share: float | None = typer.Option(None, help="of a canary: its part of the customers; 0.1 if left out"),
    force: bool = typer.Option(False, "--force", help="skip the stages before"),
    reason: str = _REASON,
) -> None:
    """Give a policy a stage in a placement; in force everywhere within a second."""
    stages: tuple[Stage, ...] = get_args(Stage)
    found = next((one for one in stages if one == stage != "registered"), None)
    if found is None:
        known = ", ".join(one for one in stages if one != "registered")
        raise typer.BadParameter(f"{stage!r} is not a stage; there are {known}", param_hint="STAGE")
    target = found

    async def work(stores: Stores) -> Published | None:
        check_share(share)
        return await stores.stager(reason).stage(placement, policy, target, share=share, force=force)

    _with_stores(work)
    _show_stages(placement)


@app.command()
def rollback(placement: str = _PLACEMENT, reason: str = _REASON) -> None:
    """End the canary of a placement, or, without one, put the champion before this one back."""
    _with_stores(lambda stores: stores.stager(reason).roll_back(placement))
    _show_stages(placement)


@app.command()
def autopilot(
    placement: str = _PLACEMENT,
    on: bool = typer.Option(..., "--on/--off", help="let it try candidates out, or end what it tries out"),
    share: float = typer.Option(
        Autopilot().canary_share, help="of its canaries: their part of the customers"
    ),
    reason: str = _REASON,
) -> None:
    """Switch the autopilot of a placement on, or off; in force everywhere within a second."""

    async def work(stores: Stores) -> Published | None:
        check_share(share)
        stager = stores.stager(reason)
        catalogue = await stores.catalogues.load()
        settings = catalogue.deployment(placement).autopilot or Autopilot()
        if share is not None:
            settings = replace(settings, canary_share=share)
        return await stager.set_autopilot(placement, settings if on else None)

    _with_stores(work)
    typer.echo(f"{placement}: the autopilot is {'on' if on else 'off'}")
    _show_stages(placement)


@app.command()
def retire(policy: str = _KEY, reason: str = _POLICY_REASON) -> None:
    """Let a policy that no placement uses learn no more. Decisions that it made can still be replayed."""
    done = _with_stores(lambda stores: stores.policies.retire(policy, author(), reason))
    typer.echo(f"{policy} is retired" if done else f"{policy} is retired already")


@app.command()
def revive(policy: str = _KEY, reason: str = _POLICY_REASON) -> None:
    """Take a retired policy back; it starts warm again."""
    done = _with_stores(lambda stores: stores.policies.revive(policy, author(), reason))
    typer.echo(f"{policy} is revived" if done else f"{policy} is not retired")


@app.command()
def progress(
    follow: bool = typer.Option(False, "--follow", help="until all warm starts are done"),
) -> None:
    """Show the warm starts that are not done yet."""

    async def work(stores: Stores) -> None:
        shown: dict[PolicyKey, str] = {}
        while True:
            waiting = {
                p.key: progress_text(p) for p in await stores.policies.all() if p.state in UNFINISHED_STATES
            }
            for key, said in waiting.items():
                if shown.get(key) != said:
                    typer.echo(f"{key}: {said}")
            for key in shown.keys() - waiting.keys():
                typer.echo(f"{key}: done")
            shown = waiting
            if not waiting or not follow:
                break
            await asyncio.sleep(POLL_S)
        if not shown:
            typer.echo("no warm starts are waiting")

    _with_stores(work)


app.command()(check)
app.command("evaluate")(evaluate_policy)


def _show_stages(placement: str) -> None:
    catalogue = _with_stores(lambda stores: stores.catalogues.load())
    found = catalogue.view(placement).placement
    deployment = catalogue.deployment(placement)
    keys = dict.fromkeys([champion_of(found, deployment), *sorted(deployment.policies)])
    for key in keys:
        canary = deployment.canary
        share = f" with {canary.share:g} of the customers" if canary and canary.policy == key else ""
        typer.echo(f"{placement}: {key} is {stage_of(found, deployment, key)}{share}")


def _state_text(policy: RegisteredPolicy) -> str:
    return "live" if policy.state == "live" else f"{policy.state}: {progress_text(policy)}"


def _change_text(at: datetime, author: str, reason: str) -> str:
    return f"{at:%Y-%m-%d %H:%M}, {author}" + (f": {reason}" if reason else "")


def _parts_text(catalogue: Catalogue, key: str) -> str:
    """Say in words where a policy has a part."""
    found = [f"{stage} in {placement_id}" for placement_id, stage in parts_of(catalogue, key)]
    return f"; {', '.join(found)}" if found else ""


def _to_yaml(body: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(with_dates(shown_body(body)), sort_keys=False, allow_unicode=True))


def _parse(folder: Path, document: str) -> tuple[Any, PolicySpec | None, bool]:
    """Parse a file; of ``features: auto``, which need the catalogue, none are in the specification yet.

    Without a specification if what is registered has to be looked up for it. ``folder``: where model files are.
    """
    values = with_model_file(yaml_values(document), folder)
    if needs_look_up(values):
        return values, None, values.get("version") is not None
    return values, *spec_of(values, clock.now_ms(), auto_features=())


def _with_stores(work: Callable[[Stores], Awaitable[T]]) -> T:
    return on_database(lambda engine: work(Stores(engine, PolicyStore(engine), CatalogueStore(engine))))
