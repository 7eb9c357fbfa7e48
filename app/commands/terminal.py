"""What the commands share: files that are read, stores that are opened, and mistakes that are said in a line."""

import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn, TypeVar

import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from app.config import get_settings
from app.servers import server_urls
from bandits.errors import BanditsError
from decisioning.errors import DecisioningError, Invalid
from storage.errors import StorageError
from storage.postgres import STATEMENT_S, make_engine

T = TypeVar("T")


def fail(message: str, status: int = 1) -> NoReturn:
    """Say what is wrong, and end with an exit status."""
    typer.secho(f"nextbest: {message}", err=True, fg=typer.colors.RED)
    raise typer.Exit(status)


def said(error: Exception) -> str:
    """An error in words, with the field at fault if it names one."""
    return f"{error.field}: {error}" if isinstance(error, Invalid) else str(error)


def author() -> str:
    """Who types, for the audit trail."""
    try:
        return f"{getpass.getuser()} (command line)"
    except (OSError, KeyError):
        return "command line"


def read(file: Path, parse: Callable[[str], T], most_bytes: int, status: int = 1) -> T:
    """What ``parse`` makes of a file (``-``: the standard input); what is wrong with it is said with its name.

    Ends with ``status`` then.
    """
    try:
        data = sys.stdin.buffer.read(most_bytes + 1) if str(file) == "-" else file.read_bytes()
        if len(data) > most_bytes:
            fail(f"{file}: has more than {most_bytes} bytes", status)
        return parse(data.decode())
    except OSError as error:
        fail(f"{file}: {error.strerror}", status)
    except UnicodeDecodeError:
        fail(f"{file}: is not UTF-8", status)
    except (DecisioningError, StorageError) as error:
        fail(f"{file}: {said(error)}", status)


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

    with server_urls(get_settings()) as urls:
        try:
            return asyncio.run(run(urls.postgres_url))
        except (BanditsError, DecisioningError, StorageError) as error:
            fail(said(error))
