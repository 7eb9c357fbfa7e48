"""Request bodies: JSON that says that it is JSON, without what JSON does not have (NaN, Infinity)."""

import re
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.batch import MalformedItem
from app.errors import MAX_FIELD_CHARS, Problem
from app.security import Allow

TOO_LARGE = "the number is too large: at most 1.8e308 is taken"
_HUGE = re.compile(rb"\d{309}")
"""Only such digits can be a whole number beyond 1.8e308; most bodies have none, and need not be walked through."""
_MAYBE_HUGE = re.compile(rb"\d{30}")
"""Every tenth byte of such a number; ids and times in a large body cost less to look through like this."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class JsonRequest(Request):
    """A request whose body is read as JSON, strictly, by ``parse``."""

    def __init__(self, scope: Scope, receive: Receive, parse: Callable[[bytes], Any]) -> None:
        super().__init__(scope, receive)
        self._parse = parse

    async def json(self) -> Any:
        """Parse the body."""
        return self._parse(await self.body())


def parse_json(body: bytes) -> Any:
    """Parse JSON; of a repeated name the last value counts.

    Raises ``Problem`` (422), also for a whole number that is beyond all other numbers.
    """
    values = _parse(body)
    return _refuse_huge(values) if _has_huge(body) else values


def _has_huge(body: bytes) -> bool:
    return _MAYBE_HUGE.search(body[::10]) is not None and _HUGE.search(body) is not None


def _parse(body: bytes) -> Any:
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Problem(422, f"the body is not JSON: {error}", "body") from None


def _refuse_huge(values: Any) -> Any:
    if (field := _huge_at(values, ())) is not None:
        raise Problem(422, TOO_LARGE, ".".join(field)[:MAX_FIELD_CHARS] or "body")
    return values


def _huge_at(value: Any, path: tuple[str, ...]) -> tuple[str, ...] | None:
    """Find the path of the first whole number that no floating-point number is as large as."""
    if isinstance(value, int):
        try:
            float(value)
        except OverflowError:
            return path
        return None
    members: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        members = value.items()
    elif isinstance(value, list):
        members = enumerate(value)
    for name, item in members:
        found = _huge_at(item, (*path, str(name)))
        if found is not None:
            return found
    return None


def parse_batch(body: bytes) -> Any:
    """Parse JSON as ``parse_json`` does, but an item with a number that is too large becomes a ``MalformedItem``."""
    values = _parse(body)
    if not _has_huge(body):
        return values
    items = values
    if isinstance(values, dict):
        items = values.get("items", values.get("batch"))
    if isinstance(items, list):
        for index, item in enumerate(items):
            if isinstance(item, dict) and (path := _huge_at(item, ())) is not None:
                field = ".".join(path)[:MAX_FIELD_CHARS]
                items[index] = MalformedItem(field, f"{field}: {TOO_LARGE}")
    return _refuse_huge(values)


class JsonRoute(APIRoute):
    """A route that takes JSON only: other content types get a 415 that says what to send."""

    parse: Callable[[bytes], Any] = staticmethod(parse_json)

    def get_route_handler(self) -> Handler:
        """Build the handler of requests to this route."""
        answer, parse = super().get_route_handler(), self.parse
        if self.body_field is None:
            return answer

        async def handler(request: Request) -> Response:
            check_json(request)
            return await answer(JsonRequest(request.scope, request.receive, parse))

        return handler


class BatchRoute(JsonRoute):
    """A route that takes items, each of which is answered for itself."""

    parse = staticmethod(parse_batch)


class DirectRoute(JsonRoute):
    """A route of the busy path: it does what FastAPI's handler would do for it, and nothing else.

    For endpoints ``(body, state, key)`` whose body is a model, whose key is checked by ``Allow``, and that answer with
    a ``Response``. Documentation and errors are the same as those of any other route. ``DirectRoutes`` lets requests
    come here without the layers of the framework.
    """

    allows: type[Any] = Allow
    """The class of the dependency that lets requests in; what it returns is the ``key`` of the endpoint."""

    @staticmethod
    def check_type(request: Request) -> None:
        """Raise ``Problem`` (415) for a content type that is not taken."""
        check_json(request)

    def get_route_handler(self) -> Handler:
        """Build the handler of requests to this route."""
        field = self.body_field
        if field is None:
            raise TypeError("a direct route takes a body")
        model: type[BaseModel] = field.field_info.annotation  # type: ignore[assignment]
        allow: Any = next(d.call for d in self.dependant.dependencies if isinstance(d.call, self.allows))
        endpoint, check_type, parse = self.endpoint, self.check_type, self.parse

        async def handler(request: Request) -> Response:
            check_type(request)
            key = await allow(request)
            try:
                values = parse(await request.body())
            except ClientDisconnect:
                raise Problem(400, "the client went away before the body was complete") from None
            try:
                body = model.model_validate(values)
            except ValidationError as error:
                raise RequestValidationError(
                    [{**e, "loc": ("body", *e["loc"])} for e in error.errors(include_url=False)], body=values
                ) from None
            # Nothing is validated on the way out: the endpoint builds the response itself.
            answer: Response = await endpoint(body, request.state.nextbest, key)
            return answer

        self.answer = handler
        return handler


class DirectRoutes:
    """ASGI: hands requests of direct routes to their handlers, and all others to ``app``.

    ``handlers``: those of errors, by class, as an application registers them.
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: Iterable[DirectRoute],
        handlers: Mapping[Any, Callable[[Request, Any], Any]],
    ) -> None:
        self._app = app
        self._routes = {(method, route.path): route for route in routes for method in route.methods or ()}
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive)
        try:
            answer = await route.answer(request)
        except Exception as error:
            kind = next(kind for kind in type(error).__mro__ if kind in self._handlers)
            answer = await self._handlers[kind](request, error)
            await answer(scope, receive, send)
            if kind is Exception:  # a defect: the server may want to know of it, too
                raise
            return
        await answer(scope, receive, send)


def check_json(request: Request) -> None:
    """Raise ``Problem`` (415) unless the request says that its body is JSON."""
    content_type = request.headers.get("content-type", "")
    if not is_json(content_type):
        given = ascii(content_type[:100]) if content_type else "missing"
        raise Problem(
            415, f"the content type is {given}: send 'Content-Type: application/json'", "Content-Type"
        )


def is_json(content_type: str) -> bool:
    """Return whether a ``Content-Type`` header says JSON."""
    # JSON is UTF-8: a charset does not matter.
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )
