"""Changing the catalogue over HTTP: author, reason, and the version that the editor has seen."""

import asyncio
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Header, Response

from app.api.deps import IfMatch, State
from app.api.merge_patch import check_ids, merged_body
from app.api.removal import ConfirmRemoval, confirmed_words
from app.api.schemas import Body, WarningOut, sent_form
from app.config import Settings
from app.errors import Problem
from app.keys import ApiKey, Role
from app.security import Allow
from app.state import ApiState
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.checking.warnings import warnings_of_change
from decisioning.catalog.kinds import KINDS
from decisioning.catalog.store import ANY_VERSION, told_alone
from decisioning.changesets.changeset import Actor
from decisioning.errors import NotFound
from decisioning.model.entities import Treatment
from storage import clock

log = logging.getLogger(__name__)

_ETAG = re.compile(r'(?:W/)?"(\d+)"')


@dataclass(slots=True)
class Edit:
    """One change: its author and reason, and the version that the editor has seen (``None``: any)."""

    state: ApiState
    response: Response
    key: ApiKey
    reason: str
    expected: int | None
    confirmed: frozenset[str] = frozenset()
    warnings: list[WarningOut] = field(default_factory=list)
    """About what was changed last, and what that did to other things."""

    @property
    def author(self) -> str:
        """The name in the audit trail."""
        return self.key.name

    def reason_alone(self) -> str:
        """Return the reason for a change that nobody else approves, as the audit trail tells it.

        Raises ``Problem`` (403) if that takes an approval here.
        """
        return reason_alone(self.state, self.key, self.reason)

    async def replace(self, kind: str, name: str, body: Body) -> int:
        """Publish a thing as a body says. Returns the version of the catalogue.

        Raises ``Problem`` (422) if the body names another id, or if what is confirmed to be removed is not known.
        """
        check_ids(body, KINDS[kind].own_id(name))
        self._check_words(kind)
        return await self.put(kind, name, body.stored())

    async def patch(self, kind: str, name: str, patch: Mapping[str, Any], model: type[Body]) -> Any:
        """Change what a merge patch names. Returns the thing as it is in force then; its ETag is sent."""
        described = KINDS[kind]
        bodies: list[Mapping[str, Any]] = []

        def change(stored: Mapping[str, Any]) -> Mapping[str, Any]:
            body = merged_body(model, sent_form(described.sendable(name, stored)), patch)
            check_ids(body, described.own_id(name))
            bodies.append(body.stored())
            return bodies[-1]

        published = await self.state.catalogues.change(
            kind, name, change, self.author, self.reason_alone(), self.expected
        )
        await self._adopt(published.catalogue, kind, name)
        self.response.headers["ETag"] = f'"{published.version}"'
        if described.parent is not None:
            return described.load(name, bodies[-1])
        return published.catalogue.things(described)[name]

    async def put(self, kind: str, name: str, body: Mapping[str, Any]) -> int:
        """Publish a thing; answers 201 for something new, with its ETag. Returns the version of the catalogue."""
        published = await self.state.catalogues.put(
            kind, name, body, self.author, self.reason_alone(), self.expected, confirmed=self.confirmed
        )
        await self._adopt(published.catalogue, kind, name)
        self.response.status_code = 201 if published.new else 200
        self.response.headers["ETag"] = f'"{published.version}"'
        return published.version

    async def delete(self, kind: str, name: str) -> int:
        """Take something out of the catalogue. Returns the version of the catalogue.

        Raises ``Problem`` (422) if what is confirmed to be removed is not known.
        """
        self._check_words(kind)
        published = await self.state.catalogues.put(
            kind, name, None, self.author, self.reason_alone(), self.expected, confirmed=self.confirmed
        )
        await self._adopt(published.catalogue, kind, name)
        return published.version

    def _check_words(self, kind: str) -> None:
        known = {word for p in KINDS[kind].protective for word in (p.word, p.shown)}
        if unknown := sorted(self.confirmed - known):
            named = f"one of {', '.join(sorted(known))}" if known else "nothing"
            raise Problem(422, f"{unknown[0][:100]!r}: here it can be {named}", "confirm_removal")

    async def _adopt(self, after: Catalogue, kind: str, name: str) -> None:
        """Decide by the catalogue after the change, and find warnings, without which the change stands as well."""
        before = self.state.current_catalogue()
        # At once, so that whoever sends the next request here finds the change, also while warnings are looked for.
        await self.state.adopt(after)
        try:
            found = await asyncio.to_thread(warnings_of_change, before, after, kind, name, clock.now_ms())
        except Exception:
            # The change is stored: an error now would say that it is not.
            log.exception("warnings of %s %r could not be found, so its answer has none", kind, name)
            found = []
        self.warnings = [WarningOut.model_validate(warning) for warning in found]


def editing(*roles: Role) -> Any:
    """Make the dependency of routes by which keys of ``roles`` change the catalogue."""

    async def edit(
        state: State,
        key: Annotated[ApiKey, Depends(Allow(*roles))],
        response: Response,
        if_match: IfMatch = None,
        if_none_match: Annotated[
            str | None, Header(max_length=8, description="`*`: only if it does not exist yet")
        ] = None,
        x_reason: Annotated[
            str | None, Header(max_length=500, description="why; kept in the audit trail")
        ] = None,
    ) -> Edit:
        return Edit(state, response, key, x_reason or "", expected_version(if_match, if_none_match))

    return Depends(edit)


def reason_alone(state: ApiState, key: ApiKey, reason: str) -> str:
    """Return the reason for a change of the catalogue that nobody else approves, as the audit trail tells it.

    Raises ``Problem`` (403) if the key's owner may not change it so.
    """
    if not state.settings.needs_approvals:
        return reason
    if key.role != "admin":
        raise Problem(
            403,
            "changes of the catalogue take the approval of another person here: make a change set"
            " (POST /v1/changesets, or POST /v1/catalog/changeset for a document), and let it be approved;"
            " a key with the role 'admin' may do without",
        )
    return told_alone(reason)


def actor_of(settings: Settings, key: ApiKey) -> Actor:
    """Return who acts on change sets with a key."""
    may_vouch = key.is_signed_in or not (settings.needs_approvals and settings.oidc_issuer)
    return Actor(key.person, key.name, key.role == "admin", may_vouch)


def expected_version(if_match: str | None, if_none_match: str | None = None) -> int | None:
    """Read the version that an editor has seen: ``None`` for any, 0 for what must not exist. Raises ``Problem``."""
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


async def _replacing(edit: Editing, confirm_removal: ConfirmRemoval = None) -> Edit:
    edit.confirmed = confirmed_words(confirm_removal)
    return edit


Replacing = Annotated[Edit, Depends(_replacing)]
"""A change that replaces a thing as a whole, or deletes it, and may say what it takes away."""
Staging = Annotated[Edit, editing("scientist")]
RollingBack = Annotated[Edit, editing("ops", "scientist")]


def find_thing(state: ApiState, response: Response, kind: str, name: str) -> Any:
    """Find a thing of the catalogue in force, and send its ETag. Raises ``NotFound``."""
    things = state.current_catalogue().things(KINDS[kind])
    if name not in things:
        raise NotFound(kind.replace("_", " "), name)
    _send_etag(state, response, kind, name)
    return things[name]


def find_treatment(state: ApiState, response: Response, offer_id: str, treatment_id: str) -> Treatment:
    """Find a treatment of an offer in force, and send its ETag. Raises ``NotFound``."""
    offer = state.current_catalogue().offers.get(offer_id)
    for treatment in () if offer is None else offer.treatments:
        if treatment.treatment_id == treatment_id:
            _send_etag(state, response, "treatment", f"{offer_id}/{treatment_id}")
            return treatment
    raise NotFound("treatment", f"{offer_id}/{treatment_id}")


def _send_etag(state: ApiState, response: Response, kind: str, name: str) -> None:
    version = state.current_catalogue().versions.get((kind, name))
    if version is not None:
        response.headers["ETag"] = f'"{version}"'
