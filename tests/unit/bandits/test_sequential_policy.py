"""Policies that are taught in one order: telling them apart, and skipping outcomes that they fail on."""

from typing import Any

import numpy as np

from bandits.policy import Observation, PolicySpec
from bandits.registry import build_policy
from bandits.river.pipeline_policy import RiverPolicy
from bandits.sequential_policy import ModelState, is_learner, is_sequential, teach_skipping_failures

SPEC = PolicySpec("r", 1, "river", {"factory": "bandits.river_factories:logistic"})


class Fussy(RiverPolicy):
    """Fails on outcomes of offer 2."""

    def observe(self, model: Any, observation: Observation, at_s: float) -> None:
        if observation.offer == 2:
            raise ValueError("2")
        super().observe(model, observation, at_s)


def test_who_is_taught_in_order() -> None:
    river = build_policy(SPEC)
    assert is_sequential(river)
    assert is_learner(river)
    thompson, random = (build_policy(PolicySpec(name, 1, name)) for name in ("thompson", "random"))
    assert not is_sequential(thompson)
    assert is_learner(thompson)
    assert not is_learner(random)


def test_outcomes_that_a_model_fails_on_are_left_out_and_told() -> None:
    fussy = Fussy(PolicySpec("r", 1, "river", {**SPEC.parameters}))
    outcomes = [(Observation(offer, float(offer == 1), 0.5), 0.0) for offer in (1, 2, 3, 2)]
    taught, expected = fussy.fresh(), fussy.fresh()
    failures = teach_skipping_failures(fussy, taught, outcomes)
    assert [str(failure) for failure in failures] == ["2", "2"]
    assert teach_skipping_failures(fussy, expected, outcomes[::2]) == []
    assert fussy.pack(taught) == fussy.pack(expected)


def test_a_model_is_read_for_any_offers() -> None:
    read = ModelState("model", epoch=3).read(build_policy(SPEC), np.array([4, 9], dtype=np.uint32), 0)
    assert (read.model, read.own.shape, read.shared.shape) == ("model", (2, 0), (0,))
