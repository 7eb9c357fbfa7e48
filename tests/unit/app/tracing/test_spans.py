"""Spans: which ids they have, how they hang together, and that nothing is made where nothing is sampled."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from opentelemetry.trace import StatusCode
from starlette.types import ASGIApp, Message

from app.tracing.spans import MAX_LEARNED_PER_FOLD, decision_ids
from decisioning.log.feedback_service import Feedback
from tests.support.logged import ACCEPTED
from tests.support.spans import Memory

GENERATED = "nb02a-0123456789abcdef0123456789abcdef"


async def call(
    memory: Memory, app: ASGIApp, path: str = "/v1/decisions", headers: list[Any] | None = None
) -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        pass

    scope = {"type": "http", "method": "POST", "path": path, "headers": headers or [], "scheme": "https"}
    await memory.tracing.requests(app)(scope, receive, send)


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200})


def test_a_generated_decision_id_names_its_trace_and_others_do_by_their_digest() -> None:
    assert decision_ids(GENERATED)[0] == 0x0123456789ABCDEF0123456789ABCDEF
    digest = hashlib.sha256(b"visit-7").hexdigest()
    assert decision_ids("visit-7") == (int(digest[:32], 16), int(digest[32:48], 16))
    assert decision_ids("nb02a-" + "0" * 32)[0]  # 0 is no trace


async def test_a_request_is_a_span_within_that_of_its_caller() -> None:
    memory = Memory()
    parent = f"00-{'ab' * 16}-{'cd' * 8}-01".encode()
    await call(memory, answer, headers=[(b"traceparent", parent)])
    (span,) = memory.of_trace("ab" * 16)
    assert span.parent is not None
    assert span.parent.span_id == int("cd" * 8, 16)
    assert span.attributes is not None
    assert span.attributes["http.response.status_code"] == 200
    assert span.attributes["url.scheme"] == "https"
    memory.clear()

    await call(memory, answer, headers=[(b"traceparent", b"nonsense")])
    assert memory.spans()[0].parent is None
    memory.clear()

    await call(memory, answer, "/readyz")
    assert memory.spans() == ()


async def test_a_defect_is_an_error_without_its_message() -> None:
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("of customer canary")

    memory = Memory()
    with pytest.raises(RuntimeError):
        await call(memory, fail)
    (span,) = memory.spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.events == ()
    assert "canary" not in memory.written()


async def test_calls_to_stores_are_children_and_their_errors_have_no_message() -> None:
    async def work(scope: Any, receive: Any, send: Any) -> None:
        for system, target, error in (("redis", "nb_decide", None), ("postgresql", None, OSError("canary"))):
            end = memory.tracing.begin_call(system, "DO", target)
            assert end is not None
            end(error)
        await answer(scope, receive, send)

    memory = Memory()
    await call(memory, work)
    (request,) = memory.requests()
    first, second = memory.children(request)
    assert (first.name, second.name) == ("DO nb_decide", "DO")
    assert second.attributes is not None
    assert second.attributes["error.type"] == "OSError"
    assert "canary" not in memory.written()


def test_what_runs_in_the_background_makes_no_spans() -> None:
    memory = Memory()
    assert memory.tracing.begin_call("redis", "GET", None) is None
    assert memory.spans() == ()


@pytest.mark.parametrize("teaches", [True, False])
def test_a_fold_makes_one_span_a_decision_and_not_too_many(teaches: bool) -> None:
    memory = Memory()
    many = MAX_LEARNED_PER_FOLD + 50
    outcomes = [structs.replace(ACCEPTED, decision_id=f"own-{n}") for n in range(many) for _ in range(2)]
    memory.tracing.folded("calibrated@1", outcomes, lambda outcome: teaches)
    spans = memory.spans()
    assert len(spans) == (MAX_LEARNED_PER_FOLD if teaches else 0)
    assert len({s.context.trace_id for s in spans if s.context}) == len(spans)
    for span in spans[:1]:
        assert span.attributes == {"nextbest.policy": "calibrated@1", "nextbest.outcome": "accepted"}


def make_nothing(memory: Memory, decision_id: str) -> None:
    memory.tracing.recorded(Feedback(decision_id, "gold", "accepted"), "recorded")
    memory.tracing.folded("p@1", [structs.replace(ACCEPTED, decision_id=decision_id)], lambda outcome: True)


def test_a_trace_is_sampled_as_a_whole_in_every_process() -> None:
    memory = Memory(ParentBased(TraceIdRatioBased(0.5)))
    low, high = f"nb001-{1:032x}", f"nb001-{2**64 - 1:032x}"
    for decision_id in (low, high):
        make_nothing(memory, decision_id)
    assert [s.name for s in memory.spans()] == ["feedback", "learned"]
    assert {s.context.trace_id for s in memory.spans() if s.context} == {1}


async def test_a_sampler_that_takes_nothing_makes_nothing() -> None:
    memory = Memory(ALWAYS_OFF)
    made: list[Callable[..., None] | None] = []

    async def work(scope: Any, receive: Any, send: Any) -> None:
        made.append(memory.tracing.begin_call("redis", "GET", None))
        make_nothing(memory, GENERATED)
        await answer(scope, receive, send)

    await call(memory, work)
    assert made == [None]
    assert memory.spans() == ()
    assert not trace.get_current_span().get_span_context().is_valid
