"""Arms as they are stored."""

from itertools import permutations

import numpy as np
import pytest

from bandits.algorithms.beta_arms import DAY_S
from bandits.algorithms.thompson import ThompsonPolicy
from bandits.errors import BanditsError, StateCodecError
from bandits.policy import ForwardDecay, Observation
from bandits.state import (
    ArmTable,
    arm_contributions,
    decode_state,
    encode_state,
    fold_observations,
    is_forgotten,
)
from tests.support.bandits_pooled import PooledPolicy
from tests.support.bandits_selection import specification, sums

SHARING = PooledPolicy(specification("pooled"))
POLICY = ThompsonPolicy(specification("thompson", half_life_days=1.0))
PERIOD_S = 8 * DAY_S
START_S = 2500 * PERIOD_S


def test_the_wire_form_is_little_endian_float64() -> None:
    assert encode_state(np.array([1.0, -2.5])).hex() == "000000000000f03f00000000000004c0"
    assert decode_state(bytes.fromhex("000000000000f03f00000000000004c0"), 2).tolist() == [1.0, -2.5]


def test_a_decoded_state_is_the_readers_own() -> None:
    blob = encode_state(sums(1, 1, 1))
    decode_state(blob, 3)[:] = 7.0
    assert decode_state(blob, 3).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("blob", [b"", b"\0" * 8, b"\0" * 23, b"\0" * 32])
def test_another_width_is_refused(blob: bytes) -> None:
    with pytest.raises(StateCodecError, match=f"24 bytes, not {len(blob)}"):
        decode_state(blob, 3)


@pytest.mark.parametrize("field", ["", "7", "7:", ":1", "a:1", "7:b", "epoch"])
def test_a_field_of_another_form_is_refused(field: str) -> None:
    table = ArmTable(3)
    with pytest.raises(StateCodecError, match="offer number"):
        table.put(field, bytes(24))
    with pytest.raises(StateCodecError, match="offer number"):
        table.add(field, np.zeros(3))
    assert list(table.fields()) == []


def test_a_change_of_another_width_is_refused() -> None:
    with pytest.raises(StateCodecError, match="width 3"):
        ArmTable(3).add("7:0", np.zeros(1))
    assert issubclass(StateCodecError, BanditsError)


def test_a_contribution_is_weighted_and_kept_by_period() -> None:
    at_s = START_S + 3 * DAY_S
    assert arm_contributions(POLICY, Observation(7, 1.0, 0.25), START_S)[0] == ("7:2500",)
    fields, delta = arm_contributions(POLICY, Observation(7, 1.0, 0.25), at_s)
    assert (fields, delta.tolist()) == (("7:2500",), [8.0, 8.0, 2.0])
    assert arm_contributions(POLICY, Observation(7, 0.0, float("nan")), START_S - 1.0)[0] == ("7:2499",)


def test_a_table_reads_all_periods_decayed_to_one_tick() -> None:
    table = ArmTable(3)
    table.put("7:2499", encode_state(sums(256, 128, 64)))
    table.put("7:2500", encode_state(sums(1, 1, 1)))
    table.put("9:2500", encode_state(sums(4, 0, 2)))
    offers = np.array([9, 8, 7], dtype=np.uint32)
    read = table.read(POLICY, offers, POLICY.decay.tick(START_S)).own
    assert read.tolist() == [[4.0, 0.0, 2.0], [0.0, 0.0, 0.0], [2.0, 1.5, 1.25]]
    later = table.read(POLICY, offers, POLICY.decay.tick(START_S + 2 * DAY_S)).own
    np.testing.assert_array_equal(later, read / 4)


def test_reading_does_not_depend_on_the_order_in_which_periods_came() -> None:
    """Products with the scale are rounded, so their sum has to be taken in one order."""
    rng = np.random.default_rng(1)
    blobs = {f"7:{period}": encode_state(rng.random(3)) for period in (2497, 2498, 2499, 2500)}
    tick = POLICY.decay.tick(START_S + 0.4 * DAY_S)
    read = set()
    for order in permutations(blobs):
        table = ArmTable(3)
        for field in order:
            table.put(field, blobs[field])
        read.add(table.read(POLICY, np.array([7], dtype=np.uint32), tick).own.tobytes())
    assert len(read) == 1


def test_adding_changes_only_the_table_that_it_is_added_to() -> None:
    delta = sums(1, 1, 1)
    one, other = ArmTable(3), ArmTable(3)
    for table in (one, other):
        table.add("7:0", delta)
    one.add("7:0", delta)
    assert delta.tolist() == [1.0, 1.0, 1.0]
    assert dict(other.fields()) == {"7:0": encode_state(sums(1, 1, 1))}
    assert dict(one.fields()) == {"7:0": encode_state(sums(2, 2, 2))}


def test_put_replaces_and_names_the_offer() -> None:
    table = ArmTable(3, epoch=4)
    assert table.put("7:0", encode_state(sums(1, 0, 0))) == 7
    assert table.put("7:0", encode_state(sums(2, 0, 0))) == 7
    assert (table.epoch, table.offers()) == (4, [7])
    assert dict(table.fields()) == {"7:0": encode_state(sums(2, 0, 0))}


def test_fields_come_in_the_order_of_numbers() -> None:
    table = ArmTable(0)
    for field in ("10:1", "9:2", "9:10", "10:-1"):
        table.put(field, b"")
    assert [field for field, _ in table.fields()] == ["9:2", "9:10", "10:-1", "10:1"]


def test_fold_sums_by_field() -> None:
    seen = [(Observation(7, reward, 0.5), START_S) for reward in (1.0, 0.0, 1.0)]
    folded = fold_observations(POLICY, [*seen, (Observation(8, 1.0, 0.5), START_S)])
    assert {field: delta.tolist() for field, delta in folded.items()} == {
        "7:2500": [3.0, 2.0, 1.5],
        "8:2500": [1.0, 1.0, 0.5],
    }
    assert fold_observations(POLICY, []) == {}


def test_what_a_sharing_policy_learns_is_added_to_the_arm_of_all_offers_too() -> None:
    fields, delta = arm_contributions(SHARING, Observation(7, 1.0, 0.25), START_S)
    assert (fields, delta.tolist()) == (("7:2500", "0:2500"), [1.0, 1.0])
    seen = [(Observation(offer, reward, 0.5), START_S) for offer, reward in ((7, 1.0), (8, 0.0), (9, 1.0))]
    folded = fold_observations(SHARING, seen)
    assert folded.keys() == {"7:2500", "8:2500", "9:2500", "0:2500"}
    assert folded["0:2500"].tolist() == [3.0, 2.0]


def test_the_shared_sums_are_read_with_any_offers_and_decayed_as_theirs() -> None:
    table = ArmTable(2)
    table.put_all(
        [("7:2500", encode_state(np.array([4.0, 2.0]))), ("0:2500", encode_state(np.array([8.0, 6.0])))]
    )
    assert table.offers() == [7]
    for numbers in ([7], [9, 7], []):
        offers = np.array(numbers, dtype=np.uint32)
        read = table.read(SHARING, offers, SHARING.decay.tick(START_S + DAY_S))
        assert read.shared.tolist() == [4.0, 3.0]
        assert read.own.tolist() == [[2.0, 1.0] if number == 7 else [0.0, 0.0] for number in numbers]
        assert read.offers is offers


def test_only_the_rows_asked_for_are_read() -> None:
    table = ArmTable(2)
    for offer in (0, 7, 8, 9):
        table.put(f"{offer}:2500", encode_state(np.array([offer, 1.0])))
    offers = np.array([7, 8, 9], dtype=np.uint32)
    for rows, own in (([], [0.0, 0.0, 0.0]), ([1], [0.0, 8.0, 0.0]), ([0, 2], [7.0, 0.0, 9.0])):
        read = table.read(SHARING, offers, SHARING.decay.tick(START_S), np.array(rows, dtype=np.intp))
        assert read.own[:, 0].tolist() == own
        assert read.shared.tolist() == [0.0, 1.0]


def test_a_policy_that_does_not_share_has_no_shared_sums() -> None:
    table = ArmTable(3)
    for field, delta in fold_observations(POLICY, [(Observation(7, 1.0, 0.5), START_S)]).items():
        table.add(field, delta)
    assert [field for field, _ in table.fields()] == ["7:2500"]
    assert table.read(POLICY, np.array([7], dtype=np.uint32), POLICY.decay.tick(START_S)).shared.tolist() == [
        0,
        0,
        0,
    ]


def test_a_field_is_forgotten_a_period_after_it_counts_as_nothing() -> None:
    decay = ForwardDecay(86_400.0)
    now_s = 1.8e9
    period = decay.period(now_s)
    forgotten = [back for back in range(12) if is_forgotten(f"7:{period - back}", decay, now_s)]
    nothing = [back for back in range(12) if decay.scale(period - back, decay.tick(now_s)) == 0.0]
    assert forgotten == nothing[1:]
    assert not is_forgotten("7:0", ForwardDecay(None), now_s)
