"""``python -m benchmarks.learning.forgetting``: what it earns that the default chooses what it forgets.

The rules of the product, by the batched players of ``batched``: every few hours the ways to forget are compared by how
well they expected what was chosen, with the product's own test (``clearest_gain``). Each way plays along as a policy
of its own that learns what was chosen and decides nothing, so none is folded anew from a log. What it could begin
anew from are therefore the times of earlier looks: the latest one, and every second, fourth, ... of those before.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bandits.monitoring.paired_losses import ExpectedOutcomes, clearest_gain
from bandits.policy import FloatArray
from benchmarks.learning.batched import VARIANTS, Games, Learners, choose, mean_and_half_width
from benchmarks.learning.rounds import Rounds
from benchmarks.learning.worlds import FLIP, LONG_WORLDS, sigmoid
from decisioning.rollout.forgetting import HALF_LIVES, Forgetting, begin_anew, margins_of

DAY = 1440
"""Rounds."""
ROUND_MS = 60_000
CUTS = 6
WHOLE = len(HALF_LIVES)
"""The way that learned all there was; before it those of the half-lives, behind it those that begin anew."""
WAYS = WHOLE + 1 + CUTS
TICKS = 32
"""Times that sums fade in a half-life, as in the product."""


class Adaptive:
    """Ways to forget of one or more seeds: ``WAYS`` policies for each, of which one decides."""

    def __init__(self, made: Sequence[Rounds], seeds: Sequence[int], variant: str, every: int) -> None:
        self.every = every
        self.games = Games(made, seeds, variant)
        self._of = np.repeat(np.arange(len(seeds)), WAYS)
        self._all = _repeated(self.games, self._of)
        self._learners = Learners(self._all)
        rounds = self.games.expected.shape[1]
        self._chances = np.full((len(seeds), rounds, WAYS), np.nan)
        self._chosen, self._rewards = np.zeros((2, len(seeds), rounds))
        usual = HALF_LIVES[0]
        self._ways = [
            [*map(Forgetting, HALF_LIVES), Forgetting(usual), *[Forgetting(usual)] * CUTS] for _ in seeds
        ]
        self._now = np.zeros(len(seeds), dtype=np.intp)
        self._changed = np.full(len(seeds), -DAY)
        self.changes: list[tuple[int, int, Forgetting]] = []

    def play(self) -> FloatArray:
        """Return the reward of each round: shape ``(seeds, rounds)``."""
        seeds, rounds, _ = self.games.expected.shape
        rows, learners = np.arange(seeds), self._learners
        every_row = np.arange(len(self._of))
        earned = np.zeros((seeds, rounds))
        for t in range(rounds):
            if t and t % self.every == 0:
                self._look(t)
            self._fade(t)
            mean, spread = learners.expect(t)
            deciding = rows * WAYS + self._now
            chosen = choose(self.games, t, mean[deciding], spread[deciding])
            earned[:, t] = self.games.expected[rows, t, chosen]
            of_all = chosen[self._of]
            reward = self._all.rewards[every_row, t, of_all]
            self._chances[:, t] = sigmoid(np.clip(mean[every_row, of_all], -13.0, 13.0)).reshape(seeds, WAYS)
            self._chosen[:, t], self._rewards[:, t] = chosen, reward[::WAYS]
            learners.learn(t, of_all, reward)
        return earned

    def _fade(self, t: int) -> None:
        for number, days in enumerate([*HALF_LIVES, *[HALF_LIVES[0]] * (WAYS - WHOLE)]):
            tick = int(days * DAY / TICKS)
            if t and t % tick == 0:
                self._learners.fade(np.arange(number, len(self._of), WAYS), 0.5 ** (tick / (days * DAY)))

    def _look(self, t: int) -> None:
        for seed, ways in enumerate(self._ways):
            if t - self._changed[seed] >= DAY:
                self._reconsider(seed, ways, t)
            for cut in range(CUTS):
                if (t // self.every) % 2**cut == 0:
                    number = WHOLE + 1 + cut
                    self._learners.fade(np.array([seed * WAYS + number]), 0.0)
                    self._chances[seed, :, number] = np.nan
                    ways[number] = Forgetting(HALF_LIVES[0], t)

    def _reconsider(self, seed: int, ways: list[Forgetting], t: int) -> None:
        now = int(self._now[seed])
        order = [now, *(number for number in range(WAYS) if ways[number] != ways[now])]
        tried = [ways[number] for number in order]
        expected = ExpectedOutcomes(
            np.arange(t) * ROUND_MS,
            self._chosen[seed, :t].astype(np.int64),
            self._rewards[seed, :t],
            self._chances[seed, :t, order].T,
        )
        gain = clearest_gain(expected, 0, margins_of(tried), begin_anew(tried))
        if gain is None:
            return
        number = order[gain.model]
        self._changed[seed] = t
        self.changes.append((seed, t, ways[number]))
        if number < WHOLE:
            self._now[seed] = number
            return
        # Half-lives go on from there; that of the shorter ones counts from now on.
        self._learners.copy(seed * WAYS + number, np.arange(seed * WAYS, seed * WAYS + WHOLE))
        for place, days in enumerate(HALF_LIVES):
            ways[place] = Forgetting(days, ways[number].since_ms)
            self._chances[seed, :, place] = self._chances[seed, :, number]
        self._now[seed] = 0


def _repeated(games: Games, of: NDArray[np.intp]) -> Games:
    """Let every seed play as often as ``of`` names it."""
    repeated = Games.__new__(Games)
    for name, value in vars(games).items():
        found = [value[row] for row in of.tolist()] if isinstance(value, list) else value
        setattr(repeated, name, value[of] if isinstance(value, np.ndarray) else found)
    return repeated


def play_fixed(games: Games, half_life_days: float) -> FloatArray:
    """Return the reward of each round with one half-life: shape ``(seeds, rounds)``."""
    seeds, rounds, _ = games.expected.shape
    learners, rows = Learners(games), np.arange(seeds)
    tick = int(half_life_days * DAY / TICKS)
    earned = np.zeros((seeds, rounds))
    for t in range(rounds):
        if t and t % tick == 0:
            learners.fade(rows, 0.5 ** (1 / TICKS))
        chosen = choose(games, t, *learners.expect(t))
        earned[:, t] = games.expected[rows, t, chosen]
        learners.learn(t, chosen, games.rewards[rows, t, chosen])
    return earned


def way_back(earned: FloatArray, usual: FloatArray, flip: int = FLIP) -> FloatArray:
    """Return for each seed how much of the way back was gone in the last 1,000 rounds.

    Of the way from what the ``usual`` half-life earned in the first 100 rounds after the flip to the last 1,000 before.
    """
    low, high = usual[:, flip : flip + 100].mean(axis=1), usual[:, max(flip - 1000, 0) : flip].mean(axis=1)
    found: FloatArray = (earned[:, -1000:].mean(axis=1) - low) / (high - low)
    return found


def main() -> None:
    """Play the streams that are asked for, and print a line for each way."""
    known = {stream.name: stream for stream in LONG_WORLDS}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning.forgetting")
    parser.add_argument("--stream", action="append", help=f"one of: {', '.join(known)}; else all")
    parser.add_argument("--first", type=int, default=300, help="the first seed")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--variant", default="declared", choices=VARIANTS)
    parser.add_argument("--every", type=float, default=6.0, help="hours between two looks")
    options = parser.parse_args()
    for name in options.stream or known:
        if name not in known:
            sys.exit(f"no such stream; there are: {', '.join(known)}")
        seeds = range(options.first, options.first + options.seeds)
        made = [known[name].make(seed) for seed in seeds]
        print(f"{name}, {options.variant}, seeds {seeds[0]} to {seeds[-1]}", flush=True)
        adaptive = Adaptive(made, seeds, options.variant, int(options.every * 60))
        usual = play_fixed(adaptive.games, HALF_LIVES[0])
        _report("90 days", usual, usual, "flip" in name)
        _report("1 day", play_fixed(adaptive.games, 1.0), usual, "flip" in name)
        _report("learned", adaptive.play(), usual, "flip" in name)
        for seed, t, way in adaptive.changes:
            since = f", from round {way.since_ms} on" if way.since_ms else ""
            print(f"    seed {seeds[seed]}, round {t}: {way.half_life_days:g} days{since}", flush=True)


def _report(what: str, earned: FloatArray, usual: FloatArray, flips: bool) -> None:
    (mean, half), (more, width) = (
        mean_and_half_width(earned.mean(axis=1)),
        mean_and_half_width((earned - usual).mean(axis=1)),
    )
    line = f"  {what:8} {mean:.4f} ± {half:.4f}; more than with 90 days: {more:+.4f} ± {width:.4f}"
    line += f"; last 1,000 rounds {earned[:, -1000:].mean():.4f}"
    if flips:
        line += f"; way back {way_back(earned, usual).mean():.0%}"
    print(line, flush=True)


if __name__ == "__main__":
    main()
