"""Keys of Redis: what is touched together lies in one slot, and ids name their bucket."""

import re
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.keys import Keys, bucket_of_generated, generated_id, is_reserved

CUSTOMERS = st.text(min_size=1, max_size=20)


def slot_tag(key: str) -> str:
    """Return the part of a key that chooses its slot in a cluster: what is between the first braces."""
    found = re.search(r"\{([^}]+)\}", key)
    return found[1] if found else key


@given(customer=CUSTOMERS, buckets=st.integers(1, 4096))
def test_all_keys_of_a_customer_share_a_slot(customer: str, buckets: int) -> None:
    keys = Keys(buckets)
    bucket = keys.bucket(customer)
    assert bucket == crc32(customer.encode()) % buckets
    of_bucket = [keys.log(bucket), keys.pending(bucket), keys.unconfirmed(bucket), keys.whole(bucket)]
    of_decision = [keys.decision(bucket, "d"), keys.withdrawal(bucket, "d"), keys.mark(bucket, "m")]
    of_customer = [keys.profile(customer), keys.contact(customer)]
    of_customer += [keys.events(customer), keys.event_ids(customer)]
    of_customer += [keys.alias(customer), keys.absorbed(customer)]
    of_bucket += [keys.aliases(bucket), keys.handovers(bucket)]
    found = [*of_bucket, *of_decision, *of_customer]
    assert {slot_tag(key) for key in found} == {f"b{bucket}"}
    assert len(set(found)) == len(found)
    assert keys.contact(customer) == keys.contacts(bucket) + customer
    assert keys.alias(customer) == keys.aliases(bucket) + customer


def test_keys_of_a_policy_share_a_slot_in_their_turn() -> None:
    keys = Keys(64)
    found = [keys.arms("p@1"), keys.changes("p@1"), keys.lease("p@1"), keys.fence("p@1")]
    assert {slot_tag(key) for key in found} == {"nb:arms:p@1"}
    assert len(set(found)) == len(found)
    assert slot_tag(keys.capacity("c", "2026-03-01")) == slot_tag(keys.capacity("c", "total")) == "cap:c"


@given(bucket=st.integers(0, 4095), entropy=st.binary(min_size=16, max_size=16))
def test_generated_ids_name_their_bucket(bucket: int, entropy: bytes) -> None:
    made = generated_id(bucket, entropy)
    assert bucket_of_generated(made) == bucket
    assert is_reserved(made)


@pytest.mark.parametrize("own", ["", "order-7", "nb", "nb000-", f"NB000-{'0' * 32}", f"nb000-{'0' * 33}"])
def test_other_ids_are_the_callers_own(own: str) -> None:
    assert bucket_of_generated(own) is None
    assert not is_reserved(own)


def test_ids_of_imported_history_are_reserved_and_name_no_bucket() -> None:
    past = f"past-{'a' * 32}"
    assert is_reserved(past)
    assert bucket_of_generated(past) is None
