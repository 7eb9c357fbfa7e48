"""Offline evaluation: requests that are kept, what is evaluated, and the report on a small log."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from pydantic_core import from_json as parse_json
from pydantic_core import to_json

from bandits.errors import BanditsError
from bandits.policy import PolicySpec
from bandits.registry import build_policy
from bandits.specification import spec_to_dict
from bandits.state import ArmTable
from decisioning.catalog.catalogue import Catalogue
from decisioning.errors import NotFound
from decisioning.evaluation.service import (
    EvaluationRequest,
    EvaluationScope,
    as_json,
    evaluate,
    from_json,
    spec_of,
)
from decisioning.evaluation.store_pages import Page, Span
from decisioning.learning.replica import prepare
from decisioning.model.decision import LoggedDecision
from decisioning.model.outcome import Outcome
from storage.clock import to_datetime
from tests.support.logged import START_MS, answers, catalogue_of, changed, decided_by, selection_context

TIMES = st.none() | st.datetimes(timezones=st.just(UTC))
SCOPES = st.builds(
    EvaluationScope,
    st.text(),
    TIMES,
    TIMES,
    st.integers(1, 10**6),
    st.sampled_from(("first", "all")),
    st.sampled_from(("acceptance", "value")),
    st.sampled_from(("cold", "warm")),
)
DICE = PolicySpec("dice", 1, "random")
SHOP = catalogue_of([2, 3, 5])


@settings(max_examples=30)
@given(SCOPES, st.none() | st.text(), st.none() | st.dictionaries(st.text(), st.integers()))
def test_a_request_that_was_kept_is_the_same(
    scope: Any, policy: str | None, spec: dict[str, Any] | None
) -> None:
    request = EvaluationRequest(scope, policy, spec)
    assert from_json(parse_json(to_json(as_json(request)))) == request


class Registry:
    """One registered policy."""

    async def get(self, key: str) -> Any:
        if key != "spring@2":
            raise NotFound("registered policy", key)
        return SimpleNamespace(spec=PolicySpec("spring", 2, "thompson"))


async def test_the_policy_that_is_meant() -> None:
    async def found(policy: str | None, spec: dict[str, Any] | None = None) -> str:
        return (
            await spec_of(EvaluationRequest(EvaluationScope("home"), policy, spec), cast(Any, Registry()))
        ).key

    assert await found("spring@2") == "spring@2"
    assert await found("random@1") == "random@1"
    assert await found(None, spec_to_dict(DICE)) == "dice@1"
    with pytest.raises(NotFound, match="policy 'spring@3'"):
        await found("spring@3")
    with pytest.raises(BanditsError):
        await found(None, {"name": "x", "version": 1, "algorithm": "random", "parameters": {"nonsense": 1}})


class Log:
    """Decisions that dice made, in pages of 10, and outcomes from before."""

    def __init__(self, decisions: int, before: Sequence[Outcome] = ()) -> None:
        view, policy = SHOP.view("home"), build_policy(DICE)
        prepared = prepare(policy, ArmTable(policy.width), view, START_MS)
        self.decided = [
            changed(decided_by(selection_context(view, f"d{n}", START_MS + n), DICE, policy, prepared))
            for n in range(decisions)
        ]
        self.earlier = list(before)
        self.asked_before: list[bool] = []
        self.imported = 0

    async def span(
        self, placement: str, start: datetime | None, end: datetime | None, limit: int
    ) -> Span | None:
        ends = to_datetime(START_MS), to_datetime(START_MS + len(self.decided))
        return Span(placement, *ends, len(self.decided), 0, self.imported) if self.decided else None

    async def pages(self, span: Span, placements: Sequence[str] = ()) -> AsyncIterator[Page]:
        for n in range(0, len(self.decided), 10):
            page = self.decided[n : n + 10]
            yield Page(page, [outcome for logged in page for outcome in self.answers(logged)])

    async def before(
        self, span: Span, placements: Sequence[str] = (), *, in_order: bool = False
    ) -> AsyncIterator[list[Outcome]]:
        self.asked_before.append(in_order)
        yield self.earlier

    def answers(self, logged: LoggedDecision) -> list[Outcome]:
        """Everybody likes offer 3."""
        return answers(lambda number: float(number == 3), logged)

    async def load(self, version: int | None = None) -> Catalogue:
        return SHOP


async def evaluated(log: Any, spec: PolicySpec, **scope: Any) -> dict[str, Any]:
    """The report."""
    ticks = count()
    asked = EvaluationScope("home", **scope)
    return await evaluate(spec, asked, log, log, lambda: float(next(ticks)))


async def test_whoever_does_as_was_done_earns_what_was_earned() -> None:
    log = Log(45)
    found = await evaluated(log, replace(DICE, name="same"))
    share = sum(logged.decision.numbers == (3,) for logged in log.decided) / 45
    assert found["estimates"]["earned"]["value"] == found["estimates"]["ips"]["value"] == pytest.approx(share)
    assert (found["decisions"], found["learned"], found["left_out"]) == (45, 0, [])
    assert [(row["group"], row["policy"], row["slots"]) for row in found["logged"]] == [
        ("champion", "dice@1", 45)
    ]
    assert found["logged"][0]["earned"]["value"] == pytest.approx(share)
    assert found["us_per_decision"] == 1e6
    assert (found["from"], log.asked_before) == (to_datetime(START_MS).isoformat(), [])


async def test_a_warm_start_learns_from_what_was_before_and_a_cold_one_does_not() -> None:
    spec = PolicySpec("t", 1, "thompson", learn_since_ms=0)
    sample = Log(1)
    liked = [
        structs.replace(o, decided_at_ms=START_MS - 10_000, recorded_ms=START_MS - 9_000, decision_id=f"e{n}")
        for n in range(30)
        for o in sample.answers(sample.decided[0])
    ]
    found = {start: await evaluated(Log(20, liked), spec, start=start) for start in ("cold", "warm")}
    assert found["warm"]["learned"] - found["cold"]["learned"] == 30
    assert found["warm"]["start"] == "warm"


@pytest.mark.parametrize(("start", "use"), [("cold", "a warm start learns"), ("warm", "the target learned")])
async def test_imported_history_is_left_out_with_the_reason(start: str, use: str) -> None:
    log = Log(25)
    log.imported = 20_000
    found = await evaluated(log, DICE, start=start)
    assert (found["decisions"], found["imported"], found["estimates"]["rows"]) == (25, 20_000, 25)
    (left_out,) = found["left_out"]
    assert (left_out["reason"], left_out["slots"]) == ("imported", 20_000)
    assert "is not known" in left_out["meaning"]
    (text,) = [text for text in found["warnings"] if "imported" in text]
    assert use in text
    assert not any("slots could not be used" in text for text in found["warnings"])


async def test_without_decisions_there_is_nothing_to_evaluate() -> None:
    with pytest.raises(NotFound, match="home"):
        await evaluated(Log(0), DICE)


async def test_what_is_left_out_has_a_reason_and_progress_is_told() -> None:
    log: Any = Log(25)
    log.decided[3] = changed(log.decided[3], source="history")
    told: list[tuple[int, int]] = []
    found = await evaluate(
        DICE, EvaluationScope("home"), log, log, lambda: 0.0, lambda done, total: told.append((done, total))
    )
    assert [row["slots"] for row in found["left_out"]] == [1]
    assert all(row["meaning"] for row in found["left_out"])
    assert told == [(10, 25), (20, 25), (25, 25)]
    assert found["estimates"]["rows"] == 24
