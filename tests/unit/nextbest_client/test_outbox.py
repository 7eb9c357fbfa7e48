"""The outbox: bounded, in order, and every outcome is in it, sent, or counted as dropped."""

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextbest_client.asking import Core
from nextbest_client.errors import Refused, Unavailable
from nextbest_client.outbox import INTERVAL_S, MAX_PAUSE_S, Outbox


def item(number: int) -> dict[str, Any]:
    """An outcome that can be told from others."""
    return {"decision_id": str(number)}


def taken(code: int) -> dict[str, Any]:
    """The answer to an outcome of a batch."""
    return {"code": code, "status": "recorded" if code == 200 else "refused", "reason": f"because {code}"}


def test_what_is_too_much_is_dropped_counted_and_said(caplog: pytest.LogCaptureFixture) -> None:
    outbox = Outbox(most=2)
    with caplog.at_level(logging.WARNING, logger="nextbest_client"):
        assert [outbox.put(item(n)) for n in range(12)] == [True] * 2 + [False] * 10
    assert outbox.dropped == {"full": 10}
    assert [record.args for record in caplog.records] == [("full", n, "") for n in (1, 2, 4, 8)]
    assert outbox.take() == [item(0), item(1)]


def test_items_are_answered_one_by_one() -> None:
    outbox = Outbox()
    for number in range(4):
        outbox.put(item(number))
    batch = outbox.take()
    outbox.put(item(4))
    outbox.settle(batch, [taken(code) for code in (200, 503, 404, 503)])
    assert (outbox.sent, outbox.dropped) == (1, {"refused": 1})
    assert outbox.take() == [item(1), item(3), item(4)], "in order, before what came later"


def test_a_batch_that_could_not_be_sent_is_kept_and_one_that_never_can_is_not() -> None:
    outbox = Outbox(batch_size=2)
    for number in range(3):
        outbox.put(item(number))
    outbox.fail(outbox.take(), Unavailable("away"))
    assert outbox.take() == [item(0), item(1)]
    outbox.fail([item(0), item(1)], Refused(401, "no key"))
    assert outbox.dropped == {"refused": 2}
    outbox.close()
    assert outbox.dropped == {"refused": 2, "closed": 1}


def test_failures_make_pauses_longer_up_to_a_bound() -> None:
    outbox = Outbox(batch_size=1)
    assert outbox.pause_s(1.0) == INTERVAL_S
    outbox.put(item(0))
    assert outbox.pause_s(1.0) == 0.0
    pauses = []
    for _ in range(12):
        outbox.fail(outbox.take(), Unavailable("away"))
        pauses.append(outbox.pause_s(1.0))
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_PAUSE_S
    outbox.settle(outbox.take(), [taken(200)])
    assert outbox.pause_s(1.0) == INTERVAL_S


def test_an_outbox_rests_by_itself_and_others_do_not_cut_it_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client has two of them, and one that is empty has nothing to wait for."""
    monkeypatch.setattr("random.random", lambda: 1.0)
    core = Core(None, 2.0, None, Outbox(batch_size=1), None)
    core.outbox.put(item(0))
    assert core._pause_s() == 0.0
    for _ in range(20):
        core.outbox.fail(core.outbox.take(), Unavailable("away"))
        assert core.outbox.wait_s() <= MAX_PAUSE_S
    core.outbox.put(item(1))
    assert not core._has_full_batch(), "it wakes no sender that rests"
    assert core._pause_s() == INTERVAL_S, "what is put into the other one does not wait for it"
    core.event_outbox.put(item(2))
    assert core._has_full_batch()
    assert [outbox for _, outbox in core._due()] == [core.event_outbox]
    core._flushing = True
    assert [outbox for _, outbox in core._due()] == [core.outbox, core.event_outbox]
    assert [outbox for _, outbox in core._due()] == [core.event_outbox]
    core.outbox.settle(core.outbox.take(), [taken(200)])
    assert core.outbox.is_due()


@given(st.lists(st.sampled_from(["put", "ok", "later", "refused", "away", "no"]), max_size=60))
def test_no_outcome_is_lost_without_being_counted(steps: list[str]) -> None:
    outbox, put = Outbox(most=5, batch_size=3), 0
    codes = {"ok": 200, "later": 503, "refused": 404}
    for step in steps:
        if step == "put":
            outbox.put(item(put))
            put += 1
            continue
        batch = outbox.take()
        if step in codes:
            outbox.settle(batch, [taken(codes[step]) for _ in batch])
        else:
            outbox.fail(batch, Unavailable("away") if step == "away" else Refused(403, "no"))
        assert outbox.sent + outbox.dropped.total() + len(outbox) == put
