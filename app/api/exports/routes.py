"""Exports: asked for here, written by a worker, and downloaded file by file."""

import asyncio
import secrets
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse

from app.api.body import JsonRoute
from app.api.deps import Scientist, State, problems
from app.api.exports.schemas import DayName, ExportBody, ExportOut, PartName
from app.api.schemas import Id, answer_of
from app.errors import Problem
from decisioning.errors import NotFound
from decisioning.evaluation.store_jobs import Job
from decisioning.exporting.export_service import ExportRequest
from decisioning.exporting.store_jobs import as_json, folder_name

router = APIRouter(prefix="/v1/exports", tags=["exports"], route_class=JsonRoute)

_ADMIN_ALONE = "sensitive values are exported for an admin alone"
PARQUET = "application/vnd.apache.parquet"
DSJSON = "application/x-ndjson"
_FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file",
        "content": {
            PARQUET: {"schema": {"type": "string", "format": "binary"}},
            DSJSON: {"schema": {"type": "string"}},
        },
    }
}


@router.post("", status_code=202, responses=problems(409, body=True))
async def ask_export(body: ExportBody, state: State, key: Scientist) -> ExportOut:
    """Ask for the decisions, outcomes, features, customers or arms as files.

    A worker writes them, in the background: ask for the list at `GET /v1/exports/{export_id}`.
    """
    if body.include and key.role != "admin":
        raise Problem(403, f"{_ADMIN_ALONE}: leave them out", "include")
    request = ExportRequest(body.kind, body.since, body.until, body.format, include=tuple(body.include))
    request.check()
    return _export_out(await state.exports.ask(f"ex-{secrets.token_hex(8)}", as_json(request), key.name))


@router.get("/{export_id}", responses=problems(404))
async def read_export(export_id: Id, state: State, key: Scientist) -> ExportOut:
    """Read the progress of an export, and its files when it is done. Both are kept for 7 days."""
    return _export_out(await state.exports.get(export_id))


@router.get("/{export_id}/files/{day}/{name}", response_class=FileResponse, responses=_FILE | problems(404))
async def download_export(
    export_id: Id, day: DayName, name: PartName, state: State, key: Scientist
) -> FileResponse:
    """Download a file of an export that is done; one with sensitive values takes a key of the role `admin`."""
    found = await state.exports.get(export_id)
    if found.request.get("include") and key.role != "admin":
        raise Problem(403, f"{_ADMIN_ALONE}: ask for an export without them")
    files = (found.result or {}).get("files", ())
    if not any((file["day"], file["name"]) == (day, name) for file in files):
        raise NotFound("file of this export", f"{day}/{name}")
    kind = found.request["kind"]
    folder = folder_name(export_id, await state.exports.installation())
    path: Path = state.settings.export_dir / folder / kind / f"day={day}" / name
    if not await asyncio.to_thread(path.is_file):
        # Written by a worker that does not share the folder, or removed by hand.
        raise NotFound("file in NEXTBEST_EXPORT_DIR of the process that answers", f"{day}/{name}")
    media_type = DSJSON if name.endswith(".dsjson") else PARQUET
    return FileResponse(path, media_type=media_type, filename=f"{kind}-{day}-{name}")


def _export_out(found: Job) -> ExportOut:
    asked = {name: found.request[name] for name in ("kind", "since", "until", "format")}
    result = found.result or {}
    return answer_of(
        ExportOut,
        found,
        export_id=found.job_id,
        asked_by=found.author,
        rows=result.get("rows"),
        open=result.get("open"),
        files=result.get("files", []),
        include=found.request.get("include", []),
        **asked,
    )
