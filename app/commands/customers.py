"""`nextbest customers`: what is held on a person, taken out, put right or erased; consents with their history."""

import json
import sys
from pathlib import Path
from typing import Any

import typer
from fastapi import Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import from_json

from app.api.customers.consents_routes import consents_of
from app.api.customers.editing import CustomerEdit
from app.api.privacy.schemas import PersonOut
from app.api.privacy.services import eraser_of, erasures_of, exporter_of, lifting_of
from app.api.schemas import CustomerId, Id, ReasonQuery
from app.api.suppressions.schemas import SuppressionBody
from app.api.suppressions.services import suppress as put_on_list
from app.commands.log import with_state
from app.commands.terminal import author, checked, describe_error, fail, read_file
from app.errors import Problem
from app.state import ApiState
from decisioning.errors import Invalid
from decisioning.privacy.erasure_service import Erased
from decisioning.privacy.export_service import MAX_DECISIONS
from profiles.customer_id import checked_id

app = typer.Typer()

MAX_PATCH_BYTES = 1 << 20
_LIST = typer.Argument(..., help="the suppression list")
_TRAIL_REASON = typer.Option("", help="for the trail: no personal data")


@app.command("export")
def export_customer(
    customer_id: str = typer.Argument(..., help="the customer's id"),
    out: Path | None = typer.Option(
        None, help="the file to write, readable by you alone; the terminal if left out"
    ),
) -> None:
    """Write everything that is held on a person as one JSON document."""

    async def work(state: ApiState) -> dict[str, Any]:
        exporter, who = exporter_of(state), author()
        found = await exporter.page(customer_id, who, None, MAX_DECISIONS)
        behind = found["next"]
        while behind is not None:
            page = await exporter.page(customer_id, who, behind, MAX_DECISIONS)
            found["decisions"] += page["decisions"]
            behind = page["next"]
        return found | {"next": None}

    document = PersonOut.model_validate(with_state(work)).model_dump(mode="json", exclude={"next"})
    written = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    if out is None:
        sys.stdout.write(written)
        return
    try:
        out.touch(mode=0o600)
        out.write_text(written, encoding="utf-8")
    except OSError as error:
        fail(f"{out}: {error.strerror}")
    typer.echo(f"{len(document['decisions'])} decisions and all that is held beside them are in {out}")


@app.command()
def consents(
    customer_id: str = typer.Argument(..., help="the customer's id"),
    limit: int = typer.Option(100, min=1, max=1000, help="records of the history, the newest first"),
) -> None:
    """Show the consents and objections in force, and who stated what, when, where and with what proof (JSON)."""
    found = with_state(lambda state: consents_of(state, customer_id, None, limit))
    typer.echo(json.dumps(found.model_dump(mode="json", exclude={"next"}), ensure_ascii=False, indent=2))


@app.command()
def rectify(
    customer_id: str = typer.Argument(..., help="the customer's id"),
    file: Path = typer.Argument(
        ...,
        help="what is right, as a JSON Merge Patch such as PATCH /v1/customers/{id} takes; - for the input",
    ),
) -> None:
    """Put right what is held on a person: what the file names is replaced, null takes away, all else stays."""

    def parse(content: str) -> dict[str, Any]:
        try:
            patch = from_json(content, allow_inf_nan=False)
        except ValueError as error:
            fail(f"{file}: is not JSON: {error}")
        if not isinstance(patch, dict):
            fail(f'{file}: must be a JSON object, such as {{"attributes": {{"age": 42}}}}')
        return patch

    _change(customer_id, read_file(file, parse, MAX_PATCH_BYTES))
    typer.echo("stored: the next decision knows it")


@app.command()
def consent(
    customer_id: str = typer.Argument(..., help="the customer's id"),
    purpose: str = typer.Option(..., help="what for, such as marketing"),
    channel: str = typer.Option(..., help="a channel of the catalogue, * for all"),
    given: bool | None = typer.Option(
        None,
        "--given/--withdrawn",
        help="whether it is given; an objection that is withdrawn is lifted",
        show_default=False,
    ),
    objection: bool = typer.Option(False, "--objection", help="it is no consent but an objection"),
    at: str | None = typer.Option(None, help="when it was stated, with its zone; now if left out"),
    source: str = typer.Option("", help="where it was stated, such as a branch"),
    proof: str = typer.Option("", help="where that can be looked up: a reference, a hash, a URL"),
    expires_at: str | None = typer.Option(None, help="when a consent ends, with its zone"),
) -> None:
    """State a consent or an objection of a customer who is stored; it comes to those that there are."""
    if given is None:
        fail("say --given or --withdrawn")
    stated = {
        "kind": "objection" if objection else "consent",
        "purpose": purpose,
        "channel": channel,
        "given": given,
        "source": source,
        "proof": proof,
    }
    times = {"at": at, "expires_at": expires_at}
    stated |= {name: value for name, value in times.items() if value is not None}
    _change(customer_id, {"consent_records": [stated]})
    typer.echo("stored: the next decision knows it")


def _change(customer_id: str, patch: dict[str, Any]) -> None:
    """Change the record of a customer as a request does; what is wrong is said in a line, with exit status 1."""

    async def work(state: ApiState) -> None:
        await state.refresh()
        try:
            await CustomerEdit(state, Response(), author(), None).patch(checked_id(customer_id), patch)
        except Problem as error:
            fail(f"{error.field}: {error.detail}" if error.field else str(error.detail))
        except RequestValidationError as error:
            wrong = error.errors()[0]
            field = ".".join(str(part) for part in wrong["loc"][1:])
            fail(f"{field}: {wrong['msg']}")

    with_state(work)


@app.command()
def suppress(
    customer_id: str = typer.Argument(..., help="the customer's id; there need not be a record"),
    list_id: str = _LIST,
    reason: str | None = typer.Option(
        None, help="in words, which explanations show; the name of the reason if only --reason-id is given"
    ),
    reason_id: str | None = typer.Option(None, help="a reason of the catalogue"),
    until: str | None = typer.Option(None, help="when it ends, with its zone; never by itself if left out"),
    scope: str | None = typer.Option(
        None, help='the offers that are not made, such as {"except_goals": ["serve"]}; all if left out'
    ),
) -> None:
    """Put a customer on a suppression list, or change the entry; it is in the trail."""
    values: dict[str, Any] = {"reason": reason, "reason_id": reason_id, "until": until}
    if scope is not None:
        try:
            values["scope"] = from_json(scope, allow_inf_nan=False)
        except ValueError as error:
            fail(f"--scope: is not JSON: {error}")
    named: str = checked(Id, list_id, "list_id")
    customer: str = checked(CustomerId, customer_id, "customer_id")
    body: SuppressionBody = checked(SuppressionBody, values)

    async def work(state: ApiState) -> str:
        await state.refresh()
        try:
            return await put_on_list(state, named, customer, body, author())
        except Invalid as error:
            fail(describe_error(error))

    owner = with_state(work)
    typer.echo(f"customer {owner!r} is on the list {named}: the next decision knows it")


@app.command()
def unsuppress(
    customer_id: str = typer.Argument(..., help="the customer's id"),
    list_id: str = _LIST,
    reason: str = _TRAIL_REASON,
) -> None:
    """Take a customer off a suppression list; it is in the trail."""
    said: ReasonQuery = checked(ReasonQuery, {"reason": reason})

    async def work(state: ApiState) -> bool:
        return await state.suppressions.delete(list_id, customer_id, author=author(), reason=said.reason)

    if not with_state(work):
        fail(f"customer {customer_id!r} is not on the list {list_id}")
    typer.echo(f"customer {customer_id!r} is off the list {list_id}")


@app.command()
def erase(
    customer_id: str = typer.Argument(..., help="the customer's id"),
    reason: str = typer.Option("", help="for the trail: no personal data"),
    keep_out: bool = typer.Option(True, help="store nothing of this id any more, and count it as suppressed"),
) -> None:
    """Erase a person: the profile is deleted, and the log goes on under a random pseudonym."""

    async def work(state: ApiState) -> Erased:
        return await (await eraser_of(state)).erase(customer_id, author(), reason, keep_out=keep_out)

    erased = with_state(work)
    typer.echo(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in erased.counts.items()))
    for export_id in erased.exports:
        typer.echo(f"export {export_id} is removed")
    for one in erased.folders:
        typer.echo(
            f"{one.folder}/{one.kind} on {one.host} has the person still, or may have: write it anew"
            f" (nextbest export {one.kind} --out {one.folder} --again), or delete it"
        )


@app.command("lift")
def lift_signal(
    customer_id: str = typer.Argument(..., help="the customer's id"),
    signal_id: str = typer.Argument(..., help="the signal"),
    reason: str = typer.Option("", help="for the trail: no personal data"),
) -> None:
    """Lift a signal that is remembered of a customer before it ends."""

    async def work(state: ApiState) -> None:
        await state.refresh()
        await lifting_of(state).lift(state.current_catalogue(), customer_id, signal_id, author(), reason)

    with_state(work)
    typer.echo("lifted: it closes nothing from the next decision on, unless it holds again")


@app.command()
def readmit(
    customer_id: str = typer.Argument(..., help="the customer's id"),
    reason: str = typer.Option("", help="for the trail: no personal data"),
) -> None:
    """Let the id of somebody who was erased be stored again."""
    if not with_state(lambda state: erasures_of(state).readmit(customer_id, author(), reason)):
        fail(f"there is no erasure that keeps out customer {customer_id!r}")
    typer.echo("the id may be stored again")
