"""Is it alive, is it ready, what does it count?"""

import os
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from app.api.deps import State
from app.telemetry import MULTIPROC
from decisioning.errors import PostgresUnavailable, RedisUnavailable

router = APIRouter(tags=["health"])


@router.get("/livez")
async def livez() -> dict[str, str]:
    """This process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "Not everything is there; decisions may be degraded"}})
async def readyz(state: State) -> Response:
    """Each dependency with its state; 200 only if all are well."""
    checks: dict[str, Any] = {}
    try:
        await state.catalogues.version()
        checks["postgres"] = "ok"
    except PostgresUnavailable as error:
        checks["postgres"] = str(error).splitlines()[0]
    try:
        await state.pipe.call("PING")
        checks["redis"] = "ok"
    except RedisUnavailable as error:
        checks["redis"] = str(error)
    checks["catalogue"] = "not read yet" if state.catalogue is None else "ok"
    checks["keys"] = "not read yet" if state.api_keys is None else "ok"
    cold = [key for key in state.policies if state.replica.epoch(key) is None]
    checks["arms"] = f"not loaded: {', '.join(cold)} (is the worker running?)" if cold else "ok"
    ready = all(value == "ok" for value in checks.values())
    body = {"status": "ok" if ready else "unavailable", "checks": checks}
    return JSONResponse(body, 200 if ready else 503)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Prometheus metrics of all processes of this installation on this machine."""
    registry = REGISTRY
    if MULTIPROC in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
