"""Settings of publishable keys: origins as browsers send them, and nothing that stands for all of them."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.publishable.settings import PublishableKeys, PublishableSettings, make_key, origin


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://shop.example", "https://shop.example"),
        (" HTTPS://Shop.Example/ ", "https://shop.example"),
        ("https://shop.example:443", "https://shop.example"),
        ("http://shop.example:80", "http://shop.example"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("https://xn--caf-dma.example", "https://xn--caf-dma.example"),
    ],
)
def test_origins_are_kept_as_browsers_send_them(text: str, expected: str) -> None:
    assert origin(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "*", "null", "https://*.example", "shop.example", "https://", "https://shop.example/page"),
        *("file:///x", "https://user@shop.example", "https://shop.example:0", "https://shop.example:99999"),
        *("https://a https://b", "javascript:x", "https://shop.example?x", "https://.example"),
    ],
)
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"origin|port"):
        origin(text)


def test_settings_say_what_is_wrong_and_show_no_secret() -> None:
    tokens = {"algorithm": "HS256", "key": "s" * 32}
    usual = {"placements": ["home"], "origins": ["https://shop.example"], "tokens": tokens}
    settings = PublishableSettings.model_validate(usual)
    assert "s" * 32 not in repr(settings)
    key = make_key("1", "shop", settings)
    assert PublishableKeys.of({b"x": key}).origins == {"https://shop.example"}
    changes: list[dict[str, Any]] = [
        {"placements": []},
        {"origins": ["*"]},
        {"tokens": {"algorithm": "none", "key": ""}},
        {"key_per_minute": 0},
        {"more": 1},
    ]
    for change in changes:
        with pytest.raises(ValidationError):
            PublishableSettings.model_validate(usual | change)
    weak = PublishableSettings.model_validate(usual | {"tokens": {"algorithm": "HS256", "key": "weak"}})
    with pytest.raises(ValueError, match="32 random bytes"):
        make_key("1", "shop", weak)
