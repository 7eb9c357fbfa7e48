"""Reports and explanations are made in threads: decisions are not held up by them."""

import asyncio
import threading
from types import ModuleType
from typing import Any

import pytest

from app.api.reports import calibration_routes, offer_routes, routes
from decisioning.decide import service
from tests.support.api import Nextbest, decide
from tests.support.waiting import DEADLINE_S, MAX_WAIT_S, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("module", "name", "path"),
    [
        (offer_routes, "report_columns", "/v1/reports/offers?by=offer"),
        (offer_routes, "report_columns", "/v1/reports/offers?by=offer&format=csv"),
        (calibration_routes, "calibration_bins", "/v1/reports/calibration"),
        (routes, "add_rates", "/v1/reports/acceptance?by=offer"),
    ],
)
async def test_reports_are_made_in_threads(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, path: str
) -> None:
    threads = watch(monkeypatch, module, name)
    answer = await shop.api.call("GET", path, role="ops")
    assert answer.status_code == 200
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_explanations_are_made_in_threads_whatever_the_deadline(
    shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    explain = getattr(service, "explain")  # noqa: B009 (what the module imports is not exported)

    def slowly(*args: Any) -> Any:
        threading.Event().wait(2.5)
        return explain(*args)

    monkeypatch.setattr(service, "explain", slowly)
    threads = watch(monkeypatch, service, "explain")
    # Shorter than the explanation takes, and longer than a busy machine takes for the decision.
    body = {"channel": "web", "slots": 1, "control_share": 0, "deadline_ms": 2_000}
    await shop.api.ok("PUT", "/v1/placements/brief", json=body)
    answer = await decide(shop.api, "c-1", "brief", explain=True)
    assert answer["degraded"] == []
    assert answer["explanation"]
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_reports_in_all_threads_hold_up_no_explanation(shop: Nextbest) -> None:
    """Reports share the default threads of the event loop, of which there are 32 at most."""
    done = threading.Event()
    reports = [asyncio.create_task(asyncio.to_thread(done.wait, MAX_WAIT_S)) for _ in range(64)]
    try:
        async with asyncio.timeout(DEADLINE_S):
            answer = await decide(shop.api, "c-1", "desk", explain=True)
        assert answer["explanation"]
        assert not any(report.done() for report in reports)
    finally:
        done.set()
        await asyncio.gather(*reports)


async def test_few_explanations_are_made_at_once_and_their_threads_end_with_the_application(
    nextbest: Nextbest, shop: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    explain = getattr(service, "explain")  # noqa: B009 (what the module imports is not exported)
    at_once, most = set[int](), list[int]()

    def slowly(*args: Any) -> Any:
        at_once.add(threading.get_ident())
        most.append(len(at_once))
        threading.Event().wait(0.02)
        at_once.discard(threading.get_ident())
        return explain(*args)

    def explaining() -> int:
        return sum(thread.name.startswith("explaining") for thread in threading.enumerate())

    monkeypatch.setattr(service, "explain", slowly)
    before = explaining()
    async with nextbest.another() as api:
        answers = await asyncio.gather(*(decide(api, f"c-{n}", "desk", explain=True) for n in range(12)))
        assert all(answer["explanation"] for answer in answers)
        assert explaining() - before <= service.EXPLAINING_THREADS
    assert max(most) <= service.EXPLAINING_THREADS

    async def ended() -> bool:
        return explaining() == before

    await eventually(ended, "the threads to end", progress=explaining)


def watch(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> list[int]:
    """Note the threads in which a function of a module is called."""
    function, threads = getattr(module, name), list[int]()

    def noted(*args: Any) -> Any:
        threads.append(threading.get_ident())
        return function(*args)

    monkeypatch.setattr(module, name, noted)
    return threads
