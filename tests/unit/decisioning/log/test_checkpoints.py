"""Checkpoints and the folds in them come back as they were packed; what is of another form is said."""

import pytest

from decisioning.log.checkpoints import Checkpoint, pack_moves, unpack_moves
from decisioning.model.position import StreamPosition

MOVES = [(epoch, bucket, StreamPosition(f"{epoch}-{bucket}")) for epoch in (3, 10**9) for bucket in (0, 63)]


def test_arms_come_back_as_they_were_packed() -> None:
    kept = Checkpoint(
        7, {0: StreamPosition("5-1"), 63: StreamPosition("9-0")}, {"0:12": b"\x00\xff", "4:12": b""}
    )
    assert Checkpoint.unpack(7, kept.pack()) == kept
    assert isinstance(Checkpoint.unpack(7, kept.pack()).positions[0], StreamPosition)


def test_folds_come_back_in_their_order_and_take_little() -> None:
    assert unpack_moves(pack_moves(MOVES)) == MOVES
    assert unpack_moves(pack_moves(())) == []
    many = [(n, n % 64, StreamPosition(f"{1_790_000_000_000 + n}-0")) for n in range(10_000)]
    assert len(pack_moves(many)) < 10 * len(many)


@pytest.mark.parametrize(
    ("packed", "words"),
    [(b"", "unknown form"), (b"\x02abc", "a later version wrote it"), (b"\x01abc", "damaged")],
)
def test_what_is_of_another_form_is_said(packed: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        unpack_moves(packed)
    with pytest.raises(ValueError, match=words):
        Checkpoint.unpack(1, packed)
