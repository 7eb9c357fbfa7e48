"""The console at ``/console``: its files, and the door: a key in exchange for a session."""

import logging
from pathlib import PurePosixPath
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field

from app.api.body import JsonRoute
from app.api.deps import State
from app.console.files import TYPES, load_files
from app.console.oidc import Attempt, Provider, SignInRefused
from app.console.sessions import COOKIE, CSRF_HEADER, SESSION_S, Session, csrf_token, read_cookie
from app.errors import Problem
from app.keys import ApiKey, hash_key
from app.state import ApiState
from storage.clock import to_iso

BASE = "/console"
SESSION = f"{BASE}/session"
ASSETS = f"{BASE}/static"
OIDC = f"{BASE}/oidc"
CALLBACK = f"{OIDC}/callback"
ATTEMPT_COOKIE = "nb_oidc"
ATTEMPT_S = 600
"""So long one may take at the provider."""

log = logging.getLogger(__name__)


class SignIn(BaseModel):
    """A key, to be exchanged for a session."""

    model_config = ConfigDict(extra="forbid")

    key: Annotated[str, Field(min_length=1, max_length=256)]


def add_console(app: FastAPI, provider: Provider | None = None) -> None:
    """Add the console's pages and sessions. None is a part of the API: that has keys.

    ``provider``: whose word lets people in without a key.
    """
    found = load_files(ASSETS)
    app.state.provider = provider

    @app.get(ASSETS + "/{digest}/{path:path}", include_in_schema=False)
    async def console_file(digest: str, path: str) -> Response:
        """Send a file of the console."""
        body = found.files.get(path)
        if body is None:
            raise Problem(404, "there is no such file")
        kind = TYPES[PurePosixPath(path).suffix]
        return Response(body, headers=found.file_headers(digest), media_type=kind)

    router = app.router
    for method, endpoint in (("GET", read_session), ("POST", sign_in), ("DELETE", sign_out)):
        router.add_api_route(
            SESSION, endpoint, methods=[method], include_in_schema=False, route_class_override=JsonRoute
        )
    for path, way in ((OIDC, begin_sign_in), (CALLBACK, end_sign_in)):
        router.add_api_route(path, way, methods=["GET"], include_in_schema=False)

    @app.get(BASE, include_in_schema=False)
    @app.get(BASE + "/{path:path}", include_in_schema=False)
    async def console_page(path: str = "") -> Response:
        """Send the page; what it shows, its address tells it."""
        return Response(found.page, headers=found.headers(), media_type="text/html; charset=utf-8")


async def read_session(request: Request, state: State) -> Response:
    """Tell who is signed in here, and the token of writes."""
    headers = dict(request.scope["headers"])
    token = read_cookie(headers)
    key = await state.sessions.key_of(headers, "GET", state.api_keys or {})
    session = await state.sessions.find(token)
    if key is None or session is None:
        return _answer(_signed_out(request))
    name = key.name if session.person is None else session.person.name
    return _answer(_describe(state, key, name, token, session))


async def sign_in(body: SignIn, request: Request, state: State) -> Response:
    """Exchange a key for a session."""
    if state.api_keys is None:
        raise Problem(503, "not ready yet")
    key = state.api_keys.get(hash_key(body.key.strip()))
    if key is None:
        raise Problem(401, "this key is not in force", "key")
    token, session = await state.sessions.begin(key)
    state.key_use.used.add(key.key_id)
    answer = _answer(_describe(state, key, key.name, token, session))
    _set_session(answer, token, request)
    return answer


async def begin_sign_in(request: Request) -> Response:
    """Send the browser to the provider."""
    attempt = Attempt.new()
    try:
        address = await _the_provider(request).address(attempt, _address_of(request, CALLBACK))
    except SignInRefused as error:
        return _refused(error)
    answer = RedirectResponse(address, 303, {"Cache-Control": "no-store"})
    # Lax, since the way back comes from another site.
    answer.set_cookie(
        ATTEMPT_COOKIE,
        attempt.to_cookie(),
        max_age=ATTEMPT_S,
        path=OIDC,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return answer


async def end_sign_in(request: Request, state: State) -> Response:
    """Let in whom the provider vouches for, and send the browser to the console."""
    attempt = Attempt.from_cookie(read_cookie(dict(request.scope["headers"]), ATTEMPT_COOKIE))
    answer: Response
    try:
        person = await _the_provider(request).person(
            attempt, request.query_params, _address_of(request, CALLBACK)
        )
    except SignInRefused as error:
        answer = _refused(error)
    else:
        token, _ = await state.sessions.begin(person)
        answer = RedirectResponse(BASE, 303, {"Cache-Control": "no-store"})
        _set_session(answer, token, request)
    answer.delete_cookie(ATTEMPT_COOKIE, path=OIDC, httponly=True, samesite="lax")
    return answer


async def sign_out(request: Request, state: State) -> Response:
    """End the session; it is over in every process."""
    headers = dict(request.scope["headers"])
    token, was = read_cookie(headers), None
    if token:
        was = await state.sessions.find(token)
        if headers.get(CSRF_HEADER, b"").decode("latin-1") != csrf_token(token):
            raise Problem(403, "a session's writes take its token in the header X-CSRF-Token", "X-CSRF-Token")
        await state.sessions.end(token)
    told = _signed_out(request)
    provider = _provider(request)
    if provider is not None and was is not None and was.person is not None:
        told["leave"] = await provider.leave_address(_address_of(request, BASE))
    answer = _answer(told)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


def _signed_out(request: Request) -> dict[str, Any]:
    """Nobody is signed in; ``provider``, if one can be with a provider's word."""
    return {"signed_in": False} | ({} if _provider(request) is None else {"provider": True})


def _set_session(answer: Response, token: str, request: Request) -> None:
    answer.set_cookie(
        COOKIE,
        token,
        max_age=SESSION_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def _refused(error: SignInRefused) -> Response:
    log.warning("nobody was signed in: %s", error)
    return RedirectResponse(f"{BASE}?refused={error.why}", 303, {"Cache-Control": "no-store"})


def _provider(request: Request) -> Provider | None:
    found: Provider | None = request.app.state.provider
    return found


def _the_provider(request: Request) -> Provider:
    provider = _provider(request)
    if provider is None:
        raise Problem(404, "people sign in with keys here: no provider is set (NEXTBEST_OIDC_ISSUER)")
    return provider


def _address_of(request: Request, path: str) -> str:
    return str(request.base_url).rstrip("/") + path


def _describe(state: ApiState, key: ApiKey, name: str, token: str, session: Session) -> dict[str, Any]:
    return {
        "signed_in": True,
        "name": name,
        "role": key.role,
        "approvals": state.settings.approvals,
        "csrf_token": csrf_token(token),
        "ends_at": to_iso(int(session.ends_at.timestamp() * 1000)),
    }


def _answer(body: dict[str, Any]) -> JSONResponse:
    return JSONResponse(body, headers={"Cache-Control": "no-store"})
