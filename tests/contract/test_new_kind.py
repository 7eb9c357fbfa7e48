"""A kind that the project does not have: its class, descriptor and body are all that it takes to have it everywhere."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from app.api.catalogue import kind_routes
from app.api.catalogue.kind_schemas import SIMPLE_KINDS, KindSchema
from app.api.schemas import Body, Cel, DatedBody, Id, Text
from app.catalog_check import check_entry
from decisioning.catalog.catalogue import build_catalogue
from decisioning.catalog.diff import changes_between, differences
from decisioning.catalog.kind import Entry, ExpressionUse, Kind, Sections
from decisioning.catalog.kinds import KINDS, OFFER
from decisioning.catalog.yaml_document import DocumentError, from_yaml, to_yaml
from decisioning.errors import Invalid, InvalidRule
from decisioning.model.entities import FOREVER_MS
from tests.support.api import Nextbest, problem_of

MAY_MS = 1_777_593_600_000


@dataclass(frozen=True, slots=True)
class Hint:
    """A hint."""

    url: str
    wide: bool = False


@dataclass(frozen=True, slots=True)
class LandingPage:
    """The page that an offer leads to."""

    page_id: str
    offer: str
    when: str
    hints: tuple[Hint, ...] = ()
    starts_ms: int = 0
    ends_ms: int = FOREVER_MS


class HintBody(Body):
    """A hint."""

    url: Text
    wide: bool = False


class LandingPageBody(DatedBody):
    """The page that an offer leads to from `starts_at` to `ends_at`."""

    offer: Id
    when: Cel
    hints: list[HintBody] = []


def check_page(page: LandingPage, things: Sections) -> Iterator[Invalid]:
    """Yield a mistake if its offer is not there."""
    if page.offer not in things[OFFER.section]:
        yield Invalid("offer", f"there is no offer {page.offer!r}")


LANDING_PAGE = Kind(
    "landing_page",
    "landing_pages",
    "page_id",
    LandingPage,
    check=check_page,
    expressions=lambda page: [ExpressionUse("when", page.when)],
)
BODY = {"offer": "gold", "when": "customer.known", "hints": [{"url": "/gold"}], "starts_ms": MAY_MS}
OTHERS: list[Entry] = [
    ("group", "cards", {"name": "Cards", "goal": "grow"}),
    ("offer", "gold", {"name": "Gold", "group": "cards", "value": 3.0}),
]


@pytest.fixture(autouse=True)
def landing_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the kind, as its lines in the two registries would, before anything is made of them."""
    monkeypatch.setitem(KINDS, "landing_page", LANDING_PAGE)
    monkeypatch.setitem(SIMPLE_KINDS, "landing_page", KindSchema(LandingPageBody))
    monkeypatch.setattr(kind_routes, "router", kind_routes.build_router())


def test_it_is_built_and_checked() -> None:
    catalogue = build_catalogue(1, [*OTHERS, ("landing_page", "may", BODY)], {"gold": 1})
    assert catalogue.things(LANDING_PAGE) == {
        "may": LandingPage("may", "gold", "customer.known", (Hint("/gold"),), MAY_MS)
    }
    for change, field, error in (
        ({"offer": "none"}, "offer", Invalid),
        ({"when": "customer.knows"}, "landing_pages.may.when", InvalidRule),
        ({"colour": "red"}, "landing_page.may.colour", Invalid),
        ({"hints": [{"url": "/", "colour": "red"}]}, "landing_page.may.hints.0.colour", Invalid),
    ):
        with pytest.raises(error) as caught:
            build_catalogue(1, [*OTHERS, ("landing_page", "may", BODY | change)], {"gold": 1})
        assert caught.value.field == field


def test_it_is_written_read_and_compared() -> None:
    entries: list[Entry] = [("landing_page", "may", BODY)]
    document = to_yaml([*OTHERS, *entries])
    assert document.endswith(
        "landing_pages:\n  may:\n    offer: gold\n    when: customer.known\n"
        "    hints:\n    - url: /gold\n    starts_at: '2026-05-01T00:00:00+00:00'\n"
    )
    assert from_yaml(document, check_entry) == [*OTHERS, *entries]
    moved: list[Entry] = [("landing_page", "may", BODY | {"offer": "silver"})]
    assert changes_between(entries, moved) == moved
    assert [str(d) for d in differences(entries, moved)] == ["~ landing_pages.may.offer: 'gold' -> 'silver'"]
    assert changes_between(entries, []) == [("landing_page", "may", None)]
    with pytest.raises(DocumentError, match="line 4: there is no 'ofer'; did you mean 'offer'"):
        from_yaml("nextbest: 1\nlanding_pages:\n  may:\n    ofer: gold\n")
    with pytest.raises(DocumentError, match="line 4: must be letters, digits,"):
        from_yaml(
            document.split("groups:")[0] + "landing_pages:\n  may:\n    offer: '*'\n    when: a\n",
            check_entry,
        )


@pytest.mark.asyncio(loop_scope="module")
async def test_it_is_served(shop: Nextbest) -> None:
    body: dict[str, Any] = {
        "offer": "gold",
        "when": "customer.known",
        "hints": [],
        "starts_at": "2026-05-01T00:00:00Z",
        "ends_at": None,
    }
    async with shop.another() as api:
        one = "/v1/landing-pages/may"
        problem_of(await api.call("GET", one), 404)
        assert (await api.call("PUT", one, json=body)).status_code == 201
        assert await api.ok("GET", one, role="scientist") == {"id": "may"} | body
        assert await api.ok("GET", "/v1/landing-pages") == [{"id": "may"} | body]
        problem_of(await api.call("PUT", one, json=body | {"offer": "none"}), 422, "offer")
        problem_of(await api.call("PUT", one, json=body, role="frontend"), 403)
        operation = api.app.openapi()["paths"]["/v1/landing-pages/{thing_id}"]["put"]
        assert operation["operationId"] == "put_landing_page"
        exported = (await api.call("GET", "/v1/catalog/export")).text
        assert "landing_pages:\n  may:\n    offer: gold\n" in exported
        found = await api.ok("GET", "/v1/catalog", params={"kind": "landing_page"})
        assert [entry["differences"][0]["path"] for entry in found] == ["landing_pages.may"]
        assert (await api.call("DELETE", one)).status_code == 200
        assert await api.ok("GET", "/v1/landing-pages") == []
