"""Privacy: what is held on a person, and the trail of what was done with it."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.body import JsonRoute
from app.api.cursors import DECISIONS
from app.api.deps import Ops, State, problems
from app.api.paths import CUSTOMER_ID
from app.api.privacy.schemas import (
    ExportFolder,
    ExportFolders,
    FolderQuery,
    PersonOut,
    PersonQuery,
    RetentionBody,
    RetentionEntry,
    RetentionOut,
    RetentionRun,
    TrailEntry,
    TrailOut,
    TrailQuery,
)
from app.api.privacy.services import exporter_of, run_retention
from app.api.schemas import PathCustomerId, answer_of
from decisioning.errors import NotFound
from decisioning.exporting.store_folders import FolderStore
from decisioning.privacy.store_retention import Retention
from profiles.privacy.store_actions import PrivacyTrail

MAX_RETENTION_ACTIONS = 100

router = APIRouter(prefix="/v1", tags=["privacy"], route_class=JsonRoute)


@router.get(f"/customers/{CUSTOMER_ID}/export", responses=problems())
async def export_person(
    customer_id: PathCustomerId, state: State, key: Ops, query: Annotated[PersonQuery, Query()]
) -> PersonOut:
    """Everything that is held on a person: record, propensities, lists, contacts, and the log with all decisions.

    The first page has all but older decisions. Of whom nothing is held, an export is empty. Each call is in the trail.
    """
    before = None if query.before is None else DECISIONS.parse(query.before)
    found = await exporter_of(state).page(customer_id, key.name, before, query.limit)
    behind = found["next"]
    return PersonOut.model_validate(found | {"next": None if behind is None else f"{behind[0]}:{behind[1]}"})


@router.get("/privacy/actions", responses=problems())
async def read_privacy_trail(state: State, key: Ops, query: Annotated[TrailQuery, Query()]) -> TrailOut:
    """The trail of what was done with the data of persons, the newest first: who, when, why, how much; no ids."""
    trail = PrivacyTrail(state.engine)
    found = await trail.read(query.customer_id, query.before, query.limit + 1)
    entries = found[: query.limit]
    return TrailOut(
        actions=[answer_of(TrailEntry, entry) for entry in entries],
        next=entries[-1].action_id if len(found) > query.limit else None,
    )


@router.post("/privacy/retention", responses=problems(409, body=True))
async def start_retention(body: RetentionBody, state: State, key: Ops) -> RetentionRun:
    """Remove now what is older than it may be, or say what that would be (`dry_run`, the default)."""
    return await run_retention(state, key.name, body.reason, dry=body.dry_run)


@router.get("/privacy/retention", responses=problems())
async def read_retention(state: State, key: Ops) -> RetentionOut:
    """The last 100 things that were removed since they were older than they may be (`NEXTBEST_RETENTION`)."""
    found = await Retention(state.engine, {}).actions(MAX_RETENTION_ACTIONS)
    return RetentionOut(removed=[answer_of(RetentionEntry, one) for one in found])


@router.get("/privacy/folders", responses=problems())
async def read_export_folders(state: State, key: Ops) -> ExportFolders:
    """The folders that `nextbest export` has written persons into: nextbest cannot erase anybody there."""
    found = await FolderStore(state.engine).all()
    return ExportFolders(folders=[answer_of(ExportFolder, one) for one in found])


@router.delete("/privacy/folders", status_code=204, responses=problems(404))
async def forget_export_folder(state: State, key: Ops, query: Annotated[FolderQuery, Query()]) -> Response:
    """Forget a folder that you have deleted, so that no erasure names it. It is in the trail.

    Files in it are not touched.
    """
    said = query.host, query.folder, query.kind
    if not await FolderStore(state.engine).forget(*said, key.name, query.reason):
        raise NotFound("folder of exports", f"{query.host}:{query.folder}")
    return Response(status_code=204)
