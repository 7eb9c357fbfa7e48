"""The state of the service, as it travels."""

from typing import Literal

from pydantic import BaseModel, Field

from app.api.schemas import shown


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """Each dependency with its state, ``ok`` or what is wrong with it."""

    model_config = shown(
        {
            "status": "ok",
            "checks": {"postgres": "ok", "redis": "ok", "catalogue": "ok", "keys": "ok", "arms": "ok"},
            "warnings": [],
        }
    )

    status: Literal["ok", "unavailable"]
    checks: dict[str, str]
    warnings: list[str] = Field(
        description="what is not right although requests are answered, such as a worker that does nothing"
    )
