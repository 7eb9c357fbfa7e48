"""Schemathesis sends what the OpenAPI document allows, and what it does not, to every operation."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.python.asgi import get_client, shutdown_lifespans
from schemathesis.specs.openapi import checks

from app.api.schemas import ID_PATTERN
from app.config import Settings
from app.main import create_app
from tests.support.api import Worker, decide, fill_shop, make_keys, running
from tests.support.publishable import publish

EXAMPLES = 20
KNOWN = {"placement": "home", "offer_id": "gold", "decision_id": "known", "group": "cards"}
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
]


async def prepare(settings: Settings) -> tuple[str, str]:
    """Keys, and a catalogue with a decision, so that not everything is refused for want of them.

    Returns a key that may do all, and one for pages.
    """
    worker = Worker(settings)
    try:
        await worker.start()
        keys = await make_keys(settings)
        async with running(settings, keys) as api:
            await fill_shop(api)
            await decide(api, decision_id="known")
            published = await publish(api, apps=True, key_per_minute=100_000)
    finally:
        await worker.close()
    return keys["admin"], published


async def drain(settings: Settings) -> None:
    """Learn and archive all that has been logged."""
    worker = Worker(settings)
    try:
        await worker.expire(ahead_s=400 * 86_400)
        await worker.drain()
    finally:
        await worker.close()


@pytest.fixture(scope="module")
def keys(settings: Settings) -> tuple[str, str]:
    """A key that may do all, and one for pages."""
    return asyncio.run(prepare(settings))


@pytest.fixture(scope="module")
def key(keys: tuple[str, str]) -> str:
    """A key that may do all."""
    return keys[0]


@pytest.fixture(scope="module")
def session(settings: Settings, key: str) -> Iterator[requests.Session]:
    """The application behind a session of `requests`, on an event loop that Schemathesis keeps."""
    usual = settings.model_copy(update={"body_bytes": Settings.model_fields["body_bytes"].default})
    app: Any = create_app(usual)
    with get_client(app) as client:
        yield client
    shutdown_lifespans()


SCHEMA = schemathesis.openapi.from_dict(
    create_app(Settings(log_level="error")).openapi(), config=schemathesis.Config(seed=2017)
)
SCHEMA.config.update(base_url="http://testserver")


@schemathesis.serializer("application/vnd.apache.parquet")
def _parquet(ctx: schemathesis.SerializationContext, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


@SCHEMA.hook
def map_body(ctx: schemathesis.HookContext, body: Any) -> Any:
    """Let every other body name things that exist; what is no id at all stays as it is."""
    if isinstance(body, dict) and len(body) % 2:
        names = {name for name in KNOWN.keys() & body.keys() if is_id(body[name])}
        body = body | {name: KNOWN[name] for name in names}
    return body


def is_id(value: Any) -> bool:
    """True if a value is a valid id."""
    return isinstance(value, str) and re.fullmatch(ID_PATTERN, value) is not None


@SCHEMA.parametrize()
@hypothesis.settings(max_examples=EXAMPLES, suppress_health_check=list(hypothesis.HealthCheck))
def test_every_operation(case: Any, session: requests.Session, keys: tuple[str, str]) -> None:
    key = keys[case.path.startswith("/public/")]
    if case.query:  # the one that is made up there would be taken
        case.query.pop("key", None)
    # The bearer token goes before whatever keys are made up.
    case.call_and_validate(session=session, headers={"Authorization": f"Bearer {key}"}, checks=CHECKS)


def test_all_that_was_taken_can_be_archived_and_read(
    settings: Settings, session: requests.Session, key: str
) -> None:
    asyncio.run(drain(settings))
    for path in (
        "offers",
        "groups",
        "placements",
        "decisions/known",
        "reports/acceptance",
        "policies/thompson/arms",
    ):
        response = session.get(f"http://testserver/v1/{path}", headers={"Authorization": f"Bearer {key}"})
        assert response.status_code == 200, path
