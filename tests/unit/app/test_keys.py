"""What keys are worth: digests, ends, and how seldom their use is noted."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from app.keys import ApiKey, KeyStore, KeyUse, in_force
from storage.errors import PostgresUnavailable

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_keys_end_by_their_time_alone() -> None:
    forever, soon = ApiKey("1", "a", "ops"), ApiKey("2", "b", "ops", NOW + timedelta(seconds=5))
    keys = {b"1": forever, b"2": soon}
    assert in_force(keys, NOW) is keys
    assert in_force(keys, NOW + timedelta(seconds=5)) == {b"1": forever}


def test_keys_of_one_name_are_one_person_and_people_are_their_providers_ids() -> None:
    ada, again, eva = ApiKey("1", "ada", "ops"), ApiKey("2", "ada", "admin"), ApiKey("3", "eva", "ops")
    assert ada.person == again.person != eva.person
    person = ApiKey("person:u-17", "Ada (u-17)", "ops")
    assert person.person == ApiKey("person:u-17", "Zoe (u-17)", "ops").person
    assert person.person != ApiKey("4", "Ada (u-17)", "ops").person


class Store:
    """Notes what it is told to note."""

    def __init__(self) -> None:
        self.noted: list[set[str]] = []
        self.is_gone = False

    async def note_use(self, key_ids: set[str]) -> None:
        if self.is_gone:
            raise PostgresUnavailable("gone")
        self.noted.append(set(key_ids))


async def test_a_key_that_is_always_used_is_noted_once_a_minute() -> None:
    now_s, store = 0.0, Store()
    use = KeyUse(lambda: now_s)
    for second in range(180):
        now_s = float(second)
        use.used.add("1")
        await use.note(cast(KeyStore, store))
    assert store.noted == [{"1"}] * 3


async def test_what_could_not_be_noted_is_noted_later() -> None:
    store: Any = Store()
    use = KeyUse()
    use.used.add("1")
    store.is_gone = True
    with pytest.raises(PostgresUnavailable):
        await use.note(store)
    store.is_gone = False
    await use.note(store)
    await use.note(store)
    assert store.noted == [{"1"}]
