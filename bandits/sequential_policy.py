"""Policies whose updates do not commute: the whole state is one model, taught in one order.

They choose as all policies do. Instead of adding to arms, one owner at a time teaches the model, outcome by outcome.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from bandits.policy import IntArray, Observation, Policy, Sums
from bandits.state import ArmTable
from bandits.sums import OfferGroups

MODEL_FIELD = "model"
"""The field that holds the packed model among a policy's stored arms."""


class SequentialPolicy(Policy, Protocol):
    """A policy that learns one outcome after the other.

    ``width`` is 0 and ``learn`` gives nothing, since there are no sums; ``prepare`` takes a ``LearnedModel`` (or
    ``Sums``, for a model that has learned nothing). Models are changed by ``observe`` alone.
    """

    sequential: bool
    weighs: bool
    """True if ``observe`` weighs provisional silence by the model's own chance that it lasts, so that it is no bias."""

    def fresh(self) -> Any:
        """Make a model that has learned nothing: the same one every time."""
        ...

    def observe(self, model: Any, observation: Observation, at_s: float) -> None:
        """Teach the model one outcome (``at_s``: Unix seconds), in place. Depends on nothing else."""
        ...

    def pack(self, model: Any) -> bytes:
        """Encode a model by a versioned codec. Raises ``StateCodecError`` if it has no stored form."""
        ...

    def unpack(self, blob: bytes) -> Any:
        """Decode a model that goes on exactly as the packed one would have. Raises ``StateCodecError``."""
        ...


def is_sequential(policy: Policy) -> TypeGuard[SequentialPolicy]:
    """Return whether a policy is taught in one order. Other policies need not say that they are not."""
    return bool(getattr(policy, "sequential", False))


def is_learner(policy: Policy) -> bool:
    """Return whether a policy learns anything at all."""
    return policy.width > 0 or is_sequential(policy)


@dataclass(frozen=True, slots=True)
class LearnedModel(Sums):
    """The model that a sequential policy prepares from, in the place of sums (which are empty)."""

    model: Any


class ModelState:
    """The model of one sequential policy in memory, in the place of an ``ArmTable``; ``epoch``: as there."""

    __slots__ = ("epoch", "model")
    width = 0

    def __init__(self, model: Any, epoch: int = 0) -> None:
        self.model = model
        self.epoch = epoch

    def offers(self) -> list[int]:
        """Return nothing: no offer has sums of its own."""
        return []

    def read(
        self,
        policy: Policy,
        offers: IntArray,
        tick: int,
        rows: NDArray[np.intp] | None = None,
        groups: OfferGroups | None = None,
    ) -> LearnedModel:
        """Return the model, to be prepared for ``offers``."""
        return LearnedModel(offers, np.zeros((len(offers), 0)), np.zeros(0), self.model)


LearnedState = ArmTable | ModelState
"""The state that a policy has learned, in memory."""


def teach_model(policy: SequentialPolicy, model: Any, seen: Iterable[tuple[Observation, float]]) -> None:
    """Teach a model ``(observation, Unix seconds)`` pairs in the order given."""
    for observation, at_s in seen:
        policy.observe(model, observation, at_s)


def teach_skipping_failures(
    policy: SequentialPolicy, model: Any, seen: Iterable[tuple[Observation, float]]
) -> list[Exception]:
    """Teach a model, skip the outcomes that it fails on, and return the failures."""
    failures = []
    for observation, at_s in seen:
        try:
            policy.observe(model, observation, at_s)
        except Exception as error:
            # A pipeline's own code can raise anything, and the log cannot be held up by it.
            failures.append(error)
    return failures
