"""Helpers of the commands: files are read, stores opened, and mistakes said in a line."""

import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy.ext.asyncio import AsyncEngine

from app.config import Settings, get_settings
from app.embedded.server_urls import ServerUrls
from app.errors import field_errors
from app.servers import has_database, server_urls
from bandits.errors import BanditsError
from decisioning.catalog.yaml_values import DocumentError
from decisioning.errors import DecisioningError, Invalid
from storage.errors import StorageError
from storage.postgres import STATEMENT_S, make_engine

T = TypeVar("T")


def fail(message: str, status: int = 1) -> NoReturn:
    """Say what is wrong, and end with an exit status."""
    typer.secho(f"nextbest: {message}", err=True, fg=typer.colors.RED)
    raise typer.Exit(status)


def describe_error(error: Exception) -> str:
    """Describe an error, with the field at fault if it names one."""
    return f"{error.field}: {error}" if isinstance(error, Invalid) else str(error)


def checked(kind: Any, value: Any, field: str = "body") -> Any:
    """Check a value as requests are checked. ``kind``: a model, or a type of the schemas; ``field``: its name.

    What is wrong is said in a line, with exit status 1.
    """
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        found = field_errors(error.errors(), field)
        fail("; ".join(f"{one['field']}: {one['reason']}" for one in found))


def describe_document(file: str, error: DocumentError) -> str:
    """Describe all mistakes of a document, a line each: its file and line, the thing, the field, and the reason."""
    lines = []
    for mistake in error.mistakes:
        place = file if mistake.line is None else f"{file}:{mistake.line}"
        field = mistake.field
        if mistake.entity is not None:
            own = field.removeprefix(mistake.entity).removeprefix(".")
            field = f"{mistake.entity}: {own}" if own else mistake.entity
        lines.append(f"{place}: {field}: {mistake.reason}")
    if len(lines) == 1:
        return lines[0]
    return "\n".join([f"{file} has {len(lines)} mistakes; nothing was changed", *lines])


def author() -> str:
    """Name the user who types, for the audit trail."""
    try:
        return f"{getpass.getuser()} (command line)"
    except (OSError, KeyError):
        return "command line"


def read_file(file: Path, parse: Callable[[str], T], max_bytes: int, status: int = 1) -> T:
    """Read a file (``-``: the standard input) and parse it; what is wrong is said with its name, and ``status``."""
    try:
        data = sys.stdin.buffer.read(max_bytes + 1) if str(file) == "-" else file.read_bytes()
        if len(data) > max_bytes:
            fail(f"{file}: has more than {max_bytes} bytes", status)
        return parse(data.decode())
    except OSError as error:
        fail(f"{file}: {error.strerror}", status)
    except UnicodeDecodeError:
        fail(f"{file}: is not UTF-8", status)
    except DocumentError as error:
        fail(describe_document(str(file), error), status)
    except (DecisioningError, StorageError) as error:
        fail(f"{file}: {describe_error(error)}", status)


@contextmanager
def progress_bar(task: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error until the block ends. Yields what it is told: (done, total)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task(task, total=None)
        yield lambda done, total: bar.update(shown, completed=done, total=total)


def on_database(
    work: Callable[[AsyncEngine], Awaitable[T]], *, pool_size: int = 1, statement_s: float = STATEMENT_S
) -> T:
    """Run with the database; what is wrong is said in a line, with exit status 1."""

    async def run(url: str) -> T:
        engine = make_engine(url, pool_size=pool_size, statement_s=statement_s)
        try:
            return await work(engine)
        finally:
            await engine.dispose()

    return on_database_url(run)


def on_database_url(work: Callable[[str], Awaitable[T]]) -> T:
    """Run with the database's address; what is wrong is said in a line, with exit status 1."""

    return on_servers(lambda urls: work(urls.postgres_url))


def on_servers(work: Callable[[ServerUrls], Awaitable[T]]) -> T:
    """Run with the addresses of both servers; what is wrong is said in a line, with exit status 1."""

    async def run(urls: ServerUrls) -> T:
        return await work(urls)

    with existing_servers(get_settings()) as urls:
        try:
            return asyncio.run(run(urls))
        except (BanditsError, DecisioningError, StorageError) as error:
            fail(describe_error(error))


@contextmanager
def existing_servers(settings: Settings) -> Iterator[ServerUrls]:
    """Yield the servers' addresses, as ``server_urls`` does; where there are none yet, say so with exit status 1.

    A command that reads or changes what is there has nothing to do with an empty database, and makes none.
    """
    if settings.postgres_url is None and not has_database(settings.data_dir):
        fail(
            f"there is no database in {settings.data_dir} (NEXTBEST_DATA_DIR): start one with `nextbest up`,"
            " or set NEXTBEST_POSTGRES_URL and NEXTBEST_REDIS_URL"
        )
    with server_urls(settings) as urls:
        yield urls
