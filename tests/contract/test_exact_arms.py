"""Stored sums stay exact, in whatever order they are added, far beyond what one float64 can hold exactly."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest

from bandits.policy import FloatArray
from bandits.state import ArmTable, decode_state
from bandits.sums import total_of
from decisioning.learning.store_arms import Arms, ArmStore
from tests.support.api import Nextbest

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIELD = "0:0"


def ten_years() -> list[FloatArray]:
    """Folds that come to the count of ten years at 20,000 outcomes/s, and beyond: huge ones, and single outcomes."""
    random = np.random.default_rng(9)
    huge = [
        np.rint(random.uniform(-1.0, 1.0, 3) * 2.0**51) * 2.0**-20 + (2.0**31, 0.0, 0.0) for _ in range(3_000)
    ]
    small = [np.rint(random.uniform(-4.0, 4.0, 3) * 2.0**20) * 2.0**-20 for _ in range(300)]
    return [*huge[:1_500], *small, *huge[1_500:]]


async def stored(shop: Nextbest, policy: str, deltas: Sequence[FloatArray]) -> bytes:
    arms = ArmStore(shop.api.state.redis, shop.api.state.keys)
    assert await arms.reset(policy, None, Arms(0, {}, {}))
    for delta in deltas:
        assert await arms.fold(policy, 0, [], {FIELD: delta})
    found = await arms.load(policy)
    assert found is not None
    return found.fields[FIELD]


async def test_sums_of_ten_years_do_not_depend_on_the_order_of_folds(shop: Nextbest) -> None:
    deltas = ten_years()

    forward = await stored(shop, "forward@1", deltas)
    backward = await stored(shop, "backward@1", deltas[::-1])
    table = ArmTable(3)
    for delta in sorted(deltas, key=lambda d: float(d[1])):
        table.add(FIELD, delta)

    assert forward == backward == dict(table.fields())[FIELD]
    low, high = decode_state(forward, 3)
    exact = [sum((Fraction(float(delta[i])) for delta in deltas), Fraction()) for i in range(3)]
    assert [Fraction(float(low[i])) + Fraction(float(high[i])) for i in range(3)] == exact
    assert exact[0] > 20_000 * 86_400 * 365 * 10
    assert total_of(decode_state(forward, 3)).tolist() == [float(total) for total in exact]


async def test_sums_that_come_back_to_a_small_number_have_one_part_again(shop: Nextbest) -> None:
    up = np.array([2.0**31, -(2.0**31), 1.5])

    assert len(await stored(shop, "up@1", [up])) == 8 * 7
    assert await stored(shop, "down@1", [up, -up, up * 2.0**-10]) == (up * 2.0**-10).tobytes()


@pytest.mark.parametrize("width", [1, 99, 100, 101, 250])
async def test_states_of_any_width_are_summed_as_in_memory(shop: Nextbest, width: int) -> None:
    random = np.random.default_rng(width)
    deltas = [np.rint(random.uniform(-4.0, 4.0, width) * 2.0**20) * 2.0**-20 for _ in range(4)]
    deltas[2][-1] = 2.0**31  # the last number alone needs a high part, for one fold
    deltas[3][-1] = -(2.0**31)
    for count in range(1, 5):
        table = ArmTable(width)
        for delta in deltas[:count]:
            table.add(FIELD, delta)
        assert await stored(shop, f"wide{width}-{count}@1", deltas[:count]) == dict(table.fields())[FIELD]
