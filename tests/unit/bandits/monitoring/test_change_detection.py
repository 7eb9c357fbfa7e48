"""Drift of acceptance: jumps are found soon and not before, unchanged streams stay silent, offers do not mix."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bandits.errors import EvaluationError
from bandits.monitoring.change_detection import MAX_BLOCKS, AcceptanceChangeDetector, OfferReward
from tests.support.bandits_changes import detect_changes


def stream(seed: int, *stretches: tuple[int, float], offer: str = "a") -> list[OfferReward]:
    """An outcome a minute; ``stretches`` of so many outcomes with that acceptance."""
    rng = np.random.default_rng(seed)
    accepted: NDArray[np.bool_] = np.concatenate([rng.random(n) < rate for n, rate in stretches])
    return [OfferReward(offer, 60.0 * i, float(reward)) for i, reward in enumerate(accepted)]


@pytest.mark.parametrize(
    ("before", "after", "within"), [(0.5, 0.25, 300), (0.1, 0.3, 300), (0.1, 0.05, 2_500), (0.02, 0.1, 500)]
)
def test_a_jump_is_found_soon_after_and_not_before(before: float, after: float, within: int) -> None:
    length = 3_000
    found = [list(detect_changes(stream(seed, (length, before), (within, after)))) for seed in range(20)]
    first = [each[0] for each in found if each]
    assert len(first) >= 19
    assert all(detection.at_s >= 60.0 * length for detection in first)
    assert np.median([d.rate_before for d in first]) == pytest.approx(before, rel=0.1)
    assert np.median([d.rate_after for d in first]) == pytest.approx(after, rel=0.3)
    assert np.median([d.since_s for d in first]) / 60.0 == pytest.approx(length, rel=0.03)


def test_what_a_detection_says_adds_up() -> None:
    outcomes = stream(1, (1_000, 0.2), (400, 0.6))
    first = next(detect_changes(outcomes))
    seen = [outcome.reward for outcome in outcomes if outcome.at_s <= first.at_s]
    assert first.offer == "a"
    assert first.width_before + first.width == len(seen)
    assert first.since_s == outcomes[first.width_before].at_s
    assert first.rate_before == pytest.approx(np.mean(seen[: first.width_before]))
    assert first.rate_after == pytest.approx(np.mean(seen[first.width_before :]))


def test_unchanged_streams_raise_hardly_any_alarm() -> None:
    """10,000 outcomes each: at most 1 stream in 40, whatever the rate."""
    for rate in (0.1, 0.5):
        alarmed = sum(bool(list(detect_changes(stream(seed, (10_000, rate))))) for seed in range(40))
        print(f"{rate}: {alarmed} of 40 unchanged streams raised an alarm")  # noqa: T201
        assert alarmed <= 1


def test_a_larger_delta_sees_more() -> None:
    streams = [stream(seed, (2_000, 0.1), (800, 0.06)) for seed in range(20)]
    few, many = (sum(len(list(detect_changes(each, delta))) for each in streams) for delta in (0.0005, 0.3))
    assert few < many


def test_nothing_is_reported_in_the_grace_period() -> None:
    outcomes = stream(2, (60, 0.0), (200, 1.0))
    assert next(detect_changes(outcomes, grace_period=10)).at_s < 60.0 * 100
    assert not list(detect_changes(outcomes[:100], grace_period=100))
    assert next(detect_changes(outcomes, grace_period=100)).at_s >= 60.0 * 100


def test_offers_are_watched_independently() -> None:
    a = stream(3, (1_000, 0.1), (600, 0.5), offer="a")
    b = stream(4, (1_000, 0.5), (600, 0.1), offer="b")
    mixed = [outcome for pair in zip(a, b, strict=True) for outcome in pair]
    both = list(detect_changes(mixed))
    assert {detection.offer for detection in both} == {"a", "b"}
    for offer, alone in (("a", a), ("b", b)):
        assert [detection for detection in both if detection.offer == offer] == list(detect_changes(alone))


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 0.5, 1.0])), max_size=300), st.randoms()
)
def test_how_offers_interleave_does_not_matter(drawn: list[tuple[str, float]], random: object) -> None:
    outcomes = [OfferReward(offer, float(i), reward) for i, (offer, reward) in enumerate(drawn)]
    grouped = sorted(outcomes, key=lambda outcome: outcome.offer)  # stable: in order within an offer

    def found(given_in: list[OfferReward]) -> set[object]:
        return set(detect_changes(given_in, delta=0.5, grace_period=5))

    assert found(outcomes) == found(grouped) == found(outcomes)


def test_rate_and_width_follow_the_current_window() -> None:
    watch = AcceptanceChangeDetector()
    assert (watch.rate("a"), watch.width("a"), len(watch)) == (None, 0, 0)
    for outcome in [OfferReward("a", 0.0, 1.0), OfferReward("a", 1.0, 0.0), OfferReward("b", 1.0, 0.0)]:
        watch.observe(outcome)
    assert (watch.rate("a"), watch.width("a"), watch.rate("b"), len(watch)) == (0.5, 2, 0.0, 2)
    watch.forget("a")
    watch.forget("never seen")
    assert (watch.rate("a"), watch.width("a"), len(watch)) == (None, 0, 1)


def test_what_is_kept_of_an_offer_is_bounded() -> None:
    watch = AcceptanceChangeDetector()
    sizes = []
    for i in range(20_000):
        watch.observe(OfferReward("a", float(i), float(i % 2)))
        if i % 1_000 == 999:
            sizes.append(len(watch._windows["a"]._blocks))
    assert max(sizes) <= MAX_BLOCKS
    assert len({block.n for block in watch._windows["a"]._blocks[:-1]}) == 1
    assert (watch.width("a"), watch.rate("a")) == (20_000, 0.5)


def test_after_a_detection_the_window_starts_anew() -> None:
    watch = AcceptanceChangeDetector()
    for outcome in stream(5, (1_000, 0.1), (1_000, 0.9)):
        if watch.observe(outcome):
            break
    assert (watch.rate("a"), watch.width("a")) == (None, 0)
    watch.observe(OfferReward("a", outcome.at_s, 1.0))
    assert (watch.rate("a"), watch.width("a")) == (1.0, 1)


@pytest.mark.parametrize(
    ("outcome", "named"),
    [
        (OfferReward("a", 0.0, -0.1), "reward"),
        (OfferReward("a", 0.0, 1.1), "reward"),
        (OfferReward("a", 0.0, math.nan), "reward"),
        (OfferReward("a", math.nan, 1.0), "at_s"),
        (OfferReward("a", math.inf, 1.0), "at_s"),
    ],
)
def test_an_outcome_out_of_range_changes_nothing(outcome: OfferReward, named: str) -> None:
    watch = AcceptanceChangeDetector()
    watch.observe(OfferReward("b", 0.0, 1.0))
    with pytest.raises(EvaluationError, match=rf"^{named}"):
        watch.observe(outcome)
    assert (len(watch), watch.width("a"), watch.width("b")) == (1, 0, 1)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [((0.0,), "delta"), ((1.0,), "delta"), ((math.nan,), "delta"), ((0.1, 0), "grace_period")],
)
def test_parameters_out_of_range_are_refused_by_name(parameters: tuple[float, int], named: str) -> None:
    with pytest.raises(EvaluationError, match=rf"^{named}"):
        AcceptanceChangeDetector(*parameters)
