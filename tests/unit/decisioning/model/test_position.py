"""Positions in streams: strings that are ordered as Redis orders entries."""

from hypothesis import given
from hypothesis import strategies as st

from decisioning.model.position import StreamPosition

PARTS = st.tuples(st.integers(0, 2**53), st.integers(0, 1200))


def position(parts: tuple[int, int]) -> StreamPosition:
    return StreamPosition(f"{parts[0]}-{parts[1]}")


@given(PARTS, PARTS)
def test_they_are_ordered_by_their_numbers(one: tuple[int, int], two: tuple[int, int]) -> None:
    a, b = position(one), position(two)
    assert (a < b, a <= b, a > b, a >= b, a == b) == (
        one < two,
        one <= two,
        one > two,
        one >= two,
        one == two,
    )
    assert (hash(a) == hash(b)) or one != two
    assert a.parts == one


@given(st.lists(PARTS, max_size=6))
def test_they_are_sorted_and_picked_so(parts: list[tuple[int, int]]) -> None:
    positions = [position(part) for part in parts]
    assert [p.parts for p in sorted(positions)] == sorted(parts)
    assert not positions or min(positions).parts == min(parts)
    assert all(p >= StreamPosition.START for p in positions)


def test_a_plain_string_is_compared_as_a_position() -> None:
    assert StreamPosition("9-0") < "10-0"
    assert StreamPosition("9-0") == "9-0"
    assert hash(StreamPosition("9-0")) == hash("9-0")
    assert StreamPosition("7").parts == (7, 0)
