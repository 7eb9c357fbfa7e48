"""The model of the caller's choices by itself; ``test_apprentice`` holds what it knows against a plain one."""

import numpy as np
import pytest

from bandits.algorithms.imitation import CallerChoiceModel
from bandits.policy import quantise


@pytest.mark.parametrize("seed", range(4))
def test_columns_that_hardly_ever_varied_do_no_harm(seed: int) -> None:
    """The caller goes by one column; others were constant for long, and then move a little."""
    rng = np.random.default_rng(seed)
    model, constant = CallerChoiceModel(10), rng.uniform(1.0, 4.0, 8)
    own = np.zeros((2, model.width))
    for sign in rng.choice([-1.0, 1.0], 4000):
        x = np.concatenate((constant, [sign, rng.choice([-1.0, 1.0])]))
        own[int(sign > 0)] += quantise(model.contribution(x))
    likeness = model.prepare(own, own.sum(axis=0))
    for sign in rng.choice([-1.0, 1.0], 100):
        moved = constant + rng.normal(0.0, 0.1, 8)
        scores = model.scores(likeness, np.concatenate((moved, [sign, 1.0])))
        assert np.argmax(scores) == int(sign > 0)
        assert scores.max() < 60.0


def test_a_common_variance_that_changes_is_refreshed_everywhere() -> None:
    imitation, rng = CallerChoiceModel(2), np.random.default_rng(4)
    rows = [np.array([rng.normal(0, 0.1), rng.normal(0, 0.1)]) for _ in range(30)]
    own = np.zeros((3, imitation.width))
    for i, x in enumerate(rows):
        own[i % 3] += imitation.contribution(x)
    before = imitation.prepare(own, own.sum(axis=0))
    own[1] += 20 * imitation.contribution(np.array([3.0, -3.0]))
    assert (imitation._spread(own.sum(axis=0)) != before.spread).all()
    only = np.full_like(own, np.nan)
    only[1] = own[1]
    found = imitation.refresh(before, only, own.sum(axis=0), np.array([1]))
    assert found.terms.tolist() == imitation.prepare(own, own.sum(axis=0)).terms.tolist()


def test_a_score_does_not_depend_on_who_else_is_asked_about() -> None:
    imitation, rng = CallerChoiceModel(12), np.random.default_rng(8)
    own = np.zeros((40, imitation.width))
    for _ in range(600):
        own[rng.integers(40)] += imitation.contribution(rng.normal(0, 1, 12))
    shared, x = own.sum(axis=0), rng.normal(0, 1, 12)
    found = imitation.scores(imitation.prepare(own, shared), x)
    for rows in (*([row] for row in range(40)), [3, 39], list(range(17)), list(range(39, -1, -1))):
        alone = imitation.scores(imitation.prepare(own[rows], shared), x)
        assert alone.tolist() == found[rows].tolist()
