"""Firings of triggers on a terminal: shown, and sent again."""

from dataclasses import replace
from functools import partial
from uuid import UUID

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from app.commands.terminal import fail, on_database
from decisioning.triggers.firing import FiringStatus
from decisioning.triggers.store_delivery import FiringDeliveries, FiringFilter
from storage import clock
from storage.clock import to_iso, to_ms

app = typer.Typer()

PAGE = 500


@app.command("list")
def list_firings(
    status: FiringStatus | None = typer.Option(None, help="these alone, such as failed"),
    trigger: str | None = typer.Option(None, help="of this trigger alone"),
    limit: int = typer.Option(100, min=1, max=10_000, help="so many, the newest first"),
) -> None:
    """Show what fired: id, when, trigger, what became of it, and why."""
    wanted = FiringFilter(trigger, status)
    for row in on_database(lambda engine: FiringDeliveries(engine).shown(wanted, limit)):
        told = f"{row.firing_id}  {to_iso(to_ms(row.fired_at))}  {row.trigger_id}  {row.status}"
        typer.echo(told if row.status_reason is None else f"{told}  {row.status_reason}")


@app.command()
def send(
    firing_id: UUID | None = typer.Argument(None, help="one that failed"),
    every: bool = typer.Option(False, "--all", help="all that failed"),
    trigger: str | None = typer.Option(None, help="with --all: of this trigger alone"),
) -> None:
    """Send again what nobody took in time: the same decision, with as much time as at first."""
    if (firing_id is None) != every:
        fail("name a firing, or write --all")
    if firing_id is not None:
        sent = on_database(lambda engine: FiringDeliveries(engine).send_again(str(firing_id), clock.now_ms()))
        if sent is None:
            fail(f"the firing {firing_id} has not failed, or there is none: see nextbest triggers list")
        typer.echo(f"{firing_id}  is sent again")
        return
    count = on_database(partial(_send_all, trigger=trigger))
    typer.echo(f"{count} are sent again")


async def _send_all(engine: AsyncEngine, trigger: str | None) -> int:
    deliveries, count = FiringDeliveries(engine), 0
    wanted = FiringFilter(trigger, "failed")
    while rows := await deliveries.shown(wanted, PAGE):
        for row in rows:
            count += await deliveries.send_again(str(row.firing_id), clock.now_ms()) is not None
        # Behind these: what has failed again meanwhile is not sent in a circle.
        wanted = replace(wanted, before=(to_ms(rows[-1].fired_at), str(rows[-1].firing_id)))
    return count
