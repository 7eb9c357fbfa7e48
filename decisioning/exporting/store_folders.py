"""Folders that exports on the command line have been written to, by host: they may have rows of persons."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from profiles.privacy.store_actions import note_action
from storage.postgres import transaction

_NOTE = text("""
INSERT INTO export_folders (host, folder, kind, author) VALUES (:host, :folder, :kind, :author)
ON CONFLICT (host, folder, kind) DO UPDATE SET author = excluded.author, written_at = now()
""")
_ALL = text("SELECT host, folder, kind, author, written_at FROM export_folders ORDER BY host, folder, kind")
_FORGET = text(
    "DELETE FROM export_folders WHERE host = :host AND folder = :folder"
    " AND kind = coalesce(cast(:kind AS text), kind) RETURNING kind"
)


@dataclass(frozen=True, slots=True)
class WrittenFolder:
    """A kind of export in a folder, by its absolute path on a host, and who wrote there last, and when."""

    host: str
    folder: str
    kind: str
    author: str
    written_at: datetime


@dataclass(frozen=True, slots=True)
class FolderStore:
    """Folders in Postgres. Methods raise ``PostgresUnavailable``."""

    engine: AsyncEngine

    async def note(self, host: str, folder: str, kind: str, author: str) -> None:
        """Note that somebody writes a kind of export to a folder."""
        values = {"host": host, "folder": folder, "kind": kind, "author": author}
        async with transaction(self.engine) as connection:
            await connection.execute(_NOTE, values)

    async def all(self) -> list[WrittenFolder]:
        """Read all folders, by host and path."""
        async with transaction(self.engine) as connection:
            return [WrittenFolder(**row._mapping) for row in await connection.execute(_ALL)]

    async def forget(self, host: str, folder: str, kind: str | None, author: str, reason: str) -> int:
        """Forget a folder that has been deleted; returns how many kinds were in it. It is in the trail.

        ``kind``: that one alone; all if ``None``.
        """
        values = {"host": host, "folder": folder, "kind": kind}
        async with transaction(self.engine) as connection:
            kinds = sorted(await connection.scalars(_FORGET, values))
            if kinds:
                details = {"host": host, "folder": folder, "kinds": kinds}
                await note_action(connection, "folder_forgotten", None, author, reason, details)
        return len(kinds)
