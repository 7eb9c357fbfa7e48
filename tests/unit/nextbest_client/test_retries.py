"""Retries as steps: what is sent again, after which pauses, and when it is enough."""

from collections.abc import Iterable

import httpx
import pytest

from nextbest_client.errors import Refused, Unavailable
from nextbest_client.retries import Breaker, Pause, Request, Retries, Send, attempts, retry_after_s

REQUEST = Request("POST", "/v1/decisions", {})
Got = httpx.Response | httpx.TransportError


def answer(status: int, **headers: str) -> httpx.Response:
    """An answer without a body, as a proxy gives it."""
    return httpx.Response(status, headers={k.replace("_", "-"): v for k, v in headers.items()})


def walk(
    retries: Retries, timeout_s: float, answers: Iterable[Got], takes_s: float = 0.1
) -> tuple[list[Send | Pause], httpx.Response]:
    """Walk through a call whose requests take `takes_s` each; returns its steps and what it returned."""
    now_s = 100.0
    steps = attempts(REQUEST, retries, timeout_s, lambda: now_s, lambda: 1.0)
    found: list[Send | Pause] = []
    coming, got = iter(answers), None
    try:
        while True:
            step = steps.send(got)
            found.append(step)
            got = next(coming) if isinstance(step, Send) else None
            now_s += takes_s if isinstance(step, Send) else step.seconds
    except StopIteration as done:
        return found, done.value


def test_a_success_is_not_asked_for_twice() -> None:
    steps, response = walk(Retries(), 1.0, [answer(200)])
    assert steps == [Send(REQUEST, 1.0)]
    assert response.status_code == 200


@pytest.mark.parametrize("first", [answer(503), answer(429), answer(500), httpx.ConnectError("no")])
def test_what_may_pass_is_tried_again_after_a_growing_pause(first: Got) -> None:
    steps, _ = walk(Retries(attempts=3, first_s=0.1), 10.0, [first, first, answer(200)])
    assert [s.seconds for s in steps if isinstance(s, Pause)] == [0.1, 0.2]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422])
def test_what_was_refused_is_not_tried_again(status: int) -> None:
    with pytest.raises(Refused) as refused:
        walk(Retries(), 1.0, [answer(status)])
    assert refused.value.status == status


def test_a_refusal_says_what_the_service_said() -> None:
    problem = {"detail": "limit: is 0", "errors": [{"field": "limit", "reason": "is 0"}], "request_id": "r1"}
    with pytest.raises(Refused, match="limit: is 0") as refused:
        walk(Retries(), 1.0, [httpx.Response(422, json=problem)])
    assert (refused.value.errors, refused.value.request_id) == (problem["errors"], "r1")


def test_the_service_says_when_to_come_back() -> None:
    steps, _ = walk(Retries(first_s=0.01), 10.0, [answer(429, Retry_After="3"), answer(200)])
    assert Pause(3.0) in steps
    with pytest.raises(Unavailable, match="answered 429") as gone:
        walk(Retries(), 2.0, [answer(429, Retry_After="3")])
    assert gone.value.status == 429
    for odd in ("soon", "-1", "1e9", "Wed, 21 Oct 2026 07:28:00 GMT", "99999999", "٣x"):
        assert retry_after_s(httpx.Response(503, headers={b"Retry-After": odd.encode()})) == 0.0


def test_a_call_never_takes_longer_than_it_may() -> None:
    with pytest.raises(Unavailable, match="ConnectError: no"):
        walk(Retries(attempts=100, first_s=0.1), 1.0, [httpx.ConnectError("no")] * 100)
    steps, _ = walk(Retries(attempt_s=0.3), 1.0, [httpx.ReadTimeout("slow"), answer(200)])
    assert [s.timeout_s for s in steps if isinstance(s, Send)] == [0.3, 0.3]


@pytest.mark.parametrize("draw", [0.0, 0.5, 1.0])
def test_pauses_are_spread_and_bounded(draw: float) -> None:
    retries = Retries(first_s=0.1, most_s=0.5)
    assert [retries.pause_s(n, 0.0, draw) for n in range(4)] == [draw * s for s in (0.1, 0.2, 0.4, 0.5)]


def test_while_the_service_is_away_one_asks_and_the_others_do_not_wait() -> None:
    now_s = 0.0
    breaker = Breaker(threshold=2, rest_s=1.0, clock_s=lambda: now_s)
    breaker.note(failed=True)
    assert breaker.lets_through()
    breaker.note(failed=True)
    assert not breaker.lets_through()
    now_s = 1.0
    assert [breaker.lets_through() for _ in range(2)] == [True, False]
    breaker.note(failed=False)
    assert breaker.lets_through()
