"""Change sets: drafts of changes of the catalogue, looked at, approved by another person, and applied as one."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from app.api.body import JsonRoute
from app.api.catalogue.editing import actor_of, expected_version
from app.api.catalogue.history_routes import SummaryOut, differences_out, warnings_of_stored, warnings_out
from app.api.changesets.items import check_name, patched_item, replaced_item
from app.api.changesets.schemas import (
    AppliedOut,
    ChangesetBody,
    ChangesetDetail,
    ChangesetId,
    ChangesetOut,
    ChangesetsOut,
    ChangesetsQuery,
    CheckOut,
    DiffOut,
    ItemBody,
    ItemDetail,
    ItemOut,
    NoteBody,
    OverlapOut,
    RebaseBody,
    RejectBody,
    RollBackBody,
    StepOut,
)
from app.api.deps import IfMatch, Ops, Reader, State, created, problems
from app.api.merge_patch import MergePatch, merge_patch_of
from app.api.rules.schemas import SimulationAnswer
from app.api.schemas import FieldProblem, Id, answer_of, sent_form
from app.errors import Problem
from app.keys import ApiKey
from app.state import ApiState
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.kind import Entry
from decisioning.changesets.changeset import Action, Changeset, possible_actions
from decisioning.changesets.changeset_service import ChangesetService
from decisioning.changesets.overlap import Overlap, find_overlaps, plan_changes
from decisioning.changesets.store_changesets import ChangesetStore

router = APIRouter(prefix="/v1/changesets", tags=["change sets"], route_class=JsonRoute)


class ChangesetEdit:
    """One request about change sets: who asks, and the revision that they have seen (``None``: any)."""

    def __init__(self, state: State, key: Ops, response: Response, if_match: IfMatch = None) -> None:
        self.state, self.response = state, response
        self.key, self.actor = key, actor_of(key)
        seen = expected_version(if_match)
        self.expected = seen if seen is not None and seen > 0 else None
        self.store = ChangesetStore(state.engine)
        self.service = ChangesetService(self.store, state.catalogues)

    def out(self, changeset: Changeset) -> ChangesetOut:
        """Answer with a change set, and send its ETag."""
        self.response.headers["ETag"] = f'"{changeset.revision}"'
        return _changeset_out(self.state, self.key, changeset)

    async def act(self, changeset_id: int, action: Action, note: str) -> ChangesetOut:
        """Take a change set to its next state."""
        return self.out(await self.store.act(changeset_id, action, self.actor, note, self.expected))

    async def adopt(self, changeset: Changeset, catalogue: Catalogue) -> AppliedOut:
        """Answer with what is published, which is in force here then."""
        await self.state.adopt(catalogue)
        return AppliedOut(
            catalog_version=catalogue.version,
            changeset=self.out(changeset),
            warnings=await warnings_of_stored(self.state, catalogue),
        )


ChangesetEditing = Annotated[ChangesetEdit, Depends()]


@router.get("", responses=problems())
async def read_changesets(
    state: State, key: Reader, query: Annotated[ChangesetsQuery, Query()]
) -> ChangesetsOut:
    """List change sets, the newest first, page by page."""
    # One more than is shown tells whether there is another page.
    found = await ChangesetStore(state.engine).page(query.state, query.before, query.limit + 1)
    shown = found[: query.limit]
    return ChangesetsOut(
        changesets=[_changeset_out(state, key, changeset) for changeset in shown],
        next=shown[-1].changeset_id if len(found) > query.limit else None,
        approvals=state.settings.approvals,
    )


@router.post("", status_code=201, responses=problems(404, 409, body=True) | created(ChangesetOut))
async def create_changeset(body: ChangesetBody, edit: ChangesetEditing) -> ChangesetOut:
    """Make a draft on top of the catalogue in force; with `inverse_of` the draft of what takes another one back."""
    if body.inverse_of is None:
        return edit.out(await edit.store.create(body.title, body.note, edit.actor))
    made = await edit.store.create_inverse(
        body.inverse_of, body.title, body.note, edit.actor, force=body.force
    )
    return edit.out(made)


@router.get("/{changeset_id}", responses=problems(404))
async def read_changeset(
    changeset_id: ChangesetId, state: State, key: Reader, response: Response
) -> ChangesetDetail:
    """A change set with its items, and all that was done with it."""
    store = ChangesetStore(state.engine)
    changeset = await store.find(changeset_id)
    response.headers["ETag"] = f'"{changeset.revision}"'
    return ChangesetDetail(
        **_changeset_out(state, key, changeset).model_dump(exclude={"items"}),
        items=[
            ItemDetail(
                kind=kind, id=name, removal=body is None, body=None if body is None else sent_form(body)
            )
            for kind, name, body in changeset.items
        ],
        trail=[answer_of(StepOut, step, id=step.name) for step in await store.steps(changeset_id)],
    )


@router.put("/{changeset_id}/items/{kind}/{thing:path}", responses=problems(404, 409, 412, body=True))
async def put_changeset_item(
    changeset_id: ChangesetId, kind: str, thing: str, body: ItemBody, edit: ChangesetEditing
) -> ChangesetOut:
    """Put a thing's new body, or its removal, into a change set. An approval ends with that.

    `thing` is the id, of a treatment `OFFER/TREATMENT`.
    """
    check_name(kind, thing)
    item = await replaced_item(edit.state, kind, thing, body.body)
    return edit.out(await edit.store.put_item(changeset_id, item, edit.actor, edit.expected))


@router.patch(
    "/{changeset_id}/items/{kind}/{thing:path}",
    responses=problems(404, 409, 412, body=True),
    openapi_extra=merge_patch_of({"value": 45}),
)
async def patch_changeset_item(
    changeset_id: ChangesetId, kind: str, thing: str, body: MergePatch, edit: ChangesetEditing
) -> ChangesetOut:
    """Change what is named (JSON Merge Patch) of an item, or else of the thing as it is in force, which becomes one."""
    check_name(kind, thing)
    changeset = await edit.store.find(changeset_id)
    item = await patched_item(edit.state, changeset, kind, thing, body)
    # On top of the item that was read: nobody else's edit is lost.
    seen = edit.expected or changeset.revision
    return edit.out(await edit.store.put_item(changeset_id, item, edit.actor, seen))


@router.delete("/{changeset_id}/items/{kind}/{thing:path}", responses=problems(404, 409, 412))
async def delete_changeset_item(
    changeset_id: ChangesetId, kind: str, thing: str, edit: ChangesetEditing
) -> ChangesetOut:
    """Take an item out of a change set. An approval ends with that."""
    check_name(kind, thing)
    return edit.out(await edit.store.drop_item(changeset_id, kind, thing, edit.actor, edit.expected))


@router.get("/{changeset_id}/diff", responses=problems(404))
async def diff_changeset(changeset_id: ChangesetId, state: State, key: Reader) -> DiffOut:
    """Tell what a change set changes in the catalogue as it is now; of one that was applied, what it changed then."""
    store = ChangesetStore(state.engine)
    changeset = await store.find(changeset_id)
    version, base, now = await store.standing(changeset)
    applied = changeset.applied_version is not None
    planned = await asyncio.to_thread(plan_changes, base if applied else now, changeset.items)
    return DiffOut(
        catalog_version=version,
        differences=differences_out(planned.differences),
        summary=answer_of(SummaryOut, planned.summary),
        words=[*planned.summary.lines()],
        overlaps=[] if applied else _overlaps_out(find_overlaps(base, now, changeset.items)),
    )


@router.post("/{changeset_id}/check", responses=problems(404, 409))
async def check_changeset(
    changeset_id: ChangesetId,
    state: State,
    key: Ops,
    placement: Annotated[
        Id | None, Query(description="run customers through this placement, before and after")
    ] = None,
    sample: Annotated[int, Query(ge=1, le=10_000, description="at most so many customers")] = 1000,
) -> CheckOut:
    """Check a change set as one: all mistakes by name, what others have changed, warnings, and a simulation."""
    store = ChangesetStore(state.engine)
    checked = await ChangesetService(store, state.catalogues).check(await store.find(changeset_id))
    errors = [_problem_of(mistake) for mistake in checked.mistakes]
    ok = not errors and not checked.overlaps
    catalogue = None if errors else await state.catalogues.changed(checked.version, checked.changes)
    return CheckOut(
        catalog_version=checked.version,
        ok=ok,
        errors=errors,
        overlaps=_overlaps_out(checked.overlaps),
        warnings=[] if catalogue is None else await warnings_out(state, catalogue),
        simulation=None
        if placement is None or errors
        else await _simulate(state, placement, checked.changes, sample),
    )


@router.post("/{changeset_id}/submit", responses=problems(404, 409, 412, body=True))
async def submit_changeset(changeset_id: ChangesetId, body: NoteBody, edit: ChangesetEditing) -> ChangesetOut:
    """Submit a draft to be approved. One that could not be applied is refused, with all that is wrong with it."""
    return edit.out(await edit.service.submit(changeset_id, edit.actor, body.note, edit.expected))


@router.post("/{changeset_id}/approve", responses=problems(404, 409, 412, body=True))
async def approve_changeset(
    changeset_id: ChangesetId, body: NoteBody, edit: ChangesetEditing
) -> ChangesetOut:
    """Approve a change set, as another person than its author and those who edited it.

    `If-Match` says what was looked at: without it, what was edited a moment ago would be approved unseen.
    """
    if edit.expected is None:
        raise Problem(
            422,
            "is needed: send the ETag of the change set as you have looked at it, such as '\"4\"'",
            "If-Match",
        )
    return await edit.act(changeset_id, "approve", body.note)


@router.post("/{changeset_id}/reject", responses=problems(404, 409, 412, body=True))
async def reject_changeset(
    changeset_id: ChangesetId, body: RejectBody, edit: ChangesetEditing
) -> ChangesetOut:
    """Do not approve a change set, or no longer. An edit makes it a draft again."""
    return await edit.act(changeset_id, "reject", body.reason)


@router.post("/{changeset_id}/withdraw", responses=problems(404, 409, 412, body=True))
async def withdraw_changeset(
    changeset_id: ChangesetId, body: NoteBody, edit: ChangesetEditing
) -> ChangesetOut:
    """Give a change set up. It stays to be read."""
    return await edit.act(changeset_id, "withdraw", body.note)


@router.post("/{changeset_id}/rebase", responses=problems(404, 409, 412, body=True))
async def rebase_changeset(
    changeset_id: ChangesetId, body: RebaseBody, edit: ChangesetEditing
) -> ChangesetOut:
    """Bring a change set to the catalogue as it is now, field by field. It is a draft then."""
    return edit.out(await edit.store.rebase(changeset_id, edit.actor, body.keep, edit.expected))


@router.post("/{changeset_id}/apply", responses=problems(404, 409, 412, body=True))
async def apply_changeset(changeset_id: ChangesetId, body: NoteBody, edit: ChangesetEditing) -> AppliedOut:
    """Publish a change set as one version of the catalogue.

    Refused (409) with each thing that others have changed since its base.
    """
    approvals = edit.state.settings.needs_approvals
    return await edit.adopt(
        *await edit.service.apply(changeset_id, edit.actor, body.note, edit.expected, approvals=approvals)
    )


@router.post("/{changeset_id}/rollback", responses=problems(404, 409, 412, body=True))
async def roll_back_changeset(
    changeset_id: ChangesetId, body: RollBackBody, edit: ChangesetEditing
) -> AppliedOut:
    """Take an applied change set back, as one version of the catalogue.

    Refused (409) with each thing that others have changed since, unless `force` says that this is lost. Where approvals
    are required it takes the role `admin`, or a change set with `inverse_of`.
    """
    approvals = edit.state.settings.needs_approvals
    return await edit.adopt(
        *await edit.store.roll_back(
            changeset_id, edit.actor, body.reason, edit.expected, approvals=approvals, force=body.force
        )
    )


def _changeset_out(state: ApiState, key: ApiKey, changeset: Changeset) -> ChangesetOut:
    """Return a change set as the owner of a key sees it; whoever only reads may do nothing with it."""
    may_act = key.role in ("ops", "admin")
    approvals = state.settings.needs_approvals
    possible = possible_actions(changeset, actor_of(key), approvals=approvals) if may_act else []
    items = [ItemOut(kind=kind, id=name, removal=body is None) for kind, name, body in changeset.items]
    return answer_of(ChangesetOut, changeset, items=items, possible=possible)


def _overlaps_out(overlaps: Sequence[Overlap]) -> list[OverlapOut]:
    return [OverlapOut(path=o.path, theirs=differences_out(o.theirs)) for o in overlaps]


def _problem_of(mistake: Any) -> FieldProblem:
    return FieldProblem(field=mistake.path, reason=str(mistake.error), entity=mistake.entity or None)


async def _simulate(
    state: ApiState, placement: str, changes: Sequence[Entry], sample: int
) -> SimulationAnswer:
    await state.refresh()
    found = await state.simulations.simulate_changes(
        state.current_catalogue(), placement, changes, {}, sample
    )
    return SimulationAnswer.model_validate(found)
