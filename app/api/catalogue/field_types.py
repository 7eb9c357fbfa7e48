"""Types of fields that the schemas of several kinds share."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from app.api.values import form, known_zone, language, seconds, time_of_day, time_zone
from decisioning.catalog.alert import webhook_problem

Goal = Literal["acquire", "grow", "retain", "serve"]
Seconds = Annotated[int, Field(ge=1, le=366 * 86_400), BeforeValidator(seconds)]
Clock = Annotated[str, form(r"^([01]\d|2[0-3]):[0-5]\d$", time_of_day)]
TimeZone = Annotated[str, form(r"^[A-Za-z0-9_+/-]{1,64}$", time_zone), AfterValidator(known_zone)]

Language = Annotated[str, form(r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", language)]


def _webhook(url: str) -> str:
    if problem := webhook_problem(url):
        raise ValueError(problem)
    return url


Webhook = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_webhook)]
