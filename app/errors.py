"""Errors as RFC 9457 problem details. One table maps exceptions to answers; everything else is a defect (500)."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError
from starlette.exceptions import HTTPException

from app.api.values import explain_mismatch
from app.telemetry import REQUEST_ID
from decisioning.catalog.yaml_values import DocumentError
from decisioning.errors import (
    Conflict,
    Invalid,
    InvalidRule,
    NotAllowed,
    NotFound,
    Overtaken,
    PreconditionFailed,
    UnconfirmedRemoval,
)
from profiles.errors import (
    ErasedCustomer,
    ImportFileError,
    InvalidCustomer,
    RegisterInUse,
    SaltMissing,
    UnconfirmedErasure,
)
from storage.errors import Unavailable
from storage.failures import FailureLog

log = logging.getLogger(__name__)

RETRY_AFTER_S = "1"
MAX_ERRORS = 20
MAX_MISTAKES = 1000
"""As many mistakes of a document are told."""
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
    429: "Too many requests",
    500: "Internal error",
    503: "Temporarily unavailable",
}


class Problem(HTTPException):
    """An answer that is not a success, raised where it is noticed."""

    def __init__(self, status: int, detail: str, field: str | None = None) -> None:
        super().__init__(status, detail)
        self.field = field


def problem_of(error: Problem) -> JSONResponse:
    """Build the document of a ``Problem``, which names its field if it has one."""
    errors = [{"field": error.field, "reason": error.detail}] if error.field else []
    return problem(error.status_code, str(error.detail), errors)


def problem(status: int, detail: str, errors: Sequence[Mapping[str, Any]] = ()) -> JSONResponse:
    """Build a problem document; ``errors`` names fields and reasons."""
    title = TITLES.get(status, "Error")
    body: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if errors:
        body["errors"] = list(errors)
    request_id = REQUEST_ID.get()
    if request_id is not None:
        body["request_id"] = request_id
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
    _handle_mistakes(app)
    _handle_conflicts(app)
    _handle_failures(app, FailureLog(log))


def _handle_mistakes(app: FastAPI) -> None:
    """Register the handlers of what is wrong with a request by itself."""

    @app.exception_handler(Problem)
    async def _problem(request: Request, error: Problem) -> JSONResponse:
        answer = problem_of(error)
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(DocumentError)
    async def _document(request: Request, error: DocumentError) -> JSONResponse:
        errors = [
            {"field": e.field, "reason": e.reason, "line": e.line, "entity": e.entity}
            for e in error.mistakes[:MAX_MISTAKES]
        ]
        shown = "; ".join(f"{e.field}: {e}" for e in error.mistakes[:3])
        more = f"; and {len(error.mistakes) - 3} more" if len(error.mistakes) > 3 else ""
        return problem(422, f"{shown}{more}", errors)

    @app.exception_handler(ImportFileError)
    async def _file(request: Request, error: ImportFileError) -> JSONResponse:
        errors = [
            {"field": e.field or "body", "reason": str(e)} | ({} if e.line is None else {"line": e.line})
            for e in error.mistakes[:MAX_MISTAKES]
        ]
        return problem(422, str(error), errors)

    @app.exception_handler(Invalid)
    async def _invalid(request: Request, error: Invalid) -> JSONResponse:
        return problem(422, f"{error.field}: {error}", [{"field": error.field, "reason": str(error)}])

    @app.exception_handler(InvalidCustomer)
    @app.exception_handler(SaltMissing)
    async def _customer(request: Request, error: InvalidCustomer | SaltMissing) -> JSONResponse:
        return problem(422, str(error), [{"field": error.field, "reason": error.reason}])

    @app.exception_handler(InvalidRule)
    async def _rule(request: Request, error: InvalidRule) -> JSONResponse:
        place = {"line": error.line, "column": error.column, "suggestion": error.suggestion}
        return problem(422, f"{error.field}: {error}", [{"field": error.field, "reason": str(error)} | place])

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> JSONResponse:
        errors = field_errors([{**e, "loc": e["loc"][1:]} for e in error.errors()[:MAX_ERRORS]])
        return problem(422, "; ".join(f"{e['field']}: {e['reason']}" for e in errors[:3]), errors)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        answer = problem(error.status_code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer


def _handle_conflicts(app: FastAPI) -> None:
    """Register the handlers of what does not fit what is stored."""

    @app.exception_handler(PreconditionFailed)
    async def _precondition(request: Request, error: PreconditionFailed) -> JSONResponse:
        return problem(412, f"{error}; read it again and decide whether your change still makes sense")

    @app.exception_handler(NotFound)
    async def _not_found(request: Request, error: NotFound) -> JSONResponse:
        return problem(404, str(error))

    @app.exception_handler(NotAllowed)
    async def _not_allowed(request: Request, error: NotAllowed) -> JSONResponse:
        return problem(403, str(error))

    @app.exception_handler(Overtaken)
    async def _overtaken(request: Request, error: Overtaken) -> JSONResponse:
        return problem(409, str(error), [{"field": thing, "reason": what} for thing, what in error.things])

    @app.exception_handler(UnconfirmedRemoval)
    async def _removal(request: Request, error: UnconfirmedRemoval) -> JSONResponse:
        return problem(409, str(error), [{"field": field, "reason": reason} for field, reason in error.lost])

    @app.exception_handler(UnconfirmedErasure)
    async def _erasure(request: Request, error: UnconfirmedErasure) -> JSONResponse:
        return problem(409, str(error), [{"field": field, "reason": reason} for field, reason in error.lost])

    @app.exception_handler(ErasedCustomer)
    @app.exception_handler(RegisterInUse)
    @app.exception_handler(Conflict)
    async def _conflict(request: Request, error: Conflict | ErasedCustomer | RegisterInUse) -> JSONResponse:
        return problem(409, str(error))


def _handle_failures(app: FastAPI, failures: FailureLog) -> None:
    """Register the handlers of stores that do not answer, and of defects."""

    @app.exception_handler(Unavailable)
    async def _unavailable(request: Request, error: Exception) -> JSONResponse:
        # The reason may name hosts and users, so it is for the log alone.
        failures.note("requests", "unavailable: %s", error, error=error)
        return problem(503, "a store that this needs does not answer; try again")

    @app.exception_handler(Exception)
    async def _defect(request: Request, error: Exception) -> JSONResponse:
        # Once for each place that it comes from, however many requests come by there.
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        failures.note(
            ("requests", place and (place.tb_frame.f_code, place.tb_lineno)),
            "a defect in %s %s",
            request.method,
            # The route, for a path may name a customer.
            getattr(request.scope.get("route"), "path_format", "a path without a route"),
            level=logging.ERROR,
            error=error,
            with_traceback=True,
        )
        return problem(500, "an internal error; it has been logged")


def field_errors(errors: Iterable[Mapping[str, Any]], whole: str = "body") -> list[dict[str, str]]:
    """Describe errors of validation: the path of each field, or ``whole`` for all of it, and what is wrong there."""
    found = []
    for error in errors:
        field = ".".join(str(part) for part in error["loc"]) or whole
        found.append({"field": field[:MAX_FIELD_CHARS], "reason": reason_of(error)})
    return found


def reason_of(error: Mapping[str, Any]) -> str:
    """Say what is wrong with a value, in words."""
    return explain_mismatch(error) or str(error["msg"]).removeprefix("Value error, ")


def in_words(error: ValidationError) -> ValidationError:
    """Return the same errors with messages as ``reason_of`` gives them, for what reads messages alone."""
    details = [
        InitErrorDetails(type=PydanticCustomError(e["type"], reason_of(e)), loc=e["loc"], input=e["input"])
        for e in error.errors(include_url=False)
    ]
    return ValidationError.from_exception_data(error.title, details)
