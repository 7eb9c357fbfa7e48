"""Playing a stream: all entrants meet the same rounds, and take turns, so that noise of the machine is shared."""

import gc
import heapq
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from bandits.policy import FloatArray
from benchmarks.learning.rounds import Choice, Entrant, Player, Round, Rounds, Rows

TURN = 250
"""Rounds that an entrant plays before it is the next one's turn."""


@dataclass(slots=True)
class Score:
    """The result of one entrant on one seed: reward by round, or in a log where it was matched; process time in all."""

    entrant: str
    rewards: list[float] = field(default_factory=list)
    decisions: int = 0
    updates: int = 0
    decision_ns: int = 0
    update_ns: int = 0

    @property
    def mean_reward(self) -> float:
        """The mean over rounds; 0 if there was none to judge by."""
        return float(np.mean(self.rewards)) if self.rewards else 0.0

    @property
    def us_per_decision(self) -> float:
        """Process time of a decision in microseconds."""
        return self.decision_ns / max(self.decisions, 1) / 1e3

    @property
    def us_per_update(self) -> float:
        """Process time of an update in microseconds."""
        return self.update_ns / max(self.updates, 1) / 1e3


def play(rounds: Rounds, entrants: tuple[Entrant, ...], seed: int) -> list[Score]:
    """Let all entrants play, in turns of ``TURN`` rounds."""
    scores = [Score(entrant.name) for entrant in entrants]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other libraries, about themselves
        players = [entrant.make(rounds, seed) for entrant in entrants]
        turns = [_turns(rounds, player, score) for player, score in zip(players, scores, strict=True)]
        gc.collect()
        for _ in range(0, len(rounds), TURN):
            for turn in turns:
                next(turn, None)
        for turn in turns:  # the last outcomes
            next(turn, None)
    return scores


def _turns(rounds: Rounds, player: Player, score: Score) -> Iterator[None]:
    step = _replayed if rounds.logged is not None else _played
    waiting: list[tuple[int, int, Round, Choice, float]] = []
    show = getattr(player, "show", None) if rounds.window else None
    clock = time.process_time_ns
    offers: Rows = np.flatnonzero(rounds.since <= 0)
    for t in range(len(rounds)):
        if (rounds.since == t).any():
            offers = np.flatnonzero(rounds.since <= t)
        base_propensity = None if rounds.base_propensity is None else rounds.base_propensity[t]
        now = Round(t, rounds.x[t], rounds.facts[t], offers, base_propensity)
        choice, reward = step(rounds, player, score, now)
        if show is not None:
            show(now, choice)
        due, reward = _known(rounds, t, reward)
        heapq.heappush(waiting, (due, t, now, choice, reward))
        while waiting and waiting[0][0] <= t:
            _, _, then, choice, reward = heapq.heappop(waiting)
            started = clock()
            player.learn(then, choice, reward)
            score.update_ns += clock() - started
            score.updates += 1
        if (t + 1) % TURN == 0:
            yield


def _known(rounds: Rounds, t: int, reward: float) -> tuple[int, float]:
    """In which round an outcome is known, and what it is by then."""
    if not rounds.window or rounds.acceptance_delays is None:
        return t + rounds.delay, reward
    delay = int(rounds.acceptance_delays[t])
    return (t + delay, reward) if reward and delay <= rounds.window else (t + rounds.window, 0.0)


def _played(rounds: Rounds, player: Player, score: Score, now: Round) -> tuple[Choice, float]:
    started = time.process_time_ns()
    choice = player.choose(now)
    score.decision_ns += time.process_time_ns() - started
    score.decisions += 1
    score.rewards.append(float(rounds.expected[now.number, choice.offer]))
    return choice, float(rounds.rewards[now.number, choice.offer])


def _replayed(rounds: Rounds, player: Player, score: Score, now: Round) -> tuple[Choice, float]:
    assert rounds.logged is not None
    logged = int(rounds.logged[now.number])
    reward = float(rounds.rewards[now.number, logged])
    started = time.process_time_ns()
    choice = player.choose(now)
    score.decision_ns += time.process_time_ns() - started
    score.decisions += 1
    if choice.offer == logged:
        score.rewards.append(reward)
    return player.logged(now, logged, 1.0 / len(now.offers)), reward


class Random:
    """Any offer: the least that can be earned."""

    def __init__(self, rounds: Rounds, seed: int) -> None:
        self._rng = np.random.default_rng([17, seed])

    def choose(self, now: Round) -> Choice:
        """Any."""
        return Choice(int(self._rng.choice(now.offers)), 1.0 / len(now.offers))

    def logged(self, now: Round, offer: int, probability: float) -> Choice:
        """As it was."""
        return Choice(offer, probability)

    def learn(self, then: Round, choice: Choice, reward: float) -> None:
        """Nothing."""


class Oracle(Random):
    """The best offer in expectation: the most that can be earned."""

    def __init__(self, rounds: Rounds, seed: int) -> None:
        super().__init__(rounds, seed)
        self._expected: FloatArray = rounds.expected

    def choose(self, now: Round) -> Choice:
        """The best."""
        return Choice(int(now.offers[int(np.argmax(self._expected[now.number, now.offers]))]), 1.0)
