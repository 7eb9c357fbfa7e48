"""Watching the offers of a placement: bounded, and the same whenever it is built again."""

from random import Random

import pytest

from decisioning.rollout import drift as drift_module
from decisioning.rollout.drift import Drift, PlacementDrift
from decisioning.rollout.results import MadeDecision, Result


def results(seed: int, *parts: tuple[int, float]) -> list[Result]:
    """A decision each second with one offer."""
    random = Random(seed)
    found: list[Result] = []
    for count, rate in parts:
        for _ in range(count):
            number = len(found)
            made = MadeDecision(
                f"d{number}", "ann", number * 1000, 10**12, "champion", "a@1", False, ["gold"], []
            )
            found.append(Result(made, {"gold": random.random() < rate}))
    return found


STREAM = results(1, (500, 0.6), (500, 0.1), (500, 0.6))


def test_changes_are_found_where_they_are() -> None:
    watch = PlacementDrift()
    found = [drift for result in STREAM for drift in watch.take(result)]
    assert len(found) == 2
    for drift, change in zip(found, (500, 1000), strict=True):
        assert drift.detection.since_s == pytest.approx(change, abs=30)
        assert drift.decision_id == f"d{round(drift.detection.at_s)}"
        assert change < drift.detection.at_s < change + 150


def test_built_again_from_the_last_change_it_finds_the_same() -> None:
    watch = PlacementDrift()
    found: list[Drift] = []
    for number, result in enumerate(STREAM):
        last = {d.detection.offer: (round(d.detection.at_s * 1000), d.decision_id) for d in found}
        if number % 250 == 249:
            watch = PlacementDrift(last)
            for earlier in STREAM[:number]:
                assert watch.take(earlier) == []
        found += watch.take(result)
    whole = PlacementDrift()
    assert found == [drift for result in STREAM for drift in whole.take(result)]
    assert watch.pop_changed() == whole.pop_changed()


def test_windows_begin_anew_after_a_change() -> None:
    watch = PlacementDrift()
    seen = 0
    for result in STREAM[:700]:
        seen += 1
        if watch.take(result):
            break
    (window,) = watch.pop_changed()
    assert (window.observations, window.acceptances) == (0, 0)
    watch.take(STREAM[seen])
    watch.take(STREAM[seen + 1])
    (window,) = watch.pop_changed()
    assert window.observations == 2
    assert window.acceptances == sum(r.success for r in STREAM[seen : seen + 2])
    assert (window.since_ms, window.until_ms) == (seen * 1000, (seen + 1) * 1000)
    assert watch.pop_changed() == []


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift_module, "MAX_OFFERS", 3)
    watch = PlacementDrift()
    for number, offer in enumerate(["a", "b", "c", "a", "d"]):
        made = MadeDecision(f"d{number}", "ann", number, 10**12, "champion", "x@1", False, [offer], [])
        watch.take(Result(made, {offer: True}))
    assert [w.offer_id for w in watch.pop_changed()] == ["a", "c", "d"]
    assert len(watch._drift) == 3
