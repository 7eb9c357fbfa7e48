"""What fails again and again takes one line a minute, and another when it is over."""

import asyncio
import logging

import pytest

from storage.failures import MAX_KINDS, FailureLog

log = logging.getLogger("failing")


class Clock:
    """A clock that tests set."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def failures(clock: Clock, caplog: pytest.LogCaptureFixture) -> FailureLog:
    caplog.set_level(logging.INFO, "failing")
    return FailureLog(log, clock_s=clock)


def test_a_thousand_failures_in_three_minutes_take_four_lines(
    failures: FailureLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for tick in range(1_000):
        clock.now_s = tick * 0.2
        failures.note("archiver", "%s waits: %s", "archiver", "gone", error=OSError())
    assert caplog.messages[0] == "archiver waits: gone"
    assert caplog.messages[1:] == ["archiver waits: gone (300 times more in 60 s)"] * 3


def test_recovery_is_written_with_the_count_and_the_next_failure_is_new(
    failures: FailureLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    failures.recovered("archiver")
    for _ in range(5):
        failures.note("archiver", "%s waits", "archiver")
    clock.now_s = 7.0
    failures.recovered("archiver")
    failures.recovered("archiver")
    failures.note("archiver", "%s waits", "archiver")
    assert caplog.messages == [
        "archiver waits",
        "archiver works again: failed 5 times in 7 s",
        "archiver waits",
    ]


def test_another_reason_or_another_part_is_written_at_once(
    failures: FailureLog, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        failures.note("archiver", "waits: %s", "refused", error=ConnectionRefusedError())
        failures.note("archiver", "waits: %s", "slow", error=TimeoutError())
        failures.note("expirer", "waits: %s", "refused", error=ConnectionRefusedError())
    assert caplog.messages == ["waits: refused", "waits: slow", "waits: refused"]


def test_a_traceback_is_written_once(failures: FailureLog, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        try:
            raise KeyError("a defect")
        except KeyError as error:
            failures.note("job", "a defect", level=logging.ERROR, error=error, with_traceback=True)
    assert [record.exc_info is not None for record in caplog.records] == [True]
    assert caplog.records[0].levelno == logging.ERROR


def test_what_stopped_by_itself_is_new_when_it_comes_back(
    failures: FailureLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    failures.note("request", "unavailable")
    clock.now_s = 3_600.0
    failures.note("request", "unavailable")
    assert caplog.messages == ["unavailable", "unavailable"]


def test_recovery_is_one_line_for_all_reasons(
    failures: FailureLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    failures.note("archiver", "waits: %s", "refused", error=ConnectionRefusedError())
    clock.now_s = 1.0
    failures.note("archiver", "waits: %s", "slow", error=TimeoutError())
    clock.now_s = 3.0
    failures.recovered("archiver")
    assert caplog.messages[2:] == ["archiver works again: failed 2 times in 3 s"]


async def test_what_was_counted_last_is_summed_up_without_another_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failures = FailureLog(log, summary_s=0.05)
    failures.note("request", "unavailable")
    failures.note("request", "unavailable")
    failures.note("request", "unavailable")
    await asyncio.sleep(0.1)
    assert len(caplog.messages) == 2
    assert caplog.messages[1].startswith("unavailable (2 times more in ")


def test_kinds_are_bounded(failures: FailureLog) -> None:
    for number in range(MAX_KINDS + 10):
        failures.note(number, "failed")
    assert len(failures._repeating) == MAX_KINDS
