"""`nextbest deadletters`: records of the log that could not be archived, and were set aside."""

import asyncio

import typer

from app.commands.terminal import fail, on_database, on_database_url
from decisioning.log.store_archiver import Archiver
from decisioning.log.store_dead_letters import DeadLetter, DeadLetters, read_again
from decisioning.model.position import StreamPosition
from storage.clock import to_iso, to_ms

app = typer.Typer()

MAX_TURNS = 100
TURN_PAUSE_S = 0.1

_BUCKET = typer.Argument(None, help="the bucket of one record; without it, all of them")
_POSITION = typer.Argument(None, help="its position")


@app.command("list")
def list_letters() -> None:
    """Show what was set aside: bucket, position, when, and why."""
    for letter in on_database(lambda engine: DeadLetters(engine).all()):
        at = to_iso(to_ms(letter.set_aside_at))
        typer.echo(f"{letter.bucket}  {letter.position}  {at}  {letter.reason}")


@app.command()
def show(bucket: int = typer.Argument(...), position: str = typer.Argument(...)) -> None:
    """Show a record as it was logged, field by field. It may hold what is known of a customer."""
    for letter in _chosen(on_database(lambda engine: DeadLetters(engine).all()), bucket, position):
        for name, value in letter.fields.items():
            typer.echo(f"{name.decode(errors='backslashreplace')}: {value.decode(errors='backslashreplace')}")


@app.command()
def retry(bucket: int | None = _BUCKET, position: str | None = _POSITION) -> None:
    """Archive records again, after an upgrade or a repair. Exit status 1 if some still cannot be."""

    letters = _chosen(on_database(lambda engine: DeadLetters(engine).all()), bucket, position)

    async def work(url: str) -> list[str]:
        archiver = Archiver(url)
        try:
            return [f"{one.bucket}  {one.position}  {await _retry(archiver, one)}" for one in letters]
        finally:
            await archiver.close()

    lines = on_database_url(work)
    for line in lines:
        typer.echo(line)
    if any(not line.endswith("  archived") for line in lines):
        raise typer.Exit(1)


@app.command()
def drop(bucket: int = typer.Argument(...), position: str = typer.Argument(...)) -> None:
    """Delete a record for good."""
    if not on_database(lambda engine: DeadLetters(engine).drop(bucket, StreamPosition(position))):
        fail(f"there is no record at {position!r} of bucket {bucket}")


def _chosen(letters: list[DeadLetter], bucket: int | None, position: str | None) -> list[DeadLetter]:
    found = [
        letter
        for letter in letters
        if bucket in (None, letter.bucket) and position in (None, str(letter.position))
    ]
    if bucket is not None and not found:
        fail(f"there is no record at {position!r} of bucket {bucket}")
    return found


async def _retry(archiver: Archiver, letter: DeadLetter) -> str:
    batch = read_again(letter)
    if isinstance(batch, str):
        return batch
    for _ in range(MAX_TURNS):
        async with archiver.turn() as positions:
            if positions is not None:  # a worker archives just now otherwise
                refused = await archiver.write_again(batch, letter.bucket, letter.position)
                return refused or "archived"
        await asyncio.sleep(TURN_PAUSE_S)
    return "the archiver was at work all the time; try again"
