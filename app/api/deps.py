"""Dependencies and documented answers that routes share."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Header, Request

from app.keys import ApiKey
from app.security import Allow
from app.state import ApiState
from rules.classification import classified


async def _state(request: Request) -> ApiState:
    state: ApiState = request.state.nextbest
    return state


State = Annotated[ApiState, Depends(_state)]
Frontend = Annotated[ApiKey, Depends(Allow("frontend"))]
Teller = Annotated[ApiKey, Depends(Allow("frontend", "agent"))]
Decider = Annotated[ApiKey, Depends(Allow("frontend", "agent", "ops"))]
Merger = Annotated[ApiKey, Depends(Allow("frontend", "ops"))]
DeskReader = Annotated[ApiKey, Depends(Allow("agent", "ops", "scientist"))]
Ops = Annotated[ApiKey, Depends(Allow("ops"))]
Reader = Annotated[ApiKey, Depends(Allow("ops", "scientist"))]
Scientist = Annotated[ApiKey, Depends(Allow("scientist"))]
IfMatch = Annotated[
    str | None,
    Header(max_length=64, description="the ETag that was read: refused (412) if it changed since"),
]


def hidden_from(key: ApiKey, state: ApiState) -> frozenset[str]:
    """Return the paths of attributes whose values whoever has this key is not shown: sensitive ones, to scientists."""
    if key.role in ("ops", "admin"):
        return frozenset()
    return classified(state.current_catalogue().attributes.values(), "sensitive")


_REASONS: Mapping[int, str] = {
    401: "No valid API key",
    403: "The key's role may not do this",
    404: "There is no such thing",
    408: "The body did not come in time",
    409: "It contradicts what is recorded",
    412: "It has been changed since it was read",
    413: "The body is too large",
    415: "The content type is not one that is taken here",
    422: "Not valid; the answer names the field",
    429: "Asked too often; try again after Retry-After seconds",
    503: "A store does not answer; try again after Retry-After seconds",
}
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemOut"}}}

Responses = dict[int | str, dict[str, Any]]


def problems(*statuses: int, body: bool = False) -> Responses:
    """Document the error answers of a route; those that every route has, or every route with a body, are added."""
    found = {401, 403, 422, 503, *statuses, *((408, 413, 415) if body else ())}
    return {status: {"description": _REASONS[status], "content": _PROBLEM} for status in sorted(found)}


def created(model: type[Any]) -> Responses:
    """Document the answer to a PUT of something new."""
    return {201: {"description": "Created", "model": model}}
