"""Of errors a log has the kind and the place, and a message only where it cannot quote anybody's data."""

import traceback

import pytest

from storage.errors import PostgresUnavailable
from storage.redaction import WITHHELD, describe_error, format_traceback

CANARY = "Zaphod-42"


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as found:
        return found


def formatted(error: BaseException) -> str:
    return format_traceback((type(error), error, error.__traceback__))


@pytest.mark.parametrize(
    "error",
    [
        ValueError(f"could not convert string to float: '{CANARY}'"),
        KeyError(CANARY),
        OSError(CANARY),
        ExceptionGroup(CANARY, [ValueError(CANARY), ExceptionGroup(CANARY, [KeyError(CANARY)])]),
    ],
)
def test_a_message_that_may_quote_data_is_withheld(error: BaseException) -> None:
    error.add_note(CANARY)
    found = raised(error, raised(RuntimeError(CANARY)))
    for text in (formatted(found), describe_error(found)):
        assert CANARY not in text
        assert type(error).__name__ in text
        assert WITHHELD in text
    assert "direct cause" in formatted(found)
    assert "test_redaction.py" in describe_error(found)


def test_frames_and_causes_are_those_that_python_shows() -> None:
    def unavailable() -> None:
        try:
            int(CANARY)
        except ValueError:
            raise PostgresUnavailable("postgres did not answer: no") from None

    def defect() -> None:
        try:
            int(CANARY)
        except ValueError:
            _ = 1 // 0

    for work, kind in ((unavailable, PostgresUnavailable), (defect, ZeroDivisionError)):
        with pytest.raises(kind) as caught:
            work()
        expected = "".join(traceback.format_exception(caught.value)).rstrip("\n")
        for message in (
            "integer division or modulo by zero",
            f"invalid literal for int() with base 10: '{CANARY}'",
        ):
            expected = expected.replace(message, WITHHELD)
        assert formatted(caught.value) == expected


def test_what_stores_and_the_system_say_of_themselves_is_kept() -> None:
    assert describe_error(PostgresUnavailable("postgres did not answer: no")) == (
        "PostgresUnavailable: postgres did not answer: no"
    )
    assert describe_error(FileNotFoundError(2, "No such file or directory", CANARY)) == (
        "FileNotFoundError: No such file or directory"
    )


def test_a_loop_of_causes_ends() -> None:
    first, second = ValueError("1"), ValueError("2")
    first.__context__, second.__context__ = second, first
    assert formatted(first).count("ValueError") <= 22
