"""`nextbest deadletters`: records of the log that could not be archived, and were set aside."""

import asyncio

import typer

from app.commands.terminal import fail, on_database, on_servers
from app.config import get_settings
from app.embedded.server_urls import ServerUrls
from decisioning.events.store_inbox import Inbox
from decisioning.log.store_archiver import Archiver
from decisioning.log.store_dead_letters import INBOX, DeadLetter, DeadLetters, read_again
from decisioning.model.position import StreamPosition
from storage.clock import to_iso, to_ms
from storage.postgres import make_engine
from storage.redis import make_redis

app = typer.Typer()

MAX_TURNS = 100
_PUT_BACK = "put back"
_DONE = ("archived", _PUT_BACK)
TURN_PAUSE_S = 0.1

_INBOX_NAME = "events"
_BUCKET = typer.Argument(
    None, help="the bucket of one record, or `events` for the inbox; without it, all of them"
)
_POSITION = typer.Argument(None, help="its position")


@app.command("list")
def list_letters() -> None:
    """Show what was set aside: bucket, position, when, and why."""
    for letter in on_database(lambda engine: DeadLetters(engine).all()):
        at = to_iso(to_ms(letter.set_aside_at))
        typer.echo(f"{_name_of(letter)}  {letter.position}  {at}  {letter.reason}")


@app.command()
def show(bucket: str = typer.Argument(...), position: str = typer.Argument(...)) -> None:
    """Show a record as it was logged, field by field. It may hold what is known of a customer."""
    for letter in _chosen(on_database(lambda engine: DeadLetters(engine).all()), bucket, position):
        for name, value in letter.fields.items():
            typer.echo(f"{name.decode(errors='backslashreplace')}: {value.decode(errors='backslashreplace')}")


@app.command()
def retry(bucket: str | None = _BUCKET, position: str | None = _POSITION) -> None:
    """Archive records again, after an upgrade or a repair; put events back. Exit status 1 if some still cannot be."""

    letters = _chosen(on_database(lambda engine: DeadLetters(engine).all()), bucket, position)

    async def work(urls: ServerUrls) -> list[tuple[str, str]]:
        archiver, redis = Archiver(urls.postgres_url), make_redis(urls.redis_url)
        engine = make_engine(urls.postgres_url, pool_size=1)
        inbox = Inbox(redis, get_settings().event_stream, "")
        try:
            return [
                (
                    f"{_name_of(one)}  {one.position}",
                    await (
                        _put_back(inbox, DeadLetters(engine), one)
                        if one.bucket == INBOX
                        else _retry(archiver, one)
                    ),
                )
                for one in letters
            ]
        finally:
            await archiver.close()
            await redis.aclose()
            await engine.dispose()

    lines = on_servers(work)
    for name, came_of_it in lines:
        typer.echo(f"{name}  {came_of_it}")
    if any(came_of_it not in _DONE for _, came_of_it in lines):
        raise typer.Exit(1)


@app.command()
def drop(bucket: str = typer.Argument(...), position: str = typer.Argument(...)) -> None:
    """Delete a record for good."""
    if not on_database(lambda engine: DeadLetters(engine).drop(_bucket_of(bucket), StreamPosition(position))):
        fail(f"there is no record at {position!r} of bucket {bucket}")


def _name_of(letter: DeadLetter) -> str:
    return _INBOX_NAME if letter.bucket == INBOX else str(letter.bucket)


def _bucket_of(name: str) -> int:
    if name == _INBOX_NAME:
        return INBOX
    if not name.isascii() or not name.isdigit():
        fail(f"{name!r} is no bucket: write a number, or {_INBOX_NAME}")
    return int(name)


def _chosen(letters: list[DeadLetter], bucket: str | None, position: str | None) -> list[DeadLetter]:
    number = None if bucket is None else _bucket_of(bucket)
    found = [
        letter
        for letter in letters
        if number in (None, letter.bucket) and position in (None, str(letter.position))
    ]
    if bucket is not None and not found:
        fail(f"there is no record at {position!r} of bucket {bucket}")
    return found


async def _put_back(inbox: Inbox, letters: DeadLetters, letter: DeadLetter) -> str:
    """Put an event back into the inbox, where a worker looks at it again."""
    if not get_settings().event_stream:
        return "no worker would take it: set NEXTBEST_EVENT_STREAM"
    await inbox.put(letter.fields)
    await letters.drop(letter.bucket, letter.position)
    return _PUT_BACK


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
