"""River pipelines as policies: what they are taught and asked, how they explore, and what is refused."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from river import linear_model, naive_bayes, neighbors, optim, preprocessing

from bandits.conformance.scenarios import make_observations
from bandits.errors import PolicyParameterError
from bandits.features import Feature
from bandits.policy import Candidates, Observation, PolicySpec
from bandits.registry import build_policy
from bandits.river import pipeline_policy
from bandits.river.pipeline_policy import RiverPolicy, allow_factories
from bandits.sampling import draw_slots
from bandits.sequential_policy import ModelState, teach_model
from tests.support.bandits_selection import chi_squared_score

OURS = "bandits.river_factories"
HERE = __name__
FEATURES = (
    Feature("age", "numeric", "customer.age", low=0.0, high=100.0),
    Feature("region", "category", "customer.region", values=("north", "south")),
    Feature("device", "category", "context.device", buckets=4),
    Feature("topics", "interests", "customer.topics", topics=("music", "sports")),
)


def plain() -> Any:
    """Scaled numbers into logistic regression."""
    return Numbers() | preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.05))


def unseeded() -> Any:
    """Differs from call to call, since nothing seeds it."""
    return Numbers() | linear_model.LogisticRegression(initializer=optim.initializers.Normal(seed=None))


def of_neighbours() -> Any:
    """Measures with a function that has no name."""
    distance: Any = lambda a, b: 0.0  # noqa: E731
    return Numbers() | neighbors.KNNClassifier(engine=neighbors.LazySearch(dist_func=distance))


def of_bayes() -> Any:
    """Learns every observation in full."""
    bayes: Any = naive_bayes.GaussianNB
    return Numbers() | bayes()


def no_model() -> Any:
    """Something else."""
    return {"a": 1}


def raises(depth: int) -> Any:
    """Takes what is not given."""
    raise AssertionError(depth)


class Numbers(preprocessing.StandardScaler):
    """Takes numbers through as they are."""

    def learn_one(self, x: dict[Any, Any]) -> None:
        """Nothing."""

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        """Numbers alone."""
        return {key: value for key, value in x.items() if isinstance(value, float)}


@pytest.fixture(autouse=True)
def _allowed() -> Iterator[None]:
    allow_factories([HERE])
    yield
    allow_factories([])


def river(
    factory: str = f"{OURS}:logistic", *, learn_from: Any = "acceptance", **parameters: Any
) -> RiverPolicy:
    policy = build_policy(
        PolicySpec("r", 1, "river", {"factory": factory, **parameters}, FEATURES, learn_from)
    )
    assert isinstance(policy, RiverPolicy)
    return policy


def candidates(n: int, facts: Mapping[str, Any], policy: RiverPolicy) -> Candidates:
    rng = np.random.default_rng(n)
    offers = np.arange(1, n + 1, dtype=np.uint32)
    base_propensity = rng.random(n, dtype=np.float32)
    return Candidates(offers, base_propensity, 0.5 + rng.random(n), policy.encoder.encode(facts, 0), facts)


def prepared(policy: RiverPolicy, model: Any, offers: Any) -> Any:
    return policy.prepare(ModelState(model).read(policy, offers, 0))


def test_estimates_are_those_of_the_plain_pipeline_taught_the_same() -> None:
    policy, pipeline = river(f"{HERE}:plain"), plain()
    model = policy.fresh()
    for seen, at_s in make_observations(policy, np.arange(1, 6, dtype=np.uint32), 500, seed=1):
        policy.observe(model, seen, at_s)
        x = {"offer": str(seen.offer)}
        age = seen.facts.get("customer.age")
        if isinstance(age, float):
            x["age"] = min(max(age, 0.0), 100.0)  # type: ignore[assignment]
        topics = seen.facts.get("customer.topics")
        if isinstance(topics, dict):
            x |= {f"topics.{topic}": topics[topic] for topic in ("music", "sports") if topic in topics}
        if not np.isnan(seen.base_propensity):
            x["propensity"] = seen.base_propensity  # type: ignore[assignment]
        pipeline.learn_one(x, seen.reward >= 0.5)
    facts = {"customer.age": 40.0}
    asked = candidates(5, facts, policy)
    expected = [
        pipeline.predict_proba_one({"age": 40.0, "offer": str(offer), "propensity": float(base_propensity)})[
            True
        ]
        for offer, base_propensity in zip(asked.offers, asked.base_propensity, strict=True)
    ]
    assert policy.propensities(prepared(policy, model, asked.offers), asked).tolist() == expected
    assert len(set(expected)) == 5


def test_it_learns_who_accepts_what() -> None:
    policy, rng = river(), np.random.default_rng(2)
    model = policy.fresh()
    for _ in range(3000):
        offer, region = int(rng.integers(1, 3)), str(rng.choice(["north", "south"]))
        chance = 0.6 if (offer == 1) == (region == "north") else 0.1
        facts = {"customer.region": region}
        seen = Observation(offer, float(rng.random() < chance), np.nan, np.zeros(0), facts=facts)
        policy.observe(model, seen, 0.0)
    for region, best in (("north", 0), ("south", 1)):
        asked = Candidates(
            np.array([1, 2], dtype=np.uint32),
            np.full(2, np.nan, np.float32),
            np.ones(2),
            np.zeros(0),
            {"customer.region": region},
        )
        estimates = policy.propensities(prepared(policy, model, asked.offers), asked)
        assert estimates[best] == pytest.approx(0.6, abs=0.12)
        assert estimates[1 - best] == pytest.approx(0.1, abs=0.12)


def test_values_are_learned_by_regressors() -> None:
    policy = river(f"{OURS}:linear", learn_from="value")
    model = policy.fresh()
    for _ in range(500):
        policy.observe(model, Observation(1, 0.37, np.nan), 0.0)
    asked = Candidates(np.array([1], dtype=np.uint32), np.full(1, np.nan, np.float32), np.ones(1))
    assert policy.propensities(prepared(policy, model, asked.offers), asked)[0] == pytest.approx(
        0.37, abs=0.02
    )


def test_a_model_without_an_opinion_expects_what_was_known() -> None:
    policy = river(f"{OURS}:hoeffding_tree", default_propensity=0.2)
    asked = Candidates(
        np.array([1, 2], dtype=np.uint32), np.array([0.7, np.nan], dtype=np.float32), np.ones(2)
    )
    estimates = policy.propensities(prepared(policy, policy.fresh(), asked.offers), asked)
    assert estimates == pytest.approx([0.7, 0.2], abs=1e-6)


@pytest.mark.parametrize("explore", ["epsilon_greedy", "inverse_gap"])
def test_offers_are_selected_as_often_as_logged(explore: str) -> None:
    """Also in later slots: what was logged as the chance of a pair is how often the pair comes."""
    policy = river(explore=explore, gamma=5.0, epsilon=0.3)
    model = policy.fresh()
    teach_model(policy, model, make_observations(policy, np.arange(1, 5, dtype=np.uint32), 400, seed=3))
    asked = candidates(4, {"customer.age": 30.0, "customer.region": "north"}, policy)
    distribution = policy.selector(prepared(policy, model, asked.offers), asked)
    everything = np.ones(4, dtype=bool)
    rounds, found = 20_000, np.zeros((4, 4))
    for i in range(rounds):
        (first, _), (second, _) = draw_slots(distribution, everything, 2, f"decision {i}")
        found[first, second] += 1
    expected = np.zeros((4, 4))
    for first, chance in enumerate(distribution(everything)):
        left = everything.copy()
        left[first] = False
        expected[first] = chance * distribution(left) * rounds
    mutually_exclusive = ~np.eye(4, dtype=bool)
    assert chi_squared_score(found[mutually_exclusive], expected[mutually_exclusive]) < 4.0
    assert expected[mutually_exclusive].min() > 5


def test_inverse_gaps_are_those_of_the_formula() -> None:
    policy = river(explore="inverse_gap", gamma=8.0, epsilon=0.1)
    asked = candidates(3, {}, policy)
    ready = prepared(policy, policy.fresh(), asked.offers)
    s = policy.propensities(ready, asked) * asked.weight
    best = int(np.argmax(s))
    p = 1.0 / (3 + 8.0 * (1.0 - s / s[best]))
    p[best] = 1.0 - (p.sum() - p[best])
    assert policy.selector(ready, asked)(np.ones(3, dtype=bool)) == pytest.approx(0.1 / 3 + 0.9 * p)


def test_no_value_that_is_sent_can_ruin_a_model() -> None:
    policy = river()
    model = policy.fresh()
    teach_model(policy, model, make_observations(policy, np.arange(1, 5, dtype=np.uint32), 200, seed=4))
    values: tuple[Any, ...] = (1e308, -1e308, float("inf"), float("nan"), 10**400, "text", [], {"a": 1}, True)
    for value in values:
        facts = dict.fromkeys(policy.encoder.paths, value)
        policy.observe(model, Observation(1, 1.0, 0.5, facts=facts), 0.0)
        asked = candidates(4, {}, policy)
        estimates = policy.propensities(prepared(policy, model, asked.offers), asked)
        assert ((estimates > 0.0) & (estimates < 1.0)).all(), value


def test_what_was_earned_cannot_be_learned_since_it_is_revised() -> None:
    with pytest.raises(PolicyParameterError, match="cannot take back") as refused:
        river(learn_from="earned")
    assert refused.value.field == "learn_from"


@pytest.mark.parametrize(
    ("parameters", "field", "told"),
    [
        ({}, "parameters.factory", "needs the parameter"),
        ({"factory": 7}, "parameters.factory", "name of one"),
        ({"factory": "os:system"}, "parameters.factory", "NEXTBEST_RIVER_FACTORIES"),
        ({"factory": "river.linear_model:LogisticRegression"}, "parameters.factory", "not allowed here"),
        ({"factory": f"{OURS}x:logistic"}, "parameters.factory", "not allowed here"),
        ({"factory": f"{OURS}:nothing"}, "parameters.factory", "cannot be imported"),
        ({"factory": f"{OURS}:_prepared"}, "parameters.factory", "public function"),
        ({"factory": f"{OURS}:compose"}, "parameters.factory", "public function"),
        ({"factory": f"{OURS}:logistic", "arguments": {"depth": 3}}, "parameters.arguments", "depth"),
        ({"factory": f"{OURS}:logistic", "arguments": [3]}, "parameters.arguments", "mapping"),
        ({"factory": f"{HERE}:unseeded"}, "parameters.factory", "every time"),
        ({"factory": f"{HERE}:of_neighbours"}, "parameters.factory", "lambda"),
        ({"factory": f"{HERE}:no_model"}, "parameters.factory", "classifier or regressor"),
        ({"factory": f"{OURS}:logistic", "epsilon": 0}, "parameters.epsilon", "between"),
        ({"factory": f"{OURS}:logistic", "explore": "always"}, "parameters.explore", "one of"),
        ({"factory": f"{OURS}:logistic", "inputs": "all"}, "parameters.inputs", "one of"),
        ({"factory": f"{OURS}:logistic", "trees": 3}, "parameters.trees", "no parameter"),
    ],
)
def test_what_cannot_be_is_refused(parameters: dict[str, Any], field: str, told: str) -> None:
    with pytest.raises(PolicyParameterError, match=told) as refused:
        build_policy(PolicySpec("r", 1, "river", parameters))
    assert refused.value.field == field


def test_values_are_not_learned_by_classifiers() -> None:
    with pytest.raises(PolicyParameterError, match="takes a regressor") as refused:
        river(learn_from="value")
    assert refused.value.field == "learn_from"


def test_installed_factories_are_found_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    allow_factories([])

    class Point:
        name, value = "ours", f"{HERE}:plain"

    monkeypatch.setattr(pipeline_policy, "entry_points", lambda group: [Point] * (group == "nextbest.river"))
    assert river("ours").factory == "ours"
    with pytest.raises(PolicyParameterError, match="ours"):
        river(f"{HERE}:unseeded")


@pytest.mark.parametrize("factory", ["logistic", "linear", "hoeffding_tree", "hoeffding_tree_regressor"])
def test_silence_that_ends_late_is_no_bias(factory: str) -> None:
    """Three of ten are accepted, each 400 impressions after it was shown: never is 1 expected, nor 0."""
    policy = build_policy(PolicySpec("r", 1, "river", {"factory": f"{OURS}:{factory}"}))
    assert isinstance(policy, RiverPolicy)
    assert policy.weighs
    model, rng = policy.fresh(), np.random.default_rng(5)
    accepted = rng.random(6000) < 0.3
    candidates = Candidates(np.array([1], np.uint32), np.array([np.nan], np.float32), np.ones(1))
    expected = []
    for n in range(6000):
        policy.observe(model, Observation(1, 0.0, float("nan"), provisional=True), 0.0)
        if n >= 400 and accepted[n - 400]:
            policy.observe(model, Observation(1, 1.0, float("nan")), 0.0)
        state = ModelState(model).read(policy, candidates.offers, 0)
        if n >= 1500 and n % 20 == 0:
            expected.append(policy.propensities(policy.prepare(state), candidates)[0])
    assert np.mean(expected) == pytest.approx(0.3, abs=0.06)


def test_a_model_without_weights_learns_silence_when_its_window_closes() -> None:
    policy = build_policy(PolicySpec("r", 1, "river", {"factory": f"{HERE}:of_bayes"}))
    assert isinstance(policy, RiverPolicy)
    assert not policy.weighs
    by_value = PolicySpec("r", 1, "river", {"factory": f"{OURS}:linear"}, learn_from="value")
    assert not RiverPolicy(by_value).weighs
