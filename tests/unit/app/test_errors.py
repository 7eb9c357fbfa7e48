"""Every error of the inner packages has its answer."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError

import decisioning.errors
import profiles.errors
import storage.errors
from app.errors import Problem, install_error_handlers
from decisioning.catalog.yaml_document import DocumentError
from decisioning.errors import (
    Busy,
    Conflict,
    Invalid,
    InvalidRule,
    LogCodecError,
    MissingThing,
    NotAllowed,
    NotFound,
    Overtaken,
    PreconditionFailed,
    UnconfirmedRemoval,
)
from decisioning.evaluation.model_replay_service import ReplayImpossible
from profiles.errors import (
    ErasedCustomer,
    ImportFileError,
    InvalidCustomer,
    ProfileCodecError,
    RegisterInUse,
    SaltMissing,
    UnconfirmedErasure,
)
from rules.errors import RuleError

MAPPED = {
    Invalid("limit", "is too small"): 422,
    DocumentError("offers", "line 3: must map ids to what they are"): 422,
    MissingThing("group", "group", "cards"): 422,
    InvalidRule("when", RuleError("there is no attribute", 1, 9, "did you mean it?")): 422,
    NotFound("offer", "gold"): 404,
    PreconditionFailed("offer 'gold' is at version 3 by now"): 412,
    Conflict("was used before"): 409,
    NotAllowed("another person must"): 403,
    Overtaken("others have changed groups.cards", [("groups.cards", "~ groups.cards.lever: 1 -> 2")]): 409,
    Busy("another one is at it"): 409,
    UnconfirmedRemoval("offer 'gold' would lose rules", [("rules", "would lose 'of age'")]): 409,
    UnconfirmedErasure("customer '1025' would lose holdings", [("holdings", "would lose loan")]): 409,
    ErasedCustomer("1025"): 409,
    RegisterInUse("do-not-call"): 409,
    SaltMissing("do-not-call"): 422,
    storage.errors.RedisUnavailable("secret-host:6379 is gone"): 503,
    storage.errors.FunctionsUnavailable("nb_decide failed on secret-host"): 503,
    storage.errors.PostgresUnavailable("secret-host:5432 is gone"): 503,
    Problem(418, "a teapot", "kind"): 418,
}
# These do not leave the place where they are raised, or are defects.
INTERNAL = {
    *(LogCodecError, ReplayImpossible),
    *(ImportFileError, InvalidCustomer, ProfileCodecError),
}


async def answer_to(error: Exception) -> httpx.Response:
    """Return the answer of an application in which everything raises ``error``."""
    app = FastAPI()
    install_error_handlers(app)

    @app.get("/")
    async def fail() -> None:
        raise error

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://nextbest") as client:
        return await client.get("/")


def leaves(kind: type[Exception]) -> set[type[Exception]]:
    """The most special classes of errors."""
    below = kind.__subclasses__()
    return set().union(*(leaves(child) for child in below)) if below else {kind}


def test_no_error_is_forgotten() -> None:
    known = {type(error) for error in MAPPED} | INTERNAL
    roots = (decisioning.errors.DecisioningError, profiles.errors.ProfilesError, storage.errors.StorageError)
    assert set().union(*map(leaves, roots)) <= known


@pytest.mark.parametrize(("error", "status"), MAPPED.items(), ids=lambda value: type(value).__name__)
async def test_answers(error: Exception, status: int) -> None:
    response = await answer_to(error)
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert ("Retry-After" in response.headers) == (status == 503)
    assert "secret" not in response.text


async def test_a_defect_tells_nothing_of_itself() -> None:
    response = await answer_to(RuntimeError("secret"))
    assert response.status_code == 500
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "secret" not in response.text


@pytest.mark.parametrize(
    ("loc", "field"),
    [
        (("body",), "body"),
        (("body", "items", 3, "outcome"), "items.3.outcome"),
        (("query", "from"), "from"),
        (("path", "offer_id"), "offer_id"),
        (("body", "body", "path"), "body.path"),
        (("body", "x" * 500), "x" * 200),
    ],
)
async def test_fields_are_named(loc: tuple[Any, ...], field: str) -> None:
    error = {"loc": loc, "msg": "Value error, is wrong", "type": "value_error"}
    body = (await answer_to(RequestValidationError([error]))).json()
    assert body["errors"] == [{"field": field, "reason": "is wrong"}]


async def test_the_number_of_named_fields_is_bounded() -> None:
    errors = [{"loc": ("body", f"f{n}"), "msg": "is wrong", "type": "x"} for n in range(1000)]
    body = (await answer_to(RequestValidationError(errors))).json()
    assert len(body["errors"]) == 20
    assert body["detail"].count("is wrong") == 3
