"""The HTTP application."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp

from app.api.alerts import routes as alerts
from app.api.arms import routes as arms
from app.api.body import DirectRoute, DirectRoutes
from app.api.capacity import routes as capacity
from app.api.catalogue import history_routes as catalog_life
from app.api.catalogue import kind_routes as catalog_kinds
from app.api.catalogue import routes as catalog
from app.api.changesets import routes as changesets
from app.api.customers import consents_routes as customer_consents
from app.api.customers import lists_routes as customer_lists
from app.api.customers import merge_routes as customer_merge
from app.api.customers import notes_routes as customer_notes
from app.api.customers import routes as customers
from app.api.customers import search_routes as customer_search
from app.api.customers import told_routes as customer_told
from app.api.customers.parts import refuse_other_methods
from app.api.dead_letters import routes as dead_letters
from app.api.decisions import routes as decisions
from app.api.deployments import routes as deployments
from app.api.desk import article_routes as articles
from app.api.desk import routes as desk
from app.api.evaluations import routes as evaluations
from app.api.events import routes as events
from app.api.exports import routes as exports
from app.api.feedback import routes as feedback
from app.api.health import routes as health
from app.api.imports import routes as imports
from app.api.live import routes as live
from app.api.monitoring import routes as monitoring
from app.api.openapi import Api
from app.api.pages import add_pages
from app.api.policies import routes as policies
from app.api.privacy import erasure_routes as erasure
from app.api.privacy import routes as privacy
from app.api.public import routes as public
from app.api.publishable_keys import routes as publishable_keys
from app.api.registers import routes as registers
from app.api.reports import calibration_routes as calibration
from app.api.reports import event_routes as event_report
from app.api.reports import funnel_routes as offer_funnel
from app.api.reports import holdout_routes as holdout_report
from app.api.reports import interest_routes as interests
from app.api.reports import limit_routes as contact_limits
from app.api.reports import offer_routes as offer_reports
from app.api.reports import routes as reports
from app.api.reports import without_offer_routes as without_offer
from app.api.rules import routes as rules
from app.api.scripts import routes as scripts
from app.api.suppressions import routes as suppressions
from app.api.triggers import routes as firings
from app.config import Settings, get_settings
from app.console.oidc import provider_of
from app.console.routes import add_console
from app.console.sessions import Sessions
from app.errors import install_error_handlers
from app.keys import ApiKey, KeyUse
from app.processes.collector import settle_collector
from app.publishable.gate import PublicGate
from app.publishable.settings import PublishableKeys
from app.security import KeyCheck
from app.state import ApiState, open_state
from app.telemetry import Metrics, configure_logs
from app.tracing.opening import Tracing, open_tracing

DESCRIPTION = """
What is the best thing to offer this customer, now? Ask `POST /v1/decisions`, tell what happened with
`POST /v1/feedback`, and the next decision already knows.

Everything under `/v1/` needs an API key: `Authorization: Bearer KEY` or `X-API-Key: KEY`. Pages and apps ask under
`/public/v1/`, with a publishable key.
Errors are problem details (RFC 9457) that name the field and the reason.
"""

# The order is that of the documentation. Of two routes that match a path, the first one answers.
AREAS = (
    decisions, desk, feedback, events, public, catalog, catalog_life, changesets, capacity, firings, catalog_kinds,
    customer_lists, customer_told, customer_consents, customer_notes, customer_merge, customer_search, privacy,
    customers, suppressions, registers, erasure, imports, exports, reports, offer_reports, offer_funnel, calibration,
    holdout_report, event_report, without_offer, contact_limits, interests, alerts, live, monitoring, arms, policies,
    deployments, evaluations, rules, scripts, articles, publishable_keys, dead_letters, health,
)  # fmt: skip


def _routers() -> Iterator[APIRouter]:
    for area in AREAS:
        if area is customers:
            yield refuse_other_methods(each.router for each in AREAS)
        yield area.router


TAGS = [
    {"name": "decisions", "description": "What is best for this customer, here, now?"},
    {"name": "feedback", "description": "What happened to the offers of a decision."},
    {"name": "events", "description": "What customers do, and what happens to them."},
    {"name": "public", "description": "For pages and apps, with publishable keys."},
    {"name": "catalogue", "description": "What can be offered, how, and where."},
    {"name": "change sets", "description": "Changes of the catalogue that another person approves."},
    {"name": "capacities", "description": "How much of each capacity is used."},
    {"name": "triggers", "description": "What fired, and what became of it."},
    {"name": "customers", "description": "What is known about customers."},
    {"name": "privacy", "description": "What is held on a person, its erasure, and the trail of both."},
    {"name": "rules", "description": "Rules before they go live: previews and simulations."},
    {
        "name": "scripts",
        "description": "Search for agents: what to say, what to answer, and general articles.",
    },
    {"name": "imports", "description": "Files of customers, propensities, suppressions and history."},
    {"name": "exports", "description": "The log, customers and arms as files."},
    {"name": "reports", "description": "How well offers, policies and placements do."},
    {"name": "policies", "description": "What policies have learned, and where they decide."},
    {"name": "publishable keys", "description": "What pages and apps ask with: listed and rotated."},
    {
        "name": "dead letters",
        "description": "Records that were set aside: looked at, processed again, or dropped.",
    },
    {"name": "health", "description": "For load balancers and monitoring; without a key."},
]


def create_app(settings: Settings | None = None, tracing: Tracing | None = None) -> FastAPI:
    """Build the application. Settings come from the environment unless they are given.

    ``tracing``: in place of what the settings say.
    """
    settings = settings or get_settings()
    configure_logs(settings.log_level, settings.log_format)
    key_use = KeyUse()
    tracing = tracing or open_tracing(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, ApiState]]:
        try:
            async with open_state(settings, key_use, tracing) as state:
                app.state.nextbest = state
                settle_collector()
                yield {"nextbest": state}
        finally:
            if tracing is not None:
                await tracing.close()

    def keys() -> Mapping[bytes, ApiKey] | None:
        state: ApiState | None = getattr(app.state, "nextbest", None)
        return None if state is None else state.api_keys

    def publishable() -> PublishableKeys | None:
        state: ApiState | None = getattr(app.state, "nextbest", None)
        return None if state is None else state.publishable_keys

    def sessions() -> Sessions | None:
        state: ApiState | None = getattr(app.state, "nextbest", None)
        return None if state is None else state.sessions

    def front(behind: ASGIApp) -> ASGIApp:
        direct = [r for area in AREAS for r in area.router.routes if isinstance(r, DirectRoute)]
        routes = DirectRoutes(behind, direct, app.exception_handlers)
        limits = settings.body_bytes, settings.import_bytes
        checked = KeyCheck(routes, keys, *limits, used=key_use.used, sessions=sessions)
        gate = PublicGate(routes, checked, publishable, used=key_use.used)
        return Metrics(gate if tracing is None else tracing.requests(gate))

    app = Api(
        *_routers(),
        front=front,
        title="nextbest",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_tags=TAGS,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    add_pages(app)
    add_console(app, provider_of(settings))
    install_error_handlers(app)
    return app
