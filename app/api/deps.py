"""What routers share."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import BaseModel

from app.keys import ApiKey
from app.security import allow
from app.state import ApiState


async def _state(request: Request) -> ApiState:
    state: ApiState = request.state.nextbest
    return state


State = Annotated[ApiState, Depends(_state)]
Frontend = Annotated[ApiKey, Depends(allow("frontend"))]
Ops = Annotated[ApiKey, Depends(allow("ops"))]
Reader = Annotated[ApiKey, Depends(allow("ops", "scientist"))]
Anyone = Annotated[ApiKey, Depends(allow("frontend", "ops", "scientist"))]


class ProblemOut(BaseModel):
    """RFC 9457 problem details; ``errors`` names fields."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] = []


_REASONS: Mapping[int, str] = {
    401: "No valid API key",
    403: "The key's role may not do this",
    404: "There is no such thing",
    409: "It contradicts what is recorded",
    413: "The body is too large",
    415: "Neither CSV nor Parquet",
    422: "Not valid; the answer names the field",
    503: "A store does not answer; try again after Retry-After seconds",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documented error answers of a route; those that every route has are added."""
    return {
        status: {
            "description": _REASONS[status],
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemOut"}}},
            "model": ProblemOut,
        }
        for status in sorted({401, 403, 422, 503, *statuses})
    }
