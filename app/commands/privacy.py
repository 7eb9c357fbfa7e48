"""`nextbest privacy`: the trail of what was done with persons' data, retention at once, and folders of exports."""

import json
import socket
from pathlib import Path
from typing import Any

import typer

from app.api.privacy.schemas import ExportFolder, FolderQuery, TrailEntry
from app.api.privacy.services import run_retention
from app.api.schemas import answer_of
from app.commands.log import with_state
from app.commands.terminal import author, checked, fail
from app.state import ApiState
from decisioning.exporting.store_folders import FolderStore, WrittenFolder
from profiles.privacy.store_actions import PrivacyTrail

app = typer.Typer()


@app.command()
def trail(
    customer_id: str | None = typer.Option(
        None, "--customer", help="only what was done with the data of this customer"
    ),
    limit: int = typer.Option(100, min=1, max=1000, help="entries, the newest first"),
) -> None:
    """Show who did what with the data of persons, and when: an entry a line, as JSON."""

    async def work(state: ApiState) -> list[dict[str, Any]]:
        found = await PrivacyTrail(state.engine).read(customer_id, None, limit)
        return [answer_of(TrailEntry, entry).model_dump(mode="json") for entry in found]

    for entry in with_state(work):
        typer.echo(json.dumps(entry, ensure_ascii=False))


@app.command()
def retention(
    run: bool | None = typer.Option(
        None, "--run/--dry-run", help="remove it, or only say what would be removed", show_default=False
    ),
    reason: str = typer.Option("", help="for the trail: no personal data"),
) -> None:
    """Remove what is older than it may be (NEXTBEST_RETENTION), or say what that is; both are in the trail."""
    if run is None:
        fail("say --dry-run to see what would be removed, or --run to remove it")
    found = with_state(lambda state: run_retention(state, author(), reason, dry=not run))
    for one in found.removed:
        typer.echo(f"{one.what}: {one.removed}, of before {one.before:%Y-%m-%d %H:%M} UTC")
    limits = ", ".join(f"{table}:{days}" for table, days in found.days.items()) or "none"
    said = "would be removed" if found.dry_run else "removed"
    typer.echo(f"{len(found.removed)} {said} (limits: {limits}, and those of types of events)")


@app.command()
def folders() -> None:
    """Show the folders that `nextbest export` has written persons into: one a line, as JSON."""

    async def work(state: ApiState) -> list[WrittenFolder]:
        return await FolderStore(state.engine).all()

    for one in with_state(work):
        typer.echo(answer_of(ExportFolder, one).model_dump_json())


@app.command("forget-folder")
def forget_folder(
    folder: Path = typer.Argument(..., help="the folder that exports were written to"),
    host: str | None = typer.Option(None, help="the host that it was on; this one if left out"),
    kind: str | None = typer.Option(None, help="this kind alone, such as customers"),
    reason: str = typer.Option("", help="for the trail: no personal data"),
) -> None:
    """Forget a folder that you have deleted, so that no erasure names it. Its files are not touched."""
    path = str(folder) if host is not None else str(folder.resolve())
    values = {"host": host or socket.gethostname(), "folder": path, "kind": kind, "reason": reason}
    query: FolderQuery = checked(FolderQuery, values)
    said = query.host, query.folder, query.kind

    def work(state: ApiState) -> Any:
        return FolderStore(state.engine).forget(*said, author(), query.reason)

    if not with_state(work):
        fail(f"no export was written to {query.folder} on {query.host}: see nextbest privacy folders")
    typer.echo(f"{query.folder} on {query.host} is forgotten")
