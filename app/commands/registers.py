"""`nextbest registers`: registers of those who must not be contacted; their entries are imported."""

from pathlib import Path
from typing import Any

import typer

from app.api.registers.schemas import RegisterBody, RegisterOut
from app.api.registers.services import delete as delete_register
from app.api.registers.services import register_out, store
from app.api.schemas import Id, ReasonQuery
from app.commands.log import with_state
from app.commands.terminal import author, checked, fail, read_file
from app.state import ApiState
from profiles.privacy.store_registers import RegisterStore

app = typer.Typer()

MAX_SALT_BYTES = 4000


@app.command("list")
def list_registers() -> None:
    """Show all registers with the number of their entries and without their salts: one a line, as JSON."""

    async def work(state: ApiState) -> list[RegisterOut]:
        return [register_out(one) for one in await RegisterStore(state.engine).all()]

    for register in with_state(work):
        typer.echo(register.model_dump_json())


@app.command()
def put(
    register_id: str = typer.Argument(..., help="the register"),
    field: str = typer.Option(..., help="customer_id, or the attribute of customers that is looked up"),
    form: str = typer.Option(..., help="how a value is normalised before it is hashed: id, email or phone"),
    reason: str = typer.Option(..., help="why who is in it must not be contacted; explanations show it"),
    salt_file: Path | None = typer.Option(
        None,
        help="a file with the salt of the hashes; - is the standard input. A line feed at its end is left out."
        " Without one, a register that there is keeps its own",
    ),
    salt: str | None = typer.Option(
        None,
        help="the salt, which may be empty, and which others on this machine can see: better --salt-file",
    ),
    country_code: str | None = typer.Option(None, help="of telephone numbers that are stored without one"),
    without_value: str = typer.Option(
        "suppress", help="what becomes of a customer whose record lacks the attribute: suppress or pass"
    ),
) -> None:
    """Create a register, or change one; it is in the trail. Entries are imported: nextbest import registers FILE."""
    if salt is not None and salt_file is not None:
        fail("say --salt-file FILE or --salt TEXT, not both")
    if salt_file is not None:
        salt = read_file(salt_file, _without_line_feed, MAX_SALT_BYTES)
    values: dict[str, Any] = {
        "field": field,
        "form": form,
        "country_code": country_code,
        "salt": salt,
        "reason": reason,
        "without_value": without_value,
    }
    named: str = checked(Id, register_id, "register_id")
    body: RegisterBody = checked(RegisterBody, values)

    async def work(state: ApiState) -> RegisterOut:
        stored = await store(state, named, body, author())
        await state.profiles.cache.settled()
        return stored

    typer.echo(f"register {named} is stored, with {with_state(work).entries} entries")


@app.command()
def delete(
    register_id: str = typer.Argument(..., help="the register"),
    reason: str = typer.Option("", help="for the trail: no personal data"),
) -> None:
    """Delete a register with all its entries: nobody is kept from being contacted by it any more."""
    said: ReasonQuery = checked(ReasonQuery, {"reason": reason})

    async def work(state: ApiState) -> bool:
        deleted = await delete_register(state, register_id, author(), said.reason)
        await state.profiles.cache.settled()
        return deleted

    if not with_state(work):
        fail(f"there is no register {register_id!r}")
    typer.echo(f"register {register_id} is deleted with its entries")


def _without_line_feed(content: str) -> str:
    return content.removesuffix("\n").removesuffix("\r")
