"""How request bodies are read: JSON that says that it is JSON, and nothing that JSON does not have (NaN, Infinity)."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json

from app.errors import Problem

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class JsonRequest(Request):
    """A request whose body is read as JSON, strictly."""

    async def json(self) -> Any:
        """The parsed body; of a repeated name the last value counts. Raises ``Problem`` (422)."""
        try:
            return from_json(await self.body(), allow_inf_nan=False)
        except ValueError as error:
            raise Problem(422, f"the body is not JSON: {error}", "body") from None


class JsonRoute(APIRoute):
    """A route that takes JSON only: other content types get a 415 that says what to send."""

    def get_route_handler(self) -> Handler:
        """What answers requests to this route."""
        answer = super().get_route_handler()
        if self.body_field is None:
            return answer

        async def handler(request: Request) -> Response:
            content_type = request.headers.get("content-type", "")
            if not is_json(content_type):
                given = ascii(content_type[:100]) if content_type else "missing"
                raise Problem(
                    415, f"the content type is {given}: send 'Content-Type: application/json'", "Content-Type"
                )
            return await answer(JsonRequest(request.scope, request.receive))

        return handler


def is_json(content_type: str) -> bool:
    """Whether a ``Content-Type`` header says JSON. JSON is UTF-8: a charset does not matter."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )
