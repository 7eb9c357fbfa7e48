"""Made-up worlds: every rule is here, and nothing is tuned to a policy.

Unless a world says otherwise: 20 standard normal features without any memory from round to round; every offer has its
own weights, drawn independently; the reward is 0 or 1; and the policies of all libraries meet the same customers and
the same luck (the same uniform number decides whether a customer takes an offer, whoever offers it).
"""

from dataclasses import replace
from typing import Any

import numpy as np

from bandits.features import Feature
from bandits.policy import FloatArray
from benchmarks.learning.rounds import Rounds, Stream

FEATURES = 20
LONG, ROUNDS = 5_000, 3_000
DAYS_12, FLIP = 18_000, 5_000  # a round is a minute
WINDOW = 600
MANY = 12_000
WITH_100_OFFERS = 1_500  # where one of the libraries takes 6 ms a round
# The mean logit, its spread over offers, and the spread of a customer's logit: random earns 0.206, the oracle 0.749.
LEVEL, LEVEL_SPREAD, SIGNAL = -2.09, 0.5, 1.8


def sigmoid(z: FloatArray) -> FloatArray:
    """The logistic function."""
    p: FloatArray = 1.0 / (1.0 + np.exp(-z))
    return p


def logistic(seed: int, offers: int = 20, rounds: int = LONG, delay: int = 0) -> Rounds:
    """Logits are linear: a level for each offer, and normal weights."""
    rng = np.random.default_rng([1, seed])
    weights, levels = _offers(rng, offers)
    x = rng.normal(size=(rounds, FEATURES))
    return _rounds(rng, x, sigmoid(x @ weights.T + levels), delay=delay)


def linear(seed: int, offers: int = 20, rounds: int = ROUNDS) -> Rounds:
    """Chances are linear: 0.3 in the mean, customers on the unit sphere, and clipped to [0.02, 0.98]."""
    rng = np.random.default_rng([2, seed])
    weights = rng.normal(size=(offers, FEATURES)) * 0.22
    levels = 0.3 + 0.08 * rng.normal(size=offers)
    x = rng.normal(size=(rounds, FEATURES))
    x *= np.sqrt(FEATURES) / np.linalg.norm(x, axis=1, keepdims=True)
    return _rounds(rng, x, np.clip(x @ weights.T / np.sqrt(FEATURES) * 1.0 + levels, 0.02, 0.98))


def jump(seed: int, offers: int = 20, rounds: int = ROUNDS) -> Rounds:
    """Logistic; half way through, all offers get new weights and levels at once."""
    rng = np.random.default_rng([3, seed])
    (before, level), (after, new_level) = _offers(rng, offers), _offers(rng, offers)
    x = rng.normal(size=(rounds, FEATURES))
    late = (np.arange(rounds) >= rounds // 2)[:, None]
    expected = sigmoid(np.where(late, x @ after.T + new_level, x @ before.T + level))
    return replace(_rounds(rng, x, expected), drifts=True)


def flip(seed: int, offers: int = 20, rounds: int = DAYS_12, at: int = FLIP) -> Rounds:
    """Logistic; from one round on, every customer likes what was disliked before: all weights change their sign."""
    rng = np.random.default_rng([9, seed])
    weights, levels = _offers(rng, offers)
    x = rng.normal(size=(rounds, FEATURES))
    sign = np.where(np.arange(rounds) < at, 1.0, -1.0)[:, None]
    return replace(_rounds(rng, x, sigmoid(sign * (x @ weights.T) + levels)), drifts=True)


def flat_flip(seed: int, offers: int = 20, rounds: int = DAYS_12, at: int = FLIP) -> Rounds:
    """No features, chances drawn from Beta(1, 4); from one round on, the best offer is the worst, and so on."""
    rng = np.random.default_rng([10, seed])
    chances = np.sort(rng.beta(1.0, 4.0, size=offers))
    late = (np.arange(rounds) >= at)[:, None]
    made = _rounds(rng, np.zeros((rounds, 1)), np.where(late, chances[::-1], chances))
    return replace(made, features=(), facts=[{}] * rounds, drifts=True)


def daily(seed: int, offers: int = 20, rounds: int = DAYS_12) -> Rounds:
    """No features, chances as in ``flat_flip``, that swing every day: for all offers alike, and each by itself.

    Log odds swing by 0.5 either way, and each offer's by 0.5 more, at hours of its own.
    """
    rng = np.random.default_rng([11, seed])
    chances = np.clip(rng.beta(1.0, 4.0, size=offers), 0.01, 0.99)
    turn = 2.0 * np.pi * np.arange(rounds)[:, None] / 1_440
    swing = 0.5 * np.sin(turn) + 0.5 * np.sin(turn + 2.0 * np.pi * rng.random(offers))
    made = _rounds(rng, np.zeros((rounds, 1)), sigmoid(np.log(chances / (1.0 - chances)) + swing))
    return replace(made, features=(), facts=[{}] * rounds, drifts=True)


def rotation(seed: int, offers: int = 20, rounds: int = ROUNDS) -> Rounds:
    """Logistic; each offer's weights turn evenly, by a right angle in all, towards others of the same length."""
    rng = np.random.default_rng([4, seed])
    (start, level), (end, _) = _offers(rng, offers), _offers(rng, offers)
    x = rng.normal(size=(rounds, FEATURES))
    angle = np.linspace(0.0, np.pi / 2, rounds)[:, None]
    expected = sigmoid(np.cos(angle) * (x @ start.T) + np.sin(angle) * (x @ end.T) + level)
    return replace(_rounds(rng, x, expected), drifts=True)


def arriving(seed: int, offers: int = 20, rounds: int = ROUNDS) -> Rounds:
    """Logistic; five offers at first, and another one each time that a twentieth of the rounds has passed."""
    whole = logistic(1_000 + seed, offers, rounds)
    since = np.maximum(np.arange(offers) - 4, 0) * (rounds // offers)
    return replace(whole, since=since)


def stale(seed: int, offers: int = 20, rounds: int = ROUNDS) -> Rounds:
    """Logistic, with precomputed propensities that know more than the features do, but are stale for some offers.

    A customer's logit is the sum of a part that the features explain and of a part that only the propensities know,
    of equal variance. For 12 offers the propensity is the truth but for noise in the logit (0.3). For 4 it is
    four times too high in odds and half as spread out. For 4 it knows nothing: it belongs to another customer.
    """
    rng = np.random.default_rng([5, seed])
    weights, levels = _offers(rng, offers)
    x = rng.normal(size=(rounds, FEATURES))
    unseen = rng.normal(size=(rounds, offers)) * SIGNAL / np.sqrt(2.0)
    logits = x @ weights.T / np.sqrt(2.0) + unseen + levels
    known = logits + 0.3 * rng.normal(size=logits.shape)
    kinds = rng.permutation(offers)
    high, useless = kinds[12:16], kinds[16:20]
    known[:, high] = levels[high] + 0.5 * (known[:, high] - levels[high]) + np.log(4.0)
    known[:, useless] = rng.permutation(known[:, useless], axis=0)
    return _rounds(rng, x, sigmoid(logits), base_propensity=sigmoid(known))


def windowed(seed: int, mean_delay: float, rounds: int = ROUNDS) -> Rounds:
    """Logistic; silence is known at the end of a window, acceptances after exponential delays, if inside of it."""
    rng = np.random.default_rng([8, seed])
    delays = np.rint(rng.exponential(mean_delay, size=rounds) if mean_delay else np.zeros(rounds))
    made = logistic(3_000 + seed, rounds=rounds)
    return replace(made, window=WINDOW, acceptance_delays=delays.astype(np.intp))


def flat(seed: int, offers: int = 20, rounds: int = LONG) -> Rounds:
    """No features, and chances as low as they are in practice: drawn from Beta(1, 24), 4 % in the mean."""
    rng = np.random.default_rng([6, seed])
    chances = rng.beta(1.0, 24.0, size=offers)
    made = _rounds(rng, np.zeros((rounds, 1)), np.broadcast_to(chances, (rounds, offers)).copy())
    return replace(
        made, features=(), facts=[{}] * rounds
    )  # the constant column is for libraries that need one


def untold(seed: int, offers: int = 20, rounds: int = ROUNDS) -> Rounds:
    """20 normal features that no offer depends on; chances as in ``flat``."""
    rng = np.random.default_rng([7, seed])
    chances = rng.beta(1.0, 24.0, size=offers)
    x = rng.normal(size=(rounds, FEATURES))
    return _rounds(rng, x, np.broadcast_to(chances, (rounds, offers)).copy())


def grouped(
    seed: int,
    offers: int = 500,
    groups: int = 20,
    rounds: int = MANY,
    *,
    level: float = -7.7,
    of_group: tuple[float, float] = (1.0, 0.35),
    of_offer: tuple[float, float] = (0.5, 0.15),
    told: bool = True,
) -> Rounds:
    """Logistic in 5 features; what an offer is like is what its group is like, and something of its own.

    ``level``: the logit of a usual offer. ``of_group`` and ``of_offer``: the spread of levels, and of each slope, over
    groups and over the offers of a group. Unless ``told``, offers differ as much, whatever their groups.
    """
    rng = np.random.default_rng([9, seed])
    member = np.arange(offers) % groups
    parts = [rng.normal(size=(offers, 6)), rng.normal(size=(groups, 6))[member]]
    if not told:
        parts[1] = rng.normal(size=(offers, 6))
    spreads = [np.array([level_spread, *[slope] * 5]) for level_spread, slope in (of_offer, of_group)]
    weights = parts[0] * spreads[0] + parts[1] * spreads[1]
    x = rng.normal(size=(rounds, 5))
    made = _rounds(rng, x, sigmoid(level + weights[:, 0] + x @ weights[:, 1:].T))
    return replace(made, groups=member)


def _offers(rng: np.random.Generator, offers: int) -> tuple[FloatArray, FloatArray]:
    weights = rng.normal(size=(offers, FEATURES)) * SIGNAL / np.sqrt(FEATURES)
    return weights, LEVEL + LEVEL_SPREAD * rng.normal(size=offers)


def _rounds(
    rng: np.random.Generator,
    x: FloatArray,
    expected: FloatArray,
    *,
    base_propensity: FloatArray | None = None,
    delay: int = 0,
) -> Rounds:
    names = [f"context.x{column}" for column in range(x.shape[1])]
    return Rounds(
        x=x,
        features=tuple(
            Feature(name.partition(".")[2], "numeric", name, low=-4.0, high=4.0, default=0.0)
            for name in names
        ),
        facts=[dict(zip(names, row, strict=True)) for row in x.tolist()],
        expected=expected,
        rewards=(rng.random(expected.shape) < expected).astype(np.float64),
        since=np.zeros(expected.shape[1], dtype=np.intp),
        base_propensity=None if base_propensity is None else base_propensity.astype(np.float32),
        delay=delay,
    )


WORLDS = (
    Stream("logistic, 20 offers", "logits linear in 20 features; 5,000 rounds", logistic),
    Stream(
        "logistic, 100 offers",
        "the same with 100 offers; 1,500 rounds",
        lambda seed: logistic(seed, 100, WITH_100_OFFERS),
    ),
    Stream("linear, 20 offers", "chances linear in 20 features", linear),
    Stream(
        "linear, 100 offers",
        "the same with 100 offers; 1,500 rounds",
        lambda seed: linear(seed, 100, WITH_100_OFFERS),
    ),
    Stream("drift, jump", "logistic; everything changes half way", jump),
    Stream("drift, rotation", "logistic; the weights turn by a right angle", rotation),
    Stream(
        "delayed",
        "logistic; outcomes are known 300 rounds later",
        lambda seed: logistic(2_000 + seed, rounds=ROUNDS, delay=300),
    ),
    Stream(
        "no window",
        "logistic; the same customers, all outcomes known at once",
        lambda s: logistic(3_000 + s, rounds=ROUNDS),
    ),
    Stream("late silence", "acceptances known at once, silence 600 rounds later", lambda s: windowed(s, 0.0)),
    Stream(
        "late, a third",
        "acceptances after 200 rounds in the mean, silence after 600",
        lambda s: windowed(s, 200.0),
    ),
    Stream("late, twice", "the same after 1,200: most come too late", lambda s: windowed(s, 1_200.0)),
    *(
        Stream(
            f"delay {d}",
            "all outcomes are known so many rounds later (delays of Chapelle and Li, 2011, table 1); 5,000 rounds",
            lambda seed, d=d: logistic(2_000 + seed, delay=d),  # type: ignore[misc]
        )
        for d in (10, 100, 1000)
    ),
    Stream("cold offers", "logistic; 5 offers, then one more every 150 rounds", arriving),
    Stream("stale propensities", "precomputed propensities, stale for 8 of 20 offers", stale),
    Stream("low rates", "no features, 20 offers accepted by 4 % in the mean; 5,000 rounds", flat),
    Stream("features tell nothing", "the same chances, whatever 20 features say", untold),
)
"""Those of ``make bench-learning``."""

LONG_WORLDS = (
    Stream("flip", "logistic; after 5,000 of 18,000 rounds all weights change their sign", flip),
    Stream("flip, no features", "the same of offers' chances: the best becomes the worst", flat_flip),
    Stream(
        "days", "no features; chances swing every day, for all offers alike and for each by itself", daily
    ),
    Stream("long rotation", "rotation; 18,000 rounds", lambda s: rotation(s, rounds=DAYS_12)),
    Stream("long logistic", "logistic, 20 offers; 18,000 rounds", lambda s: logistic(s, rounds=DAYS_12)),
    Stream("long stale", "stale propensities; 18,000 rounds", lambda s: stale(s, rounds=DAYS_12)),
    Stream("long low rates", "low rates; 18,000 rounds", lambda s: flat(s, rounds=DAYS_12)),
    Stream("long untold", "features tell nothing; 18,000 rounds", lambda s: untold(s, rounds=DAYS_12)),
)
"""Twelve and a half days, for what is forgotten."""

MODERATE: dict[str, Any] = {"level": -3.5, "of_group": (0.7, 0.5), "of_offer": (0.5, 0.3)}
GROUPED = (
    Stream("many offers", "500 offers in 20 groups, accepted by 1 in 850; 12,000 rounds", grouped),
    Stream(
        "many offers, groups tell nothing",
        "the same, but offers differ whatever their groups",
        lambda seed: grouped(seed, told=False),
    ),
    Stream(
        "groups, 100 offers",
        "100 offers in 10 groups, accepted by 6 %; 4,000 rounds",
        lambda seed: grouped(seed, 100, 10, 4_000, **MODERATE),
    ),
    Stream(
        "100 offers, groups tell nothing",
        "the same, but offers differ whatever their groups",
        lambda seed: grouped(seed, 100, 10, 4_000, **MODERATE, told=False),
    ),
)
"""Streams whose offers have groups: for ``benchmarks.learning.batched`` alone, since the other libraries know none."""
