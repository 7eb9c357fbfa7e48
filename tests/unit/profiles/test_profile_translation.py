"""No driver's exception gets out of the stores."""

import asyncpg
import pytest
import redis.exceptions
import sqlalchemy.exc

from profiles.errors import ProfilesUnavailable
from profiles.store_errors import DRIVER_ERRORS, translated


def driver_errors() -> list[type[BaseException]]:
    """Every error class that the drivers make public."""
    postgres_errors = [getattr(asyncpg.exceptions, name) for name in asyncpg.exceptions.__all__]
    found = [
        error for error in (*vars(redis.exceptions).values(), *postgres_errors) if isinstance(error, type)
    ]
    alchemy = [sqlalchemy.exc.TimeoutError, sqlalchemy.exc.PendingRollbackError, sqlalchemy.exc.DBAPIError]
    todo: list[type[BaseException]] = [*alchemy]
    while todo:
        found.append(todo[-1])
        todo[-1:] = todo[-1].__subclasses__()
    return [
        error
        for error in found
        if issubclass(error, Exception) and not issubclass(error, Warning | asyncpg.PostgresLogMessage)
    ]


def test_every_driver_error_is_translated() -> None:
    errors = driver_errors()
    assert len(errors) > 200
    left = {error.__name__ for error in errors if not issubclass(error, DRIVER_ERRORS)}
    assert left <= {"ChildDeadlockedError", "IncorrectPolicyType"}  # misuse of redis-py, and no outage


@pytest.mark.parametrize(
    "error", [ConnectionRefusedError("no"), TimeoutError(), redis.exceptions.ConnectionError()]
)
def test_the_message_says_what_failed_and_how(error: Exception) -> None:
    with (
        pytest.raises(ProfilesUnavailable, match=f"^cannot knit: {type(error).__name__}$"),
        translated("knit"),
    ):
        raise error


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(KeyError), translated("knit"):
        raise KeyError
