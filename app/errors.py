"""Errors as RFC 9457 problem details. One table maps exceptions to answers; everything else is a defect (500)."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from decisioning.errors import (
    Conflict,
    Invalid,
    InvalidRule,
    NotFound,
    PreconditionFailed,
    UnconfirmedRemoval,
)
from profiles.errors import InvalidCustomer, UnconfirmedErasure
from storage.errors import Unavailable

log = logging.getLogger(__name__)

RETRY_AFTER_S = "1"
MAX_ERRORS = 20
"""Fields that a problem names; a body may have thousands of wrong ones."""
MAX_FIELD_CHARS = 200

TITLES = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    412: "Changed meanwhile",
    413: "Body too large",
    415: "Unsupported media type",
    422: "Not valid",
    500: "Internal error",
    503: "Temporarily unavailable",
}


class Problem(HTTPException):
    """An answer that is not a success, raised where it is noticed."""

    def __init__(self, status: int, detail: str, field: str | None = None) -> None:
        super().__init__(status, detail)
        self.field = field


def problem(status: int, detail: str, errors: Sequence[Mapping[str, Any]] = ()) -> JSONResponse:
    """Build a problem document; ``errors`` names fields and reasons."""
    title = TITLES.get(status, "Error")
    body: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if errors:
        body["errors"] = list(errors)
    headers = {"Retry-After": RETRY_AFTER_S} if status == 503 else {}
    if status == 408:
        # Whatever still comes of the body is not waited for.
        headers["Connection"] = "close"
    if status == 401:
        # RFC 9110 asks for it in every 401.
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def install_error_handlers(app: FastAPI) -> None:
    """Register the handlers of all errors in the application."""

    @app.exception_handler(Problem)
    async def _problem(request: Request, error: Problem) -> JSONResponse:
        errors = [{"field": error.field, "reason": error.detail}] if error.field else []
        answer = problem(error.status_code, error.detail, errors)
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(Invalid)
    async def _invalid(request: Request, error: Invalid) -> JSONResponse:
        return problem(422, f"{error.field}: {error}", [{"field": error.field, "reason": str(error)}])

    @app.exception_handler(InvalidCustomer)
    async def _customer(request: Request, error: InvalidCustomer) -> JSONResponse:
        return problem(422, str(error), [{"field": error.field, "reason": error.reason}])

    @app.exception_handler(InvalidRule)
    async def _rule(request: Request, error: InvalidRule) -> JSONResponse:
        place = {"line": error.line, "column": error.column, "suggestion": error.suggestion}
        return problem(422, f"{error.field}: {error}", [{"field": error.field, "reason": str(error)} | place])

    @app.exception_handler(PreconditionFailed)
    async def _precondition(request: Request, error: PreconditionFailed) -> JSONResponse:
        return problem(412, f"{error}; read it again and decide whether your change still makes sense")

    @app.exception_handler(NotFound)
    async def _not_found(request: Request, error: NotFound) -> JSONResponse:
        return problem(404, str(error))

    @app.exception_handler(UnconfirmedRemoval)
    async def _removal(request: Request, error: UnconfirmedRemoval) -> JSONResponse:
        return problem(409, str(error), [{"field": field, "reason": reason} for field, reason in error.lost])

    @app.exception_handler(UnconfirmedErasure)
    async def _erasure(request: Request, error: UnconfirmedErasure) -> JSONResponse:
        return problem(409, str(error), [{"field": field, "reason": reason} for field, reason in error.lost])

    @app.exception_handler(Conflict)
    async def _conflict(request: Request, error: Conflict) -> JSONResponse:
        return problem(409, str(error))

    @app.exception_handler(Unavailable)
    async def _unavailable(request: Request, error: Exception) -> JSONResponse:
        # The reason may name hosts and users, so it is for the log alone.
        log.warning("unavailable: %s", error)
        return problem(503, "a store that this needs does not answer; try again")

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [_field_error(e) for e in error.errors()[:MAX_ERRORS]]
        return problem(422, "; ".join(f"{e['field']}: {e['reason']}" for e in errors[:3]), errors)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        answer = problem(error.status_code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(Exception)
    async def _defect(request: Request, error: Exception) -> JSONResponse:
        log.error("a defect in %s %s", request.method, request.url.path, exc_info=error)
        return problem(500, "an internal error; it has been logged")


def _field_error(error: dict[str, Any]) -> dict[str, str]:
    """Describe an error: ``field`` is the path inside of the body or a parameter's name, ``body`` the whole body."""
    field = ".".join(str(part) for part in error["loc"][1:]) or "body"
    return {"field": field[:MAX_FIELD_CHARS], "reason": str(error["msg"]).removeprefix("Value error, ")}
