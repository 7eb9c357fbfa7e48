"""The HTTP application."""

import gc
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app.api import (
    capacities,
    catalog,
    catalog_kinds,
    catalog_life,
    customers,
    decisions,
    deployments,
    evaluations,
    feedback,
    health,
    imports,
    policies,
    policy_life,
    reports,
    rules,
    scripts,
    suppressions,
    watch,
)
from app.api.openapi import Api
from app.config import Settings, get_settings
from app.errors import install
from app.keys import ApiKey
from app.security import KeyCheck
from app.state import ApiState, open_state
from app.telemetry import Metrics, configure_logs

DESCRIPTION = """
What is the best thing to offer this customer, now? Ask `POST /v1/decisions`, tell what happened with
`POST /v1/feedback`, and the next decision already knows.

Everything under `/v1/` needs an API key: `Authorization: Bearer KEY` or `X-API-Key: KEY`.
Errors are problem details (RFC 9457) that name the field and the reason.
"""

ROUTERS = (
    *(decisions, feedback, catalog, catalog_life, capacities, catalog_kinds, customers, suppressions),
    *(imports, reports, watch, policies, policy_life, deployments, evaluations, rules, scripts, health),
)
TAGS = [
    {"name": "decisions", "description": "What is best for this customer, here, now?"},
    {"name": "feedback", "description": "What happened to the offers of a decision."},
    {"name": "catalogue", "description": "What can be offered, how, and where."},
    {"name": "capacities", "description": "How much of each capacity is used."},
    {"name": "customers", "description": "What is known about customers."},
    {"name": "rules", "description": "Rules before they go live: previews and simulations."},
    {"name": "scripts", "description": "Search for agents: what to say, and what to answer."},
    {"name": "imports", "description": "Files of customers, propensities and history."},
    {"name": "reports", "description": "How well offers, policies and placements do."},
    {"name": "policies", "description": "What policies have learned, and where they decide."},
    {"name": "health", "description": "For load balancers and monitoring; without a key."},
]


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application. Settings come from the environment unless they are given."""
    settings = settings or get_settings()
    configure_logs(settings.log_level)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, ApiState]]:
        async with open_state(settings) as state:
            app.state.nextbest = state
            # What is there now stays: the collector need not look at it again and again, in the middle of requests.
            gc.collect()
            gc.freeze()
            yield {"nextbest": state}

    app = Api(
        *(module.router for module in ROUTERS),
        title="nextbest",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_tags=TAGS,
        redirect_slashes=False,
    )
    install(app)

    def keys() -> Mapping[bytes, ApiKey] | None:
        state: ApiState | None = getattr(app.state, "nextbest", None)
        return None if state is None else state.api_keys

    app.add_middleware(
        KeyCheck, keys=keys, body_bytes=settings.body_bytes, import_bytes=settings.import_bytes
    )
    app.add_middleware(Metrics)
    return app
