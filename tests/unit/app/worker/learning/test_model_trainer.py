"""Parts of a batch in which a model is taught."""

from msgspec import structs

from app.worker.learning.model_trainer import first_part
from decisioning.log.store_stream import Batch
from decisioning.model.position import StreamPosition as At
from tests.support.logged import ACCEPTED


def test_parts_of_a_batch_divide_no_entry() -> None:
    found = [
        structs.replace(ACCEPTED, bucket=bucket, position=At(position), offer=offer)
        for bucket, position, offer in [
            (0, "2-0", 1),
            (0, "2-0", 2),
            (1, "2-0", 1),
            (0, "10-0", 1),
            (1, "9-1", 1),
        ]
    ]
    batch = Batch({0: At("12-0"), 1: At("9-1"), 2: At("5-0")}, [], found)
    assert first_part(batch, 5) is batch
    part = first_part(batch, 1)
    assert (part.last, len(part.outcomes)) == ({0: "2-0"}, 2)
    part = first_part(batch, 4)
    assert (part.last, len(part.outcomes)) == ({0: "2-0", 1: "9-1"}, 4)
