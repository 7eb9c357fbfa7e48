"""The laws of policies that are taught in one order, beside those of all policies (see ``checks``).

What the rest of the system relies on: the owner may change with every outcome, so a stored model goes on exactly as the
one in memory would have; replay teaches the same outcomes again; choosing happens elsewhere, and changes nothing.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np

from bandits.conformance.scenarios import (
    LawViolation,
    Scenario,
    all_answers,
    fingerprint,
    make_observations,
    make_scenario,
    require,
)
from bandits.errors import StateCodecError
from bandits.sequential_policy import ModelState, SequentialPolicy, teach_model

OUTCOMES = 400


def _observations(policy: SequentialPolicy, count: int = OUTCOMES, seed: int = 3) -> list[Any]:
    return make_observations(policy, np.arange(1, 9, dtype=np.uint32), count, seed)


def _prepare(policy: SequentialPolicy, model: Any, w: Scenario) -> Any:
    return policy.prepare(ModelState(model).read(policy, w.offers, 0))


def _all_answers(policy: SequentialPolicy, model: Any, w: Scenario) -> Any:
    return all_answers(policy, _prepare(policy, model, w), w.candidates)


def keeps_no_sums(policy: SequentialPolicy) -> None:
    """The width is 0, and nothing is added to sums."""
    require(policy.width == 0 and not policy.shared, "it has a width, or shares sums")
    seen, _ = _observations(policy, 1)[0]
    require(policy.learn(seen).shape == (0,), "learn gave something")


def fresh_models_are_equal(policy: SequentialPolicy) -> None:
    """A fresh model is the same every time, and does not share anything with another one."""
    one, other = policy.fresh(), policy.fresh()
    blob = policy.pack(one)
    require(policy.pack(other) == blob, "two fresh models differ")
    teach_model(policy, one, _observations(policy, 100))
    require(policy.pack(other) == blob, "teaching one fresh model taught another")
    require(policy.pack(policy.fresh()) == blob, "after teaching, a fresh model is another one")


def teaching_is_deterministic(policy: SequentialPolicy) -> None:
    """The same outcomes in the same order give the same model, bit for bit, and are not modified."""
    seen = _observations(policy)
    before = fingerprint(seen)
    blobs = []
    for twin in (policy, policy, deepcopy(policy)):
        model = twin.fresh()
        teach_model(twin, model, seen)
        blobs.append(twin.pack(model))
    require(blobs[0] == blobs[1] == blobs[2], "teaching the same gave another model")
    require(fingerprint(seen) == before, "what was observed was modified")


def stored_models_go_on(policy: SequentialPolicy) -> None:
    """A stored model is read back bit for bit, and goes on exactly as the one in memory: estimates and learning."""
    seen, w = _observations(policy), make_scenario(policy, 20, seed=4, seen=0)
    memory = policy.fresh()
    stored = policy.unpack(policy.pack(memory))
    for start in range(0, OUTCOMES, 80):
        part = seen[start : start + 80]
        teach_model(policy, memory, part)
        teach_model(policy, stored, part)
        blob = policy.pack(memory)
        require(policy.pack(stored) == blob, f"after {start + 80} outcomes the stored model is another one")
        stored = policy.unpack(blob)  # as when the lease of the model changes hands
        require(policy.pack(stored) == blob, "packing what was unpacked gave something else")
        same = _all_answers(policy, stored, w) == _all_answers(policy, memory, w)
        require(same, "the stored model answers differently")


def damaged_models_are_refused(policy: SequentialPolicy) -> None:
    """Bytes that are not a stored model are refused as such."""
    blob = policy.pack(policy.fresh())
    for damaged in (b"", b"x", blob[: len(blob) // 2], blob + b"x", blob[::-1]):
        try:
            policy.unpack(damaged)
        except StateCodecError:
            continue
        raise LawViolation(f"{len(damaged)} bytes that are no model were taken")


def choosing_teaches_nothing(policy: SequentialPolicy) -> None:
    """The same model and candidates give the same answers, and what a model learns does not depend on being asked."""
    seen, w = _observations(policy), make_scenario(policy, 20, seed=5, seen=0)
    asked, left_alone = policy.fresh(), policy.fresh()
    for start in range(0, OUTCOMES, 100):
        given = fingerprint(w.candidates)
        first = _all_answers(policy, asked, w)
        # Other candidates in between, in case the first answers were merely remembered.
        _all_answers(policy, asked, make_scenario(policy, 7, seed=6, seen=0))
        require(_all_answers(policy, asked, w) == first, "choosing again gave something else")
        require(fingerprint(w.candidates) == given, "the candidates were modified")
        for model in (asked, left_alone):
            teach_model(policy, model, seen[start : start + 100])
        same = _all_answers(policy, asked, w) == _all_answers(policy, left_alone, w)
        require(same, "being asked changed what was learned")


def learning_has_an_effect(policy: SequentialPolicy) -> None:
    """Estimates change with what was learned."""
    w, model = make_scenario(policy, 12, seed=7, seen=0), policy.fresh()
    before = policy.propensities(_prepare(policy, model, w), w.candidates)
    teach_model(policy, model, make_observations(policy, w.offers, 600, seed=8))
    after = policy.propensities(_prepare(policy, model, w), w.candidates)
    require((before != after).any(), "what was learned has no effect")


SEQUENTIAL_LAWS: tuple[Callable[[Any], None], ...] = (
    keeps_no_sums,
    fresh_models_are_equal,
    teaching_is_deterministic,
    stored_models_go_on,
    damaged_models_are_refused,
    choosing_teaches_nothing,
    learning_has_an_effect,
)
