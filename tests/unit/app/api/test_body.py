"""Bodies are JSON, and say so."""

import pytest

from app.api.body import TOO_LARGE, is_json, parse_json
from app.errors import Problem


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        *((name, True) for name in ("application/json", "Application/JSON ;charset=x", "application/a+json")),
        *((name, False) for name in ("", "text/json", "application/jsonx", "json", "x/y+json", "*/*")),
    ],
)
def test_content_types(content_type: str, expected: bool) -> None:
    assert is_json(content_type) == expected


@pytest.mark.parametrize("before", range(11))
def test_a_number_that_is_too_large_is_found_wherever_it_stands(before: int) -> None:
    body = b'{"%s": [1, %s]}' % (b"a" * before, b"9" * 309)
    with pytest.raises(Problem) as caught:
        parse_json(body)
    assert TOO_LARGE in str(caught.value.detail)
    assert parse_json(body.replace(b"9" * 309, b"9" * 308)) == {"a" * before: [1, int("9" * 308)]}


def test_digits_in_a_text_are_no_number() -> None:
    assert parse_json(b'{"a": "%s"}' % (b"1" * 400)) == {"a": "1" * 400}
