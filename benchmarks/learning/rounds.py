"""The rounds of a stream, and the interface of what takes part in it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bandits.features import Feature
from bandits.policy import FloatArray

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Rounds:
    """One seed of a stream: ``T`` customers, one after the other, and what each of ``n`` offers would bring.

    ``x``: shape ``(T, d)``, the features as every library takes them. ``facts``: the same as this service takes
    them, ``T`` mappings by path, declared by ``features``. ``base_propensity``: shape ``(T, n)``, the precomputed
    propensities, or None where the stream has none. ``expected``: shape ``(T, n)``, the mean reward of each
    offer (the reward itself where nothing else is known); ``rewards``: shape ``(T, n)``, in [0, 1]. ``since``: shape
    ``(n,)``, the round in which each offer arrives. ``delay``: an outcome is known so many rounds later. With
    ``window`` acceptances have delays of their own, ``acceptance_delays``, shape ``(T,)``; one that is longer than the
    window, and what is not accepted, is known as a reward of 0 at the window's end.
    ``logged``: shape ``(T,)``, the offer that somebody else chose uniformly at random: then only its reward is
    known, and a policy is judged on the rounds in which it chooses the same. ``drifts``: whether the world changes.
    ``groups``: shape ``(n,)``, the group of each offer, or None where offers have none.
    """

    x: FloatArray
    features: tuple[Feature, ...]
    facts: Sequence[Mapping[str, Any]]
    expected: FloatArray
    rewards: FloatArray
    since: Rows
    base_propensity: NDArray[np.float32] | None = None
    delay: int = 0
    window: int = 0
    acceptance_delays: Rows | None = None
    logged: Rows | None = None
    drifts: bool = False
    groups: Rows | None = None

    @property
    def offers(self) -> int:
        """The number of offers in the end."""
        return int(self.expected.shape[1])

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, slots=True)
class Round:
    """One customer, as a player sees it. ``offers``: rows of the offers that exist now, ascending."""

    number: int
    x: FloatArray
    facts: Mapping[str, Any]
    offers: Rows
    base_propensity: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Choice:
    """The row of the chosen offer, the chance with which it was chosen, and what its player wants back."""

    offer: int
    probability: float
    memo: Any = None


class Player(Protocol):
    """A policy in the arena: it chooses an offer, and learns what came of it, perhaps much later."""

    def choose(self, now: Round) -> Choice:
        """An offer for this customer."""
        ...

    def logged(self, now: Round, offer: int, probability: float) -> Choice:
        """The choice that somebody else made for this customer, to learn from as if it were one's own."""
        ...

    def learn(self, then: Round, choice: Choice, reward: float) -> None:
        """The outcome of a choice."""
        ...


class Shower(Player, Protocol):
    """A player that also learns that a choice was shown, before its outcome is known."""

    def show(self, now: Round, choice: Choice) -> None:
        """It was shown, and nothing has come of it yet."""
        ...


@dataclass(frozen=True, slots=True)
class Stream:
    """A named source of rounds: the same seed gives the same rounds. ``rules``: how they are made, in a sentence.

    ``subsampled``: seeds are random halves of the same data, so that their standard deviation is the standard error.
    """

    name: str
    rules: str
    make: Callable[[int], Rounds]
    subsampled: bool = False


@dataclass(frozen=True, slots=True)
class Entrant:
    """A policy that can enter: ``make(rounds, seed)`` builds it. ``needs``: the package that must be installed.

    ``suits`` says whether it can play these rounds at all.
    """

    name: str
    ours: bool
    make: Callable[[Rounds, int], Player]
    needs: str | None = None
    suits: Callable[[Rounds], bool] = field(default=lambda rounds: True)
