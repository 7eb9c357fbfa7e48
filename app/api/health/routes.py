"""Liveness, readiness and metrics."""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from app.api.deps import State
from app.api.health.checks import OK, check_postgres, check_redis, refuses_writes
from app.api.health.schemas import Alive, Readiness
from app.api.health.warnings import describe_policies, describe_skew, describe_worker
from app.telemetry import render_metrics

router = APIRouter(tags=["health"])


@router.head("/livez", include_in_schema=False)
@router.get("/livez")
async def livez() -> Alive:
    """This process answers."""
    return Alive(status="ok")


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    response_model=Readiness,
    responses={
        503: {"description": "Not everything is there; decisions may be degraded", "model": Readiness}
    },
)
async def readyz(state: State) -> Response:
    """Each dependency with its state; 200 only if all are well, and Redis takes writes.

    `warnings` tell of a worker that is gone: for how long none was seen, and entries of the log have waited for one.
    They name policies that were set aside since they failed, or that this process cannot use, and say that Postgres
    refuses writes: decisions and feedback go on meanwhile, and wait in Redis to be archived.
    """
    cold = state.cold_policies()
    postgres = await check_postgres(state.engine, state.redis_claim)
    read_only = refuses_writes(postgres)
    checks = {
        "postgres": OK if read_only else postgres,
        "redis": await check_redis(state.pipe, state.functions),
        "catalogue": "not read yet" if state.catalogue is None else "ok",
        "keys": "not read yet" if state.api_keys is None else "ok",
        "arms": f"not loaded: {', '.join(cold)} (is the worker running?)" if cold else "ok",
    }
    ready = all(value == "ok" for value in checks.values())
    # No reasons to send requests elsewhere: it would be the same there.
    found = {
        "postgres": postgres if read_only else None,
        "archive": state.archive_watch.describe(),
        "worker": await describe_worker(state) if ready else None,
        "redis": state.redis_claim.warning or state.pipe.server.warning,
        "policies": describe_policies(state),
        "clock": describe_skew(),
    }
    warnings = {name: warning for name, warning in found.items() if warning}
    body = {"status": "ok" if ready else "unavailable", "checks": checks, "warnings": warnings}
    return JSONResponse(body, 200 if ready else 503)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics() -> Response:
    """Prometheus metrics of all processes of this installation on this machine."""
    return Response(render_metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})
