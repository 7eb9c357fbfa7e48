"""The history of the catalogue: versions, audit trail, rollback, and the whole of it as one YAML file."""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from app.api.body import JsonRoute
from app.api.catalogue.editing import Editing, actor_of, reason_alone
from app.api.deps import Ops, Reader, State, problems
from app.api.rules.schemas import SimulationAnswer
from app.api.schemas import Body, Id, Name, Text, WarningOut, answer_of, examples, shown
from app.catalog_check import check_entry, refusing
from app.catalog_schema import document_schema
from app.errors import Problem
from app.state import ApiState
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.checking.store_sent_facts import find_fact_warnings
from decisioning.catalog.checking.warnings import catalogue_warnings
from decisioning.catalog.diff import Difference, differences
from decisioning.catalog.store import ANY_VERSION
from decisioning.catalog.summary import Application, plan_application
from decisioning.catalog.yaml_document import MAX_BYTES, Document, read_document, to_yaml
from decisioning.changesets.store_changesets import ChangesetStore
from storage import clock
from storage.errors import PostgresUnavailable

log = logging.getLogger(__name__)

router = APIRouter(prefix="/v1", tags=["catalogue"], route_class=JsonRoute)

_YAML: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/yaml": {
                "schema": {"type": "string"},
                "example": "nextbest: 1\ngroups:\n  cards:\n    name: Cards\n    goal: grow\n",
            }
        },
    }
}

Delete = Annotated[bool, Query(description="delete what the document does not have; otherwise it stays")]

_EXPORT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The document", "content": {"application/yaml": {"schema": {"type": "object"}}}}
}


class DifferenceOut(BaseModel):
    """One value that differs: its path, before and after (null: not there, or its default)."""

    path: str
    before: Any = None
    after: Any = None


class TrailOut(BaseModel):
    """One entry of the audit trail."""

    version: int
    kind: str
    id: str
    author: str
    reason: str
    changed_at: datetime
    differences: list[DifferenceOut]


class ChangedThingOut(BaseModel):
    """A thing that is changed: the fields that differ, and what it loses of consent, rules, limits and the like."""

    path: str
    fields: list[str]
    lost: list[str]


class SummaryOut(BaseModel):
    """The changes that a document makes, by paths; `kept` is what stays although the document does not have it."""

    added: list[str]
    changed: list[ChangedThingOut]
    deleted: list[str]
    kept: list[str]


class ApplyAnswer(BaseModel):
    """The version of the catalogue that is in force, and what the document changes, value by value and by paths.

    ``warnings``: what was probably not meant, in the whole of the catalogue as it is, or would be, after the changes.
    """

    model_config = shown(
        {
            "catalog_version": 12,
            "dry_run": False,
            "differences": [{"path": "offers.gold.value", "before": 40, "after": 45}],
            "summary": {
                "added": [],
                "changed": [{"path": "offers.gold", "fields": ["value"], "lost": []}],
                "deleted": [],
                "kept": ["offers.silver"],
            },
            "warnings": [],
        }
    )

    catalog_version: int
    dry_run: bool = False
    differences: list[DifferenceOut]
    summary: SummaryOut
    warnings: list[WarningOut] = []


class VersionAnswer(BaseModel):
    """The version of the catalogue that is in force, and what changed.

    ``warnings``: what was probably not meant, in the whole of the catalogue as it is, or would be, after the changes.
    """

    model_config = shown(
        {
            "catalog_version": 12,
            "dry_run": False,
            "differences": [{"path": "offers.gold.value", "before": 40, "after": 45}],
            "warnings": [],
        }
    )

    catalog_version: int
    dry_run: bool = False
    differences: list[DifferenceOut] = []
    warnings: list[WarningOut] = []


class ProposedAnswer(BaseModel):
    """The change set that was made of a document, and what it changes, by paths."""

    changeset_id: int
    summary: SummaryOut


class RollbackRequest(Body):
    """The version to go back to, and the reason."""

    model_config = examples({"version": 11, "reason": "the new prices were wrong"})

    version: int = Field(ge=0)
    reason: Text = ""


class StatusRequest(Body):
    """The new status of an offer, and the reason."""

    model_config = examples({"status": "paused", "reason": "sold out"})

    status: Literal["draft", "scheduled", "live", "paused", "ended"]
    reason: Text = ""


@router.get("/catalog", responses=problems())
async def read_trail(
    state: State,
    key: Reader,
    before: Annotated[int | None, Query(ge=1, description="only older versions than this")] = None,
    kind: Annotated[Id | None, Query()] = None,
    id: Annotated[str | None, Query(max_length=130)] = None,
    limit: Annotated[
        int,
        Query(
            ge=1, le=1000, description="so many entries, and what else the last version among them changed"
        ),
    ] = 100,
    whole: Annotated[
        bool,
        Query(description="false: no more than `limit`, also if the last version among them changed more"),
    ] = True,
) -> list[TrailOut]:
    """The audit trail, newest first: who changed what, when and why."""
    trail = await state.catalogues.trail(before=before, kind=kind, name=id, limit=limit, whole=whole)
    return [
        answer_of(
            TrailOut,
            t,
            id=t.name,
            differences=differences([(t.kind, t.name, t.before)], [(t.kind, t.name, t.after)]),
        )
        for t in trail
    ]


@router.get("/catalog/warnings", responses=problems())
async def read_warnings(state: State, key: Reader) -> list[WarningOut]:
    """All that is allowed in the catalogue, and was probably not meant. `PUT` and `apply` answer with it as well."""
    return await warnings_out(state, state.current_catalogue())


@router.get("/catalog/export", responses=problems() | _EXPORT, response_class=Response)
async def export_catalog(
    state: State, key: Reader, version: Annotated[int | None, Query(ge=0)] = None
) -> Response:
    """The whole catalogue as one YAML document. Its ETag is the catalogue's version."""
    found, entries = await state.catalogues.entries(version)
    document = await asyncio.to_thread(to_yaml, entries)
    return Response(document, media_type="application/yaml", headers={"ETag": f'"{found}"'})


@router.post("/catalog/diff", responses=problems(body=True), openapi_extra=_YAML)
async def diff_catalog(request: Request, state: State, key: Reader, delete: Delete = False) -> ApplyAnswer:
    """Tell what applying a document would change. Nothing is changed; a document that is wrong is refused."""
    document = await _read_document(request)
    version, planned = await _plan(state, document, delete)
    async with refusing(document, state.catalogues, version, planned):
        catalogue = await state.catalogues.tried(version, planned.changes)
    return await _apply_answer(state, version, planned, catalogue, dry_run=True)


@router.post("/catalog/apply", responses=problems(412, body=True), openapi_extra=_YAML)
async def apply_catalog(
    request: Request,
    state: State,
    edit: Editing,
    dry_run: Annotated[bool, Query()] = False,
    delete: Delete = False,
) -> ApplyAnswer:
    """Add and change what the document has, in one step; with `delete`, delete all that it does not have.

    `If-Match` with the ETag of the export makes sure that nobody has changed anything meanwhile.
    """
    document = await _read_document(request)
    version, planned = await _plan(state, document, delete)
    if dry_run or not planned.changes:
        async with refusing(document, state.catalogues, version, planned):
            catalogue = await state.catalogues.tried(version, planned.changes)
        return await _apply_answer(state, version, planned, catalogue, dry_run=dry_run)
    # What is applied was compared with this version; on top of another one it would mean something else.
    expected = version if edit.expected in (None, ANY_VERSION) else edit.expected
    reason = edit.reason_alone()
    async with refusing(document, state.catalogues, version, planned):
        catalogue = await state.catalogues.apply(planned.changes, edit.author, reason, expected)
    await state.adopt(catalogue)
    return await _apply_answer(state, catalogue.version, planned, catalogue)


@router.post("/catalog/simulate", responses=problems(404, body=True), openapi_extra=_YAML)
async def simulate_catalog(
    request: Request,
    state: State,
    key: Ops,
    placement: Annotated[
        Id | None,
        Query(
            description="the placement that customers are run through; may be left out where there is only one"
        ),
    ] = None,
    delete: Delete = False,
    sample: Annotated[int, Query(ge=1, le=10_000, description="at most so many customers")] = 1000,
) -> SimulationAnswer:
    """Tell what applying a document would do to a sample of customers, as `POST /v1/simulations` does for changes."""
    document = await _read_document(request)
    version, planned = await _plan(state, document, delete)
    async with refusing(document, state.catalogues, version, planned):
        await state.catalogues.tried(version, planned.changes)
    await state.refresh()
    found = await state.simulations.simulate_changes(
        state.current_catalogue(), placement, planned.changes, {}, sample
    )
    return SimulationAnswer.model_validate(found)


@router.post(
    "/catalog/changeset",
    status_code=201,
    responses=problems(body=True),
    openapi_extra=_YAML,
)
async def propose_catalog(
    request: Request,
    state: State,
    key: Ops,
    title: Annotated[Name, Query(description="the title of the change set")],
    note: Annotated[Text, Query(description="for those who look at it")] = "",
    delete: Delete = False,
) -> ProposedAnswer:
    """Make a change set of what applying a document would change. Nothing is in force before that is applied."""
    document = await _read_document(request)
    version, planned = await _plan(state, document, delete)
    async with refusing(document, state.catalogues, version, planned):
        await state.catalogues.tried(version, planned.changes)
    store = ChangesetStore(state.engine)
    # On the version that it was compared with: what others have changed since is told, and not overwritten.
    made = await store.create(title, note, actor_of(state.settings, key), planned.changes, version)
    return ProposedAnswer(changeset_id=made.changeset_id, summary=answer_of(SummaryOut, planned.summary))


@router.get("/catalog/schema", responses=problems())
async def read_schema(key: Reader) -> dict[str, Any]:
    """The JSON Schema of documents, by which editors complete and check files."""
    return document_schema()


@router.post("/catalog/rollback", responses=problems(404, 412, body=True))
async def roll_back(body: RollbackRequest, state: State, key: Ops) -> VersionAnswer:
    """Make what was in force at a version the newest version. The history stays as it is."""
    _, now = await state.catalogues.entries()
    reason = reason_alone(state, key, body.reason)
    catalogue = await state.catalogues.rollback(body.version, key.name, reason)
    await state.adopt(catalogue)
    _, then = await state.catalogues.entries(catalogue.version)
    found = await asyncio.to_thread(differences, now, then)
    return VersionAnswer(
        catalog_version=catalogue.version,
        differences=differences_out(found),
        warnings=await warnings_of_stored(state, catalogue),
    )


@router.post("/offers/{offer_id}/status", responses=problems(404, 412, body=True))
async def change_status(offer_id: Id, body: StatusRequest, state: State, edit: Editing) -> VersionAnswer:
    """Publish, pause or end an offer."""
    seen, stored = await state.catalogues.newest("offer", offer_id)
    # The whole body is stored again: a change that somebody makes meanwhile must not be undone by it.
    if edit.expected is None:
        edit.expected = seen
    edit.reason = body.reason or edit.reason
    version = await edit.put("offer", offer_id, {**stored, "status": body.status})
    before, after = stored.get("status", "live"), body.status
    return VersionAnswer(
        catalog_version=version,
        differences=[DifferenceOut(path=f"offers.{offer_id}.status", before=before, after=after)],
        warnings=edit.warnings,
    )


# Documents are large, so they are read, written and compared in threads: decisions go on meanwhile.
async def _read_document(request: Request) -> Document:
    body = await request.body()
    if len(body) > MAX_BYTES:
        raise Problem(413, f"the document has {len(body)} bytes; at most {MAX_BYTES} are taken")
    try:
        return await asyncio.to_thread(read_document, body.decode(), check_entry)
    except UnicodeDecodeError:
        raise Problem(422, "the document is not UTF-8", "body") from None


async def _plan(state: ApiState, document: Document, delete: bool) -> tuple[int, Application]:
    version, current = await state.catalogues.entries()
    return version, await asyncio.to_thread(plan_application, current, document.entries, delete=delete)


async def _apply_answer(
    state: ApiState, version: int, planned: Application, catalogue: Catalogue, *, dry_run: bool = False
) -> ApplyAnswer:
    return ApplyAnswer(
        catalog_version=version,
        dry_run=dry_run,
        differences=differences_out(planned.differences),
        summary=answer_of(SummaryOut, planned.summary),
        warnings=await (warnings_out if dry_run else warnings_of_stored)(state, catalogue),
    )


async def warnings_of_stored(state: ApiState, catalogue: Catalogue) -> list[WarningOut]:
    """Find warnings for an answer to a change that is stored: an error now would say that it is not."""
    try:
        return await warnings_out(state, catalogue)
    except Exception:
        log.exception("warnings of version %d could not be found, so its answer has none", catalogue.version)
        return []


async def warnings_out(state: ApiState, catalogue: Catalogue) -> list[WarningOut]:
    """Find warnings of a whole catalogue for an answer; without Postgres, those that can be told without it."""
    found = await asyncio.to_thread(catalogue_warnings, catalogue, clock.now_ms())
    with suppress(PostgresUnavailable):
        found += await find_fact_warnings(state.engine, catalogue)
    return [WarningOut.model_validate(warning) for warning in found]


def differences_out(found: Iterable[Difference]) -> list[DifferenceOut]:
    """Return differences as answers have them."""
    return [answer_of(DifferenceOut, difference) for difference in found]
