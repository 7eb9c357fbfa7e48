"""What belongs to a customer has paths below the customer's, whose id may hold any character, a slash too."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable

from fastapi import APIRouter
from starlette.responses import Response
from starlette.routing import Route

from app.api.paths import CUSTOMER_ID
from app.errors import Problem

BELOW = f"/v1/customers/{CUSTOMER_ID}/"
_METHODS = {"GET", "PUT", "PATCH", "DELETE"}
"""Of the path of a customer itself, and more that it could have."""


def refuse_other_methods(routers: Iterable[APIRouter]) -> APIRouter:
    """Return routes that refuse, with 405, methods which the paths of ``routers`` below a customer's do not have.

    They must stand before the routes of the customer itself: ``PUT /v1/customers/42/consents`` would write the record
    of a customer ``42/consents``, and succeed.
    """
    known: dict[str, set[str]] = defaultdict(set)
    for router in routers:
        for route in router.routes:
            if isinstance(route, Route) and route.path.startswith(BELOW):
                known[route.path] |= route.methods or set()
    refusing = APIRouter()
    for path, methods in known.items():
        refusing.add_api_route(
            path,
            _refusal(", ".join(sorted(methods))),
            methods=sorted(_METHODS - methods),
            include_in_schema=False,
        )
    return refusing


def _refusal(allowed: str) -> Callable[[], Awaitable[Response]]:
    async def refuse() -> Response:
        refusal = Problem(
            405, f"this part of a customer takes {allowed}; the customer's own path has PUT and PATCH"
        )
        refusal.headers = {"Allow": allowed}
        raise refusal

    return refuse
