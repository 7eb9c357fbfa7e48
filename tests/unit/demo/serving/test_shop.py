"""The sample page is served from an origin of its own, and is told whom to ask."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx

from demo.serving.shop import PAGE, page_address, serving_shop


def test_the_page_and_the_client_that_it_imports_are_served() -> None:
    with serving_shop("127.0.0.1") as origin:
        assert origin is not None
        address = page_address(origin, "http://127.0.0.1:8000", "nb_pub_x")
        assert "A shop" in httpx.get(address).text
        script = httpx.get(f"{origin}/sample/shop.js")
        assert "../src/index.js" in script.text
        assert "javascript" in script.headers["content-type"]
        assert httpx.get(f"{origin}/src/index.js").status_code == 200
        asked = parse_qs(urlsplit(address).query)
    assert asked == {"url": ["http://127.0.0.1:8000"], "key": ["nb_pub_x"], "placement": ["web-home"]}


def test_where_there_is_no_page_nothing_is_served(tmp_path: Path) -> None:
    with serving_shop("127.0.0.1", tmp_path) as origin:
        assert origin is None
    (tmp_path / PAGE).parent.mkdir()
    (tmp_path / PAGE).touch()
    with serving_shop("::1", tmp_path) as origin:
        assert origin is None
