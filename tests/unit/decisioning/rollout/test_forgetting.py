"""Ways to forget that are tried, what is asked of each, and what is said of one that is taken."""

from dataclasses import replace

import pytest

from bandits.monitoring.paired_losses import ClearGain
from bandits.registry import build_policy
from decisioning.rollout.defaults import default_spec
from decisioning.rollout.forgetting import (
    CUTS,
    MARGIN,
    Forgetting,
    changes_of,
    forgetting_of,
    margins_of,
    reason_of,
    ways_from,
    with_forgetting,
)
from storage.clock import DAY_MS

SPEC = default_spec(())
USUAL = Forgetting(90.0)
TIMES = list(range(10**12, 10**12 + 20_000 * 60_000, 60_000))


def test_a_specification_says_how_it_forgets_and_is_the_same_again_when_it_goes_back() -> None:
    assert forgetting_of(SPEC) == USUAL
    short = with_forgetting(SPEC, Forgetting(1.0, 7))
    assert forgetting_of(short) == Forgetting(1.0, 7)
    assert build_policy(short).decay.half_life_s == 86_400.0
    assert with_forgetting(short, USUAL) == SPEC


def test_shorter_half_lives_and_beginning_anew_are_tried() -> None:
    ways = ways_from(USUAL, TIMES)
    assert ways[0] == USUAL
    assert {way.half_life_days for way in ways} == {90.0, 7.0, 1.0}
    assert [way.since_ms for way in ways if way.since_ms] == [TIMES[-count] for count in CUTS]
    assert len(set(ways)) == len(ways)
    few = [way.since_ms for way in ways_from(USUAL, TIMES[:400]) if way.since_ms]
    assert few == [TIMES[400 - 256]]


def test_after_a_cut_all_that_was_before_is_tried_again_and_no_time_between() -> None:
    now = Forgetting(1.0, TIMES[-1000])
    ways = ways_from(now, TIMES)
    assert ways[0] == now
    assert USUAL in ways
    assert {way.since_ms for way in ways} == {0, now.since_ms, TIMES[-256], TIMES[-512]}


def test_only_what_forgets_more_has_to_be_better_by_a_margin() -> None:
    ways = ways_from(Forgetting(7.0), TIMES)
    margins = {ways[number]: margin for number, margin in margins_of(ways).items()}
    assert margins[USUAL] == 0.0
    assert margins[Forgetting(1.0)] == MARGIN
    assert margins[Forgetting(90.0, TIMES[-512])] == MARGIN
    assert Forgetting(7.0) not in margins


@pytest.mark.parametrize(
    ("now", "way", "said"),
    [
        (USUAL, Forgetting(90.0, 1_750_000_000_000), "only decisions since 2025-06-15T15:06:40.000Z"),
        (USUAL, Forgetting(1.0), "acceptance keeps changing: half is forgotten in a day instead of 90 days"),
        (Forgetting(7.0), USUAL, "acceptance changes less: half is forgotten in 90 days instead of 7 days"),
        (Forgetting(90.0, 5), USUAL, "older decisions tell what is accepted again"),
    ],
)
def test_the_reason_is_said_in_words(now: Forgetting, way: Forgetting, said: str) -> None:
    reason = reason_of(now, way, ClearGain(1, 512, 0.75, 0.5, 0.2))
    assert said in reason
    assert reason.endswith("(log loss of the latest 512 outcomes: 0.5000 instead of 0.7500)")


def test_versions_that_forget_otherwise_are_told_from_those_with_other_features() -> None:
    short = with_forgetting(SPEC, Forgetting(1.0, DAY_MS))
    described = replace(SPEC, description="another")
    assert changes_of([]) == []
    assert changes_of([SPEC, described, short, short, SPEC]) == [2, 4]
