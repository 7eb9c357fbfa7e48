"""Changing the catalogue over HTTP: who, why, and on top of which version."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Response

from app.api.deps import Ops, State
from app.errors import Problem
from app.state import ApiState
from decisioning.stores.catalogue import ANY_VERSION

_ETAG = re.compile(r'(?:W/)?"(\d+)"')


@dataclass(slots=True)
class Edit:
    """One change: its author and reason, and the version that the editor has seen (``None``: any)."""

    state: ApiState
    response: Response
    author: str
    reason: str
    expected: int | None

    async def put(self, kind: str, name: str, body: Mapping[str, Any]) -> int:
        """Publish; answers 201 for something new, with its ETag. Returns the version of the catalogue."""
        published = await self.state.catalogues.put(kind, name, body, self.author, self.reason, self.expected)
        self.state.publish(published.catalogue)
        self.response.status_code = 201 if published.new else 200
        self.response.headers["ETag"] = f'"{published.version}"'
        return published.version

    async def delete(self, kind: str, name: str) -> int:
        """Take something out of the catalogue. Returns the version of the catalogue."""
        published = await self.state.catalogues.put(kind, name, None, self.author, self.reason, self.expected)
        self.state.publish(published.catalogue)
        return published.version


async def _edit(
    state: State,
    key: Ops,
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
    expected = None
    if if_none_match is not None:
        if if_none_match.strip() != "*":
            raise Problem(422, "only If-None-Match: * is understood", "If-None-Match")
        expected = 0
    elif if_match is not None and if_match.strip() == "*":
        expected = ANY_VERSION
    elif if_match is not None:
        match = _ETAG.fullmatch(if_match.strip())
        if match is None:
            raise Problem(422, 'must be an ETag as it was sent, such as "12"', "If-Match")
        expected = int(match[1])
    return Edit(state, response, key.name, x_reason or "", expected)


Editing = Annotated[Edit, Depends(_edit)]


def tag(state: ApiState, response: Response, kind: str, name: str) -> None:
    """Send the ETag of a thing that is read."""
    version = state.current_catalogue().versions.get((kind, name))
    if version is not None:
        response.headers["ETag"] = f'"{version}"'
