"""Days are rolled up only where all processes know what that is."""

from datetime import datetime

from app.worker.days import INTERVAL_S, OTHERS_S, DaysJob


async def test_nothing_is_rolled_up_while_another_version_runs() -> None:
    rolled_up = list[datetime]()

    class Days:
        async def roll_up(self, now: datetime) -> int:
            rolled_up.append(now)
            return 1

    others = iter((True, True, False))
    job = DaysJob(Days(), lambda: next(others))
    assert [await job.round() for _ in range(3)] == [OTHERS_S, OTHERS_S, INTERVAL_S]
    assert len(rolled_up) == 1
