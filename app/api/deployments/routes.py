"""The policies of a placement: their stages, control groups, apprenticeship and guardrails."""

from dataclasses import asdict

from fastapi import APIRouter, Response

from app.api.body import JsonRoute
from app.api.catalogue.editing import Edit, RollingBack, Staging
from app.api.deployments.schemas import (
    ApprenticeBody,
    AutopilotBody,
    AutopilotOut,
    ControlsBody,
    GuardrailsBody,
    RollbackBody,
    StagedOut,
    StageRequest,
    StagesOut,
    TurnOut,
)
from app.api.deps import Reader, State, problems
from app.api.merge_patch import MergePatch, merge_patch_of, merged_body
from app.api.schemas import Id, answer_of
from app.errors import Problem
from app.state import ApiState
from bandits.policy import PolicyKey
from decisioning.catalog.store import Published
from decisioning.errors import Invalid
from decisioning.model.deployment import Autopilot, ControlGroup, Deployment, Guardrails, champion_of
from decisioning.model.entities import Placement
from decisioning.policies.store_rows import RegisteredPolicy
from decisioning.rollout.service import RolloutService, policies_of
from decisioning.rollout.stages import stage_of
from storage.clock import to_datetime

router = APIRouter(prefix="/v1/placements/{placement_id}", tags=["policies"], route_class=JsonRoute)


@router.get("/policies", responses=problems(404))
async def read_stages(placement_id: Id, state: State, key: Reader, response: Response) -> StagesOut:
    """List the policies that decide here, for whom and since when, and those that could."""
    return await _stages_out(state, placement_id, response)


@router.post("/policies", responses=problems(404, 409, 412, body=True))
async def change_stage(placement_id: Id, body: StageRequest, edit: Staging) -> StagesOut:
    """Give a policy a stage: shadow, then canary for a share of the customers, then champion; or retired.

    A canary that is given another share keeps its customers as it grows. It is in force everywhere within a second.
    """
    key = await _policy_key(body, edit.state)
    done = await _stager_for(edit, body.reason).stage(
        placement_id, key, body.stage, share=body.share, force=body.force
    )
    return await _adopt_and_answer(edit, placement_id, done)


@router.post("/policies/rollback", responses=problems(404, 409, 412, body=True))
async def roll_back_policy(placement_id: Id, body: RollbackBody, edit: RollingBack) -> StagesOut:
    """End the canary, or, without one, put the champion before this one back."""
    return await _adopt_and_answer(
        edit, placement_id, await _stager_for(edit, body.reason).roll_back(placement_id)
    )


@router.put("/controls", responses=problems(404, 412, body=True))
async def put_controls(placement_id: Id, body: ControlsBody, edit: Staging) -> StagesOut:
    """Set the standing control groups, which show what the rest is worth."""
    groups = [ControlGroup(control.kind, control.share) for control in body.controls]
    return await _adopt_and_answer(
        edit, placement_id, await _stager_for(edit, body.reason).set_controls(placement_id, groups)
    )


@router.put("/apprentice", responses=problems(404, 412, body=True))
async def put_apprentice(placement_id: Id, body: ApprenticeBody, edit: Staging) -> StagesOut:
    """Answer the caller's own choice (`baseline` of a request) while policies only learn from it, or no longer."""
    done = await _stager_for(edit, body.reason).set_apprentice(placement_id, body.on)
    return await _adopt_and_answer(edit, placement_id, done)


@router.put("/guardrails", responses=problems(404, 412, body=True))
async def put_guardrails(placement_id: Id, body: GuardrailsBody, edit: Staging) -> StagesOut:
    """Say when a canary is rolled back by itself."""
    guardrails = Guardrails(**body.model_dump(exclude={"reason"}))
    done = await _stager_for(edit, body.reason).set_guardrails(placement_id, guardrails)
    return await _adopt_and_answer(edit, placement_id, done)


@router.patch(
    "/guardrails",
    responses=problems(404, 412, body=True),
    openapi_extra=merge_patch_of({"margin": 0.01, "reason": "a little worse is fine while it learns"}),
)
async def patch_guardrails(placement_id: Id, body: MergePatch, edit: Staging) -> StagesOut:
    """Change what is named of the guardrails (JSON Merge Patch); null stands for the default."""
    current = asdict(edit.state.current_catalogue().deployment(placement_id).guardrails)
    return await put_guardrails(placement_id, merged_body(GuardrailsBody, current, body), edit)


@router.put("/autopilot", responses=problems(404, 412, body=True))
async def put_autopilot(placement_id: Id, body: AutopilotBody, edit: Staging) -> StagesOut:
    """Switch the autopilot on: it tries candidates out, promotes those that are better, and tells each step's reason.

    What it is trying out goes on if it is on already. People's changes win; each step is in the audit trail.
    """
    settings = Autopilot(**body.model_dump(exclude={"reason"}))
    done = await _stager_for(edit, body.reason).set_autopilot(placement_id, settings)
    return await _adopt_and_answer(edit, placement_id, done)


@router.patch(
    "/autopilot",
    responses=problems(404, 412, body=True),
    openapi_extra=merge_patch_of({"min_days": 3, "reason": "weekends are different"}),
)
async def patch_autopilot(placement_id: Id, body: MergePatch, edit: Staging) -> StagesOut:
    """Change what is named of the autopilot's settings while it is on (JSON Merge Patch); null: the default."""
    autopilot = edit.state.current_catalogue().deployment(placement_id).autopilot
    if autopilot is None:
        raise Problem(404, "the autopilot is off: switch it on with PUT")
    current = {field: getattr(autopilot, field) for field in AutopilotBody.model_fields if field != "reason"}
    return await put_autopilot(placement_id, merged_body(AutopilotBody, current, body), edit)


@router.delete("/autopilot", responses=problems(404, 412))
async def delete_autopilot(placement_id: Id, edit: RollingBack) -> StagesOut:
    """Switch the autopilot off: its own canary or shadow ends in the same change, and the champion stays."""
    done = await _stager_for(edit, "").set_autopilot(placement_id, None)
    return await _adopt_and_answer(edit, placement_id, done)


def _stager_for(edit: Edit, reason: str) -> RolloutService:
    return edit.state.stager(edit.author, reason or edit.reason, edit.expected)


async def _adopt_and_answer(edit: Edit, placement_id: str, published: Published | None) -> StagesOut:
    # This process shows its own change at once; the others see it when they look.
    if published is not None:
        await edit.state.adopt(published.catalogue)
    return await _stages_out(edit.state, placement_id, edit.response)


async def _policy_key(body: StageRequest, state: ApiState) -> str:
    """The policy that is meant, as ``name@version``. Raises ``Invalid``."""
    name, _, version = body.policy.partition("@")
    if version:
        if body.version not in (None, int(version)):
            raise Invalid("version", f"is {body.version}, but policy says {version}")
        return body.policy
    if body.version is None:
        there = [policy.key for policy in await state.policies.versions(name)] or [PolicyKey.of(name, 1)]
        raise Invalid("version", f"say which version: {', '.join(there)}")
    return PolicyKey.of(name, body.version)


async def _stages_out(state: ApiState, placement_id: str, response: Response) -> StagesOut:
    catalogue = state.current_catalogue()
    placement = catalogue.view(placement_id).placement
    deployment = catalogue.deployment(placement_id)
    # 0 while the placement has no deployment of its own: the first change may ask for that.
    response.headers["ETag"] = f'"{catalogue.versions.get(("deployment", placement_id), 0)}"'
    registered: dict[str, RegisteredPolicy] = {policy.key: policy for policy in await state.policies.all()}
    return answer_of(
        StagesOut,
        deployment,
        placement_id=placement_id,
        champion=champion_of(placement, deployment),
        policies=[
            _staged_out(key, placement, deployment, registered.get(key))
            for key in policies_of(placement, deployment, registered)
        ],
        control_share=placement.control_share,
        autopilot=_autopilot_out(deployment.autopilot),
    )


def _autopilot_out(autopilot: Autopilot | None) -> AutopilotOut | None:
    if autopilot is None:
        return None
    turn = autopilot.turn
    return answer_of(
        AutopilotOut,
        autopilot,
        turn=None if turn is None else answer_of(TurnOut, turn, since=to_datetime(turn.since_ms)),
        tried={name: to_datetime(at_ms) for name, at_ms in sorted(autopilot.tried.items())},
    )


def _staged_out(
    key: str, placement: Placement, deployment: Deployment, registered: RegisteredPolicy | None
) -> StagedOut:
    stage = stage_of(placement, deployment, key)
    since_ms = deployment.since.get(key) if key in deployment.policies else None
    return StagedOut(
        policy=key,
        stage=stage,
        share=deployment.canary.share if stage == "canary" and deployment.canary else None,
        since=None if since_ms is None else to_datetime(since_ms),
        state="live" if registered is None else registered.state,
        folded=0 if registered is None else registered.folded,
        total=0 if registered is None else registered.total,
        error=None if registered is None else registered.error,
    )
