"""Changes of the catalogue over HTTP: the version that an editor has seen, from the headers."""

from collections.abc import Mapping
from typing import Any, cast

import pytest
from fastapi import Response

from app.api.catalogue.editing import Edit, editing, find_thing
from app.config import Settings
from app.errors import Problem
from app.keys import ApiKey
from app.state import ApiState
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.store import ANY_VERSION, Published
from decisioning.errors import NotFound
from decisioning.model.entities import Group


class State:
    """The catalogue of a process, with a store that publishes everything as version 12."""

    def __init__(self, new: bool = False) -> None:
        self.catalogues = self
        self.settings = Settings()
        self.new = new
        self.puts: list[tuple[Any, ...]] = []
        self.adopted: list[int] = []

    async def put(self, *change: Any, confirmed: frozenset[str] = frozenset()) -> Published:
        self.puts.append((*change, *confirmed))
        return Published(Catalogue(13), 12, self.new)

    async def adopt(self, catalogue: Catalogue) -> None:
        self.adopted.append(catalogue.version)

    def current_catalogue(self) -> Catalogue:
        groups = {name: Group(name, name.title(), "grow") for name in ("cards", "loans")}
        return Catalogue(13, groups=groups, versions={("group", "cards"): 7})


async def edit(state: State, if_match: str | None = None, if_none_match: str | None = None) -> Edit:
    """The change that the dependency of a route makes of the headers."""
    make = editing("ops").dependency
    found: Edit = await make(
        cast(ApiState, state), ApiKey("1", "ann", "ops"), Response(), if_match, if_none_match, None
    )
    return found


@pytest.mark.parametrize(
    ("if_match", "if_none_match", "expected"),
    [
        (None, None, None),
        ('"12"', None, 12),
        (' W/"12" ', None, 12),
        ("*", None, ANY_VERSION),
        (None, "*", 0),
        (None, " * ", 0),
    ],
)
async def test_the_version_that_was_seen(
    if_match: str | None, if_none_match: str | None, expected: int | None
) -> None:
    assert (await edit(State(), if_match, if_none_match)).expected == expected


@pytest.mark.parametrize(
    ("if_match", "if_none_match", "field"),
    [
        ("12", None, "If-Match"),
        ('"x"', None, "If-Match"),
        ('"1", "2"', None, "If-Match"),
        (None, '"12"', "If-None-Match"),
    ],
)
async def test_what_is_no_version_is_refused(
    if_match: str | None, if_none_match: str | None, field: str
) -> None:
    with pytest.raises(Problem) as caught:
        await edit(State(), if_match, if_none_match)
    assert (caught.value.status_code, caught.value.field) == (422, field)


@pytest.mark.parametrize(("new", "status"), [(True, 201), (False, 200)])
async def test_a_change_is_in_force_here_before_it_is_answered(new: bool, status: int) -> None:
    state = State(new)
    change = await edit(state, '"12"')
    body: Mapping[str, Any] = {"name": "Cards"}
    assert await change.put("group", "cards", body) == 12
    assert (change.response.status_code, change.response.headers["ETag"]) == (status, '"12"')
    assert await change.delete("group", "cards") == 12
    assert state.puts == [("group", "cards", body, "ann", "", 12), ("group", "cards", None, "ann", "", 12)]
    assert state.adopted == [13, 13]


def test_what_is_read_has_the_version_of_its_own() -> None:
    response, state = Response(), cast(ApiState, State())
    assert find_thing(state, response, "group", "loans").name == "Loans"
    assert "ETag" not in response.headers
    find_thing(state, response, "group", "cards")
    assert response.headers["ETag"] == '"7"'
    with pytest.raises(NotFound):
        find_thing(state, response, "group", "none")
