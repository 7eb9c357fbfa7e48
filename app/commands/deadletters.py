"""`nextbest deadletters`: records of the log that could not be archived, and were set aside."""

import typer

from app.commands.terminal import author, fail, on_database, on_servers
from app.config import get_settings
from app.embedded.server_urls import ServerUrls
from decisioning.events.retrying_service import Retried, Retrying
from decisioning.events.store_inbox import Inbox
from decisioning.log.store_archiver import Archiver
from decisioning.log.store_dead_letters import INBOX, INBOX_NAME, DeadLetter, DeadLetters, Deed
from decisioning.model.position import StreamPosition
from storage.clock import to_iso, to_ms
from storage.postgres import make_engine
from storage.redis import make_redis

app = typer.Typer()

_BUCKET = typer.Argument(
    None, help="the bucket of one record, or `events` for the inbox; without it, all of them"
)
_POSITION = typer.Argument(None, help="its position")
_REASON = typer.Option("", help="why, for the trail")


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
def retry(bucket: str | None = _BUCKET, position: str | None = _POSITION, reason: str = _REASON) -> None:
    """Archive records again, after an upgrade or a repair; put events back. Exit status 1 if some still cannot be."""

    letters = _chosen(on_database(lambda engine: DeadLetters(engine).all()), bucket, position)

    async def work(urls: ServerUrls) -> list[Retried]:
        archiver, redis = Archiver(urls.postgres_url), make_redis(urls.redis_url)
        engine = make_engine(urls.postgres_url, pool_size=1)
        stream = get_settings().event_stream
        retrying = Retrying(archiver, DeadLetters(engine), Inbox(redis, stream, "") if stream else None)
        try:
            return [await retrying.retry(one, Deed(author(), reason)) for one in letters]
        finally:
            await archiver.close()
            await redis.aclose()
            await engine.dispose()

    done = on_servers(work)
    for one in done:
        said = one.reason or one.status.replace("_", " ")
        typer.echo(f"{_name_of(one.letter)}  {one.letter.position}  {said}")
    if not all(one.is_settled for one in done):
        raise typer.Exit(1)


@app.command()
def drop(
    bucket: str = typer.Argument(...), position: str = typer.Argument(...), reason: str = _REASON
) -> None:
    """Delete a record for good."""
    place = (_bucket_of(bucket), StreamPosition(position))
    if not on_database(lambda engine: DeadLetters(engine).drop([place], Deed(author(), reason))):
        fail(f"there is no record at {position!r} of bucket {bucket}")


def _name_of(letter: DeadLetter) -> str:
    return INBOX_NAME if letter.bucket == INBOX else str(letter.bucket)


def _bucket_of(name: str) -> int:
    if name == INBOX_NAME:
        return INBOX
    if not name.isascii() or not name.isdigit():
        fail(f"{name!r} is no bucket: write a number, or {INBOX_NAME}")
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
