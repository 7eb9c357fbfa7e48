"""Policies: registered from their specifications, retired, revived, with the progress of their warm starts."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request, Response
from pydantic_core import to_json
from starlette.types import Message

from app.api.body import Handler, JsonRoute
from app.api.deps import Reader, Scientist, State, created, problems
from app.api.policies.auto import auto_features_of, with_models
from app.api.policies.schemas import PlacedOut, PolicyBody, PolicyName, PolicyOut
from app.api.schemas import answer_of
from app.errors import Problem
from app.specs import history_warnings, spec_of, warnings_of, yaml_values
from app.state import ApiState
from bandits.policy import PolicyKey
from bandits.registry import BUILT_IN
from bandits.specification import spec_to_dict
from decisioning.errors import NotFound
from decisioning.policies.store import ALWAYS
from decisioning.policies.store_facts import find_unsent
from decisioning.policies.store_models import shown_body
from decisioning.policies.store_rows import RegisteredPolicy
from decisioning.rollout.stages import parts_of
from storage import clock

Version = Annotated[int, Path(ge=1, le=1_000_000)]
Reason = Annotated[str | None, Header(max_length=500, description="why; kept with the policy")]

_YAML = {
    "requestBody": {
        "content": {
            "application/yaml": {
                "schema": {"type": "string"},
                "example": "name: spring\nalgorithm: calibrated\nlearn_since: {days: 90}\n",
            }
        }
    }
}


class SpecRoute(JsonRoute):
    """A route that takes YAML as well: what it says is passed on as JSON."""

    def get_route_handler(self) -> Handler:
        """Build the handler of requests to this route."""
        answer = super().get_route_handler()

        async def handler(request: Request) -> Response:
            if not _is_yaml(request.headers.get("content-type", "")):
                return await answer(request)
            try:
                document = (await request.body()).decode()
            except UnicodeDecodeError:
                raise Problem(422, "the document is not UTF-8", "body") from None
            return await answer(_with_json_body(request, yaml_values(document)))

        return handler


def _is_yaml(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type in ("application/yaml", "application/x-yaml", "text/yaml")


def _with_json_body(request: Request, values: Any) -> Request:
    others = [(name, value) for name, value in request.scope["headers"] if name != b"content-type"]
    body = to_json(values, inf_nan_mode="constants")

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [*others, (b"content-type", b"application/json")]
    return Request({**request.scope, "headers": headers}, receive)


router = APIRouter(prefix="/v1/policies", tags=["policies"], route_class=SpecRoute)


@router.post("", responses=problems(409, body=True) | created(PolicyOut), openapi_extra=_YAML)
async def register_policy(
    body: PolicyBody, state: State, key: Scientist, response: Response, x_reason: Reason = None
) -> PolicyOut:
    """Register a policy, as JSON or YAML. It is known in every process within a second, and starts warm.

    Versions are immutable: the same specification again is no change, another one is another version.
    """
    values = await with_models(body.model_dump(exclude_unset=True), state)
    features = await auto_features_of(values, state)
    # In a thread: building a pipeline, to try it out, takes its time.
    spec, numbered = await asyncio.to_thread(spec_of, values, clock.now_ms(), auto_features=features)
    # Without a version the store gives the next one, in one step with the registration.
    if numbered:
        new = await state.policies.register(spec, key.name, x_reason or "")
    else:
        spec, new = await state.policies.register_next(spec, key.name, x_reason or "")
    await state.refresh()  # the catalogue as well: warnings are of the placements as they are now
    response.status_code = 201 if new else 200
    out = _registered_out(await state.policies.get(spec.key), state)
    catalogue = state.current_catalogue()
    attributes = catalogue.checker.vocabulary.attributes.values()
    out.warnings += await find_unsent(state.engine, spec.features, attributes)
    out.warnings += history_warnings(spec, catalogue)
    return out


@router.get("", responses=problems())
async def read_policies(state: State, key: Reader) -> list[PolicyOut]:
    """All policies: those that are built in, and those that were registered."""
    registered = [_registered_out(policy, state) for policy in await state.policies.all()]
    return [_built_in_out(policy, state) for policy in sorted(ALWAYS)] + registered


@router.get("/{name}", responses=problems(404))
async def read_versions(name: PolicyName, state: State, key: Reader) -> list[PolicyOut]:
    """All versions of a policy."""
    built_in = [_built_in_out(policy, state) for policy in sorted(ALWAYS) if PolicyKey(policy).name == name]
    found = built_in + [_registered_out(policy, state) for policy in await state.policies.versions(name)]
    if not found:
        raise NotFound("policy", name)
    return found


@router.get("/{name}/{version:int}", responses=problems(404))
async def read_policy(name: PolicyName, version: Version, state: State, key: Reader) -> PolicyOut:
    """One version of a policy, with the progress of its warm start."""
    policy = PolicyKey.of(name, version)
    if policy in ALWAYS:
        return _built_in_out(policy, state)
    return _registered_out(await state.policies.get(policy), state)


@router.post("/{name}/{version:int}/retire", responses=problems(404, 409))
async def retire_policy(
    name: PolicyName, version: Version, state: State, key: Scientist, x_reason: Reason = None
) -> PolicyOut:
    """Let a policy that no placement uses learn no more. Its arms go; decisions that it made can still be replayed.

    Retiring what is retired already is no change.
    """
    policy = PolicyKey.of(name, version)
    await state.policies.retire(policy, key.name, x_reason or "")
    return await _changed_out(policy, state)


@router.delete("/{name}/{version:int}", responses=problems(404, 409))
async def delete_policy(
    name: PolicyName, version: Version, state: State, key: Scientist, x_reason: Reason = None
) -> PolicyOut:
    """The same as retiring it: what has decided is never deleted, since decisions refer to it."""
    return await retire_policy(name, version, state, key, x_reason)


@router.post("/{name}/{version:int}/revive", responses=problems(404, 409))
async def revive_policy(
    name: PolicyName, version: Version, state: State, key: Scientist, x_reason: Reason = None
) -> PolicyOut:
    """Take a retired policy back. It starts warm again. Reviving one that is not retired is no change."""
    policy = PolicyKey.of(name, version)
    await state.policies.revive(policy, key.name, x_reason or "")
    return await _changed_out(policy, state)


async def _changed_out(policy: PolicyKey, state: ApiState) -> PolicyOut:
    # The process that answers knows the change at once; the others see it when they look.
    await state.refresh_policies()
    return _registered_out(await state.policies.get(policy), state)


def _registered_out(policy: RegisteredPolicy, state: ApiState) -> PolicyOut:
    return answer_of(
        PolicyOut,
        policy,
        policy=policy.key,
        built_in=False,
        spec=shown_body(policy.body),
        unusable=state.roster.broken.get(policy.key),
        placements=_placed_out(policy.key, state),
        warnings=warnings_of(policy.body, state.current_catalogue().placements),
    )


_SPECS: Mapping[str, dict[str, Any]] = {spec.key: spec_to_dict(spec) for spec in BUILT_IN}


def _built_in_out(key: PolicyKey, state: ApiState) -> PolicyOut:
    return PolicyOut(
        policy=key,
        name=key.name,
        version=key.version,
        state="live",
        built_in=True,
        spec=_SPECS[key],
        placements=_placed_out(key, state),
    )


def _placed_out(key: str, state: ApiState) -> list[PlacedOut]:
    return [
        PlacedOut(placement_id=placement_id, stage=stage)
        for placement_id, stage in parts_of(state.current_catalogue(), key)
    ]
