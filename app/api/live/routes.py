"""The traffic of this moment: one answer, or a stream of them."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from app.api.deps import Reader, Responses, State, problems
from app.api.live.sampler import EVERY_S, MAX_WATCHERS, LiveSampler
from app.api.live.schemas import LiveNow
from app.console.sessions import read_cookie
from app.errors import Problem
from app.keys import ApiKey
from app.protocol import ENDLESS
from app.security import presented_key
from app.state import ApiState

router = APIRouter(prefix="/v1", tags=["reports"])

STREAM = "text/event-stream"
_ANSWER: Responses = {
    200: {
        "description": "The numbers; as a stream, an event `live` a second with the same object as its data",
        "content": {STREAM: {"schema": {"type": "string"}}},
    }
}


@router.get("/live", response_model=LiveNow, responses=problems() | _ANSWER)
async def read_live(request: Request, state: State, key: Reader) -> Response:
    """Tell what goes on now: decisions and outcomes a second, latency, degraded answers, what waits in the log.

    With `Accept: text/event-stream` (an `EventSource` of a browser sends it) as server-sent events, one a second, until
    the client leaves, the key is revoked or the session is over. A process reads the counters once a second, for all
    who watch, and serves 100 streams at a time; further ones are refused with 503.
    """
    sampler = _sampler_of(request, state)
    if STREAM not in request.headers.get("accept", ""):
        return JSONResponse(
            (await sampler.now()).model_dump(mode="json"), headers={"Cache-Control": "no-store"}
        )
    if sampler.watchers >= MAX_WATCHERS:
        raise Problem(503, f"{MAX_WATCHERS} streams are open here; close one, or ask without a stream")
    request.scope[ENDLESS] = True
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    sent = dict(request.scope["headers"])
    token = None if presented_key(sent) else read_cookie(sent)
    return StreamingResponse(_stream(state, sampler, key, token), media_type=STREAM, headers=headers)


async def _stream(
    state: ApiState, sampler: LiveSampler, key: ApiKey, token: str | None
) -> AsyncIterator[str]:
    """Send the numbers for as long as the key is in force, and the session of ``token`` that stands for it, if any."""
    sampler.watchers += 1
    try:
        while await _goes_on(state, key, token):
            yield f"event: live\ndata: {(await sampler.now()).model_dump_json()}\n\n"
            await asyncio.sleep(EVERY_S)
    finally:
        sampler.watchers -= 1


async def _goes_on(state: ApiState, key: ApiKey, token: str | None) -> bool:
    keys = state.api_keys or {}
    if token is None:
        return any(found.key_id == key.key_id for found in keys.values())
    session = await state.sessions.find(token)
    return session is not None and session.key_among(keys) is not None


def _sampler_of(request: Request, state: ApiState) -> LiveSampler:
    kept = request.app.state
    if getattr(kept, "live", None) is None:
        kept.live = LiveSampler(state)
    found: LiveSampler = kept.live
    return found
