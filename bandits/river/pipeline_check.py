"""A check of river pipelines when they are registered, so that unusable ones are refused there."""

import numpy as np

from bandits.errors import BanditsError, PolicyParameterError
from bandits.features import Feature
from bandits.policy import Candidates, Observation
from bandits.sequential_policy import LearnedModel, SequentialPolicy

OBSERVATION_COUNT = 60


def check_pipeline(policy: SequentialPolicy, factory: str, seed: int = 1) -> None:
    """Teach two fresh models the same outcomes, store one of them in between, and compare them.

    Raises ``PolicyParameterError`` if the pipeline fails, has no stored form, goes on differently after it was stored,
    or is not deterministic.
    """
    try:
        _run_checks(policy, seed)
    except Exception as error:
        known = isinstance(error, BanditsError)
        why = f"cannot be used: {error}" if known else f"gives a pipeline that fails: {error!r}"
        raise PolicyParameterError(f"factory {factory!r} {why}", "parameters.factory") from error


def _run_checks(policy: SequentialPolicy, seed: int) -> None:
    seen = _make_observations(policy, seed)
    whole, halves = policy.fresh(), policy.fresh()
    if policy.pack(whole) != policy.pack(halves):
        raise PolicyParameterError("it makes another model every time; set the seeds of all its parts")
    for part in (seen[: OBSERVATION_COUNT // 2], seen[OBSERVATION_COUNT // 2 :]):
        for observation in part:
            policy.observe(whole, observation, 0.0)
            policy.observe(halves, observation, 0.0)
        if policy.pack(whole) != policy.pack(halves):
            raise PolicyParameterError("it learns differently every time; set the seeds of all its parts")
        halves = policy.unpack(policy.pack(halves))  # as when the lease of the model changes hands
    _choose_once(policy, whole, seen[:5])
    for observation in seen[:5]:
        policy.observe(whole, observation, 0.0)
        policy.observe(halves, observation, 0.0)
    if policy.pack(whole) != policy.pack(halves):
        raise PolicyParameterError("choosing teaches it, or it does not go on as before after it was stored")


def _choose_once(policy: SequentialPolicy, model: object, seen: list[Observation]) -> None:
    for observation in seen:
        candidates = Candidates(
            np.array([observation.offer, 9], dtype=np.uint32),
            np.array([observation.base_propensity, np.nan], dtype=np.float32),
            np.ones(2),
            observation.x,
            observation.facts,
        )
        prepared = policy.prepare(LearnedModel(candidates.offers, np.zeros((2, 0)), np.zeros(0), model))
        policy.propensities(prepared, candidates)


def _make_observations(policy: SequentialPolicy, seed: int) -> list[Observation]:
    rng = np.random.default_rng(seed)
    seen = []
    for _ in range(OBSERVATION_COUNT):
        facts = {f.path: _make_fact(f, rng) for f in policy.encoder.features if f.path is not None}
        base_propensity = float(rng.random()) if rng.random() < 0.7 else float("nan")
        x = policy.encoder.encode(facts, 0)
        reward = float(rng.random() < 0.3)
        seen.append(Observation(int(rng.integers(1, 6)), reward, base_propensity, x, facts=facts))
    return seen


def _make_fact(feature: Feature, rng: np.random.Generator) -> object:
    if feature.kind == "numeric":
        return float(rng.normal())
    if feature.kind == "interests":
        return {topic: float(rng.random()) for topic in feature.topics or ("sports", "music")}
    return str(rng.choice(feature.values or ("a", "b", "c")))
