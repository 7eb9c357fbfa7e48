"""The OpenAPI document: what FastAPI finds out by itself, with problems, keys and roles as they really are."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.schemas import ProblemOut
from app.publishable.gate import PUBLIC
from app.security import PROTECTED, Allow

_REF = "#/components/schemas/{model}"
_SCHEMES: dict[str, dict[str, str]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key as `Authorization: Bearer KEY`.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "An API key as `X-API-Key: KEY`.",
    },
}
_PUBLIC_SCHEMES: dict[str, dict[str, str]] = {
    "publishable": {
        "type": "apiKey",
        "in": "query",
        "name": "key",
        "description": "A publishable key as `?key=nb_pub_...`.",
    },
    "publishableHeader": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "A publishable key as `X-API-Key: nb_pub_...`.",
    },
}


class Api(FastAPI):
    """The application, with a document that also tells keys, roles and problem details."""

    def __init__(self, *routers: APIRouter, front: Callable[[ASGIApp], ASGIApp], **arguments: Any) -> None:
        """Serve ``routers``, and put ``front`` before everything. Other arguments are those of ``FastAPI``."""
        super().__init__(**arguments)
        self._front = front
        self._documented = [r for router in routers for r in router.routes if isinstance(r, APIRoute)]
        for route in self._documented:
            route.unique_id = route.operation_id or route.name
            if route.response_field is not None:
                route.response_field.name = f"Response_{route.unique_id}"  # a title in the document
        # As they are, and not included: FastAPI makes each included route anew when it is first looked for, so the
        # first requests of a process would stop its event loop for most of a second.
        self.router.routes.extend(route for router in routers for route in router.routes)

    def build_middleware_stack(self) -> ASGIApp:
        """Build what a request goes through."""
        return self._front(super().build_middleware_stack())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or the lifespan."""
        if self.middleware_stack is None:
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        await self.middleware_stack(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document; it is made at the first call."""
        if self.openapi_schema is None:
            document = super().openapi()
            components = document.setdefault("components", {})
            problem = ProblemOut.model_json_schema(ref_template=_REF)
            schemas = components.get("schemas", {}) | problem.pop("$defs") | {"ProblemOut": problem}
            components["schemas"] = dict(sorted(schemas.items()))
            components["securitySchemes"] = _SCHEMES | _PUBLIC_SCHEMES
            for route in self._documented:
                for method in (route.methods or ()) if route.include_in_schema else ():
                    operation = document["paths"][route.path_format][method.lower()]
                    if route.path.startswith(PROTECTED):
                        _secure(operation, roles_of(route))
                    elif route.path.startswith(PUBLIC):
                        operation["security"] = [{scheme: []} for scheme in _PUBLIC_SCHEMES]
        assert self.openapi_schema is not None
        return self.openapi_schema


def roles_of(route: APIRoute) -> tuple[str, ...]:
    """Find the roles whose keys may use a route, ``admin`` included."""
    # Dependencies may have dependencies: `Editing` checks the role in one of its own.
    waiting = [*route.dependant.dependencies]
    while waiting:
        dependency = waiting.pop()
        if isinstance(dependency.call, Allow):
            return (*dependency.call.roles, "admin")
        waiting += dependency.dependencies
    raise LookupError(f"{route.path} says not who may use it")


def _secure(operation: dict[str, Any], roles: tuple[str, ...]) -> None:
    """Document the keys that an operation takes."""
    # In OpenAPI 3.1 roles may stand where OAuth has scopes.
    operation["security"] = [{scheme: list(roles)} for scheme in _SCHEMES]
    description = operation.get("description", "")
    operation["description"] = f"{description}\n\nRoles: {', '.join(f'`{role}`' for role in roles)}.".strip()
