"""Versions stay as they are: what is registered, and what was logged, goes on to be decided bit for bit as it was."""

import pytest

from bandits.policy import PolicySpec
from tests.support.bandits_fingerprint import FEATURES, fingerprint_answers

ANSWERS = {
    "3558fcabd26059c5c0c20cc4df6f0da9027222dfc0f895b9ffc6b6e5bf4fa95d": PolicySpec(
        "calibrated", 1, "calibrated"
    ),
    "ebcaa539553d7e1121370444c5edf6ce56497c094ce2e6816b355915cc34f440": PolicySpec(
        "calibrated", 2, "calibrated", {}, FEATURES
    ),
    "b0325f45d59e79228ebb00da4ea11fd18089395ffda1c738a9bdccf9e48c961e": PolicySpec(
        "calibrated", 2, "calibrated", {"pool_evidence": True}, FEATURES, auto=True
    ),
    "a8b35b99344c5f4b08f3eb29d9cbf155017d50380f3f4285fe3725711286d857": PolicySpec(
        "calibrated", 3, "calibrated", {"pool_evidence": True, "group_shrinkage": 4.0}, FEATURES, auto=True
    ),
    "4fd1f96b1bf8abd18b9c9b5701130033f70409000835d1a8eaf907eef85959be": PolicySpec(
        "shared", 1, "linear_thompson", {"share": "all", "half_life_days": 0.4}, FEATURES
    ),
}
"""Specifications of earlier versions of nextbest, by what its code answered then."""


@pytest.mark.parametrize(("answers", "spec"), ANSWERS.items(), ids=lambda value: getattr(value, "key", ""))
def test_versions_answer_as_when_they_were_made(answers: str, spec: PolicySpec) -> None:
    assert fingerprint_answers(spec) == answers
