"""The state of the service, as it travels."""

from typing import Literal

from pydantic import BaseModel

from app.api.schemas import shown


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """Each dependency with its state, ``ok`` or what is wrong with it.

    ``warnings``: what somebody should look at, though this process answers as it should.
    """

    model_config = shown(
        {
            "status": "ok",
            "checks": {"postgres": "ok", "redis": "ok", "catalogue": "ok", "keys": "ok", "arms": "ok"},
            "warnings": {},
        }
    )

    status: Literal["ok", "unavailable"]
    checks: dict[str, str]
    warnings: dict[str, str]
