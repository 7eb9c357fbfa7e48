"""Keys of policies: strings that know their parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json, to_json

from bandits.policy import PolicyKey, PolicySpec

NAMES = st.text(min_size=1, max_size=8)


@given(NAMES, st.integers(0, 10**6))
def test_a_key_is_its_name_and_version(name: str, version: int) -> None:
    key = PolicyKey.of(name, version)
    assert (key.name, key.version) == (name, version)
    assert PolicyKey.parse(str(key)) == key == f"{name}@{version}"
    assert from_json(to_json({key: key})) == {f"{name}@{version}": f"{name}@{version}"}


def test_specifications_have_one() -> None:
    key = PolicySpec("spring", 2, "thompson").key
    assert isinstance(key, PolicyKey)
    assert {"spring@2": 1}[key] == 1


@pytest.mark.parametrize(
    "text", ["", "spring", "@1", "spring@", "spring@x", "spring@-1", "spring@1.0", "spring@²"]
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not name@version"):
        PolicyKey.parse(text)
