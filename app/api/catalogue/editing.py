"""Changing the catalogue over HTTP: author, reason, and the version that the editor has seen."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Header, Response

from app.api.deps import State
from app.api.schemas import WarningOut
from app.errors import Problem
from app.keys import ApiKey, Role
from app.security import Allow
from app.state import ApiState
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.kinds import KINDS
from decisioning.catalog.store import ANY_VERSION
from decisioning.catalog.warnings import warnings_of_change
from decisioning.errors import NotFound
from storage import clock

_ETAG = re.compile(r'(?:W/)?"(\d+)"')


@dataclass(slots=True)
class Edit:
    """One change: its author and reason, and the version that the editor has seen (``None``: any)."""

    state: ApiState
    response: Response
    author: str
    reason: str
    expected: int | None
    warnings: list[WarningOut] = field(default_factory=list)
    """About what was changed last, and what that did to other things."""

    async def put(self, kind: str, name: str, body: Mapping[str, Any]) -> int:
        """Publish a thing; answers 201 for something new, with its ETag. Returns the version of the catalogue."""
        published = await self.state.catalogues.put(kind, name, body, self.author, self.reason, self.expected)
        await self._find_warnings(published.catalogue, kind, name)
        # Adopted at once, so that whoever sends the next request here finds the change.
        await self.state.adopt(published.catalogue)
        self.response.status_code = 201 if published.new else 200
        self.response.headers["ETag"] = f'"{published.version}"'
        return published.version

    async def delete(self, kind: str, name: str) -> int:
        """Take something out of the catalogue. Returns the version of the catalogue."""
        published = await self.state.catalogues.put(kind, name, None, self.author, self.reason, self.expected)
        await self._find_warnings(published.catalogue, kind, name)
        await self.state.adopt(published.catalogue)
        return published.version

    async def _find_warnings(self, after: Catalogue, kind: str, name: str) -> None:
        before = self.state.current_catalogue()
        found = await asyncio.to_thread(warnings_of_change, before, after, kind, name, clock.now_ms())
        self.warnings = [WarningOut.model_validate(warning) for warning in found]


def editing(*roles: Role) -> Any:
    """Make the dependency of routes by which keys of ``roles`` change the catalogue."""

    async def edit(
        state: State,
        key: Annotated[ApiKey, Depends(Allow(*roles))],
        response: Response,
        if_match: Annotated[
            str | None,
            Header(max_length=64, description="the ETag that was read: refused (412) if it changed since"),
        ] = None,
        if_none_match: Annotated[
            str | None, Header(max_length=8, description="`*`: only if it does not exist yet")
        ] = None,
        x_reason: Annotated[
            str | None, Header(max_length=500, description="why; kept in the audit trail")
        ] = None,
    ) -> Edit:
        return Edit(state, response, key.name, x_reason or "", _expected_version(if_match, if_none_match))

    return Depends(edit)


def _expected_version(if_match: str | None, if_none_match: str | None) -> int | None:
    if if_none_match is not None:
        if if_none_match.strip() != "*":
            raise Problem(422, "only If-None-Match: * is understood", "If-None-Match")
        return 0  # the version of what does not exist
    if if_match is None:
        return None
    if if_match.strip() == "*":
        return ANY_VERSION
    match = _ETAG.fullmatch(if_match.strip())
    if match is None:
        raise Problem(422, 'must be an ETag as it was sent, such as "12"', "If-Match")
    return int(match[1])


Editing = Annotated[Edit, editing("ops")]
Staging = Annotated[Edit, editing("scientist")]
RollingBack = Annotated[Edit, editing("ops", "scientist")]


def find_thing(state: ApiState, response: Response, kind: str, name: str) -> Any:
    """Find a thing of the catalogue in force, and send its ETag. Raises ``NotFound``."""
    catalogue = state.current_catalogue()
    things = catalogue.things(KINDS[kind])
    if name not in things:
        raise NotFound(kind.replace("_", " "), name)
    version = catalogue.versions.get((kind, name))
    if version is not None:
        response.headers["ETag"] = f'"{version}"'
    return things[name]
