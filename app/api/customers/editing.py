"""Changing a customer over HTTP: what is sent becomes a record, checked against the one that is stored."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import Depends, Header, Response

from app.api.customers.schemas import CustomerBody, CustomerOut
from app.api.deps import IfMatch, Ops, State
from app.api.merge_patch import check_echoes, check_ids, merged_body
from app.api.schemas import answer_of
from app.api.suppressions.schemas import SuppressionOut
from app.errors import Problem
from app.state import ApiState
from decisioning.errors import NotFound, PreconditionFailed
from profiles.consents import OBJECTION_TO_ALL, join_entries, split_entries, unknown_channel
from profiles.customer import ANY_CHANNEL, Customer, Profile, Suppression, scope_fields
from profiles.declared import convert_attributes
from profiles.errors import InvalidCustomer
from profiles.privacy.consent_records import Statement, statement_problem
from profiles.replacing import ERASED, check_erasures, record_version
from storage import clock
from storage.clock import to_datetime

_ETAG = re.compile(r'(?:W/)?"([0-9a-f]{24})"')
ANY_VERSION = "*"
_READ_ONLY = (
    "leave it out; propensities are imported, and suppressions have requests of their own,"
    " /v1/suppressions/{list_id}/{customer_id}"
)


@dataclass(slots=True)
class CustomerEdit:
    """One change of a customer, and the version of the record that the caller has seen.

    ``author``: who changes it.
    ``expected``: that version; ``ANY_VERSION`` if there must be a record, and an empty text for none yet. ``None``: the
    caller did not say.
    """

    state: ApiState
    response: Response
    author: str
    expected: str | None

    async def put(self, customer_id: str, body: CustomerBody, confirmed: frozenset[str]) -> None:
        """Replace a record as a whole; its ETag is sent.

        Raises ``PreconditionFailed``, ``UnconfirmedErasure``, ``InvalidCustomer``, and ``Problem``.
        """
        check_ids(body, customer_id)
        if unknown := sorted(confirmed - set(ERASED)):
            known = ", ".join(ERASED)
            raise Problem(422, f"{unknown[0][:100]!r}: here it can be one of {known}", "confirm_removal")
        sent = body.model_dump(mode="json", include={"propensities", "suppressions"}, exclude_none=True)
        await self._check_read_only(customer_id, sent)
        statements = self._statements(body)
        keeps_consents = bool(statements) and not {"consents", "objections"} & body.model_fields_set

        def make(before: Customer | None) -> Customer:
            self._check_version(customer_id, before)
            known = before or Customer.unknown(customer_id)
            after = _record(customer_id, body, known, self.state)
            if keeps_consents:
                after = replace(after, consents=known.consents)
            # `*` does not say what was seen, so it confirms nothing.
            check_erasures(known, after, confirmed, version_is_known=self.expected not in (None, ANY_VERSION))
            return after

        await self._store(customer_id, make, statements)

    async def patch(self, customer_id: str, patch: Mapping[str, Any]) -> None:
        """Change what a merge patch names; the ETag is sent. Raises ``NotFound``, and what ``put`` raises."""
        read_only = {name: patch[name] for name in ("propensities", "suppressions") if name in patch}
        await self._check_read_only(customer_id, read_only)
        named = {name: value for name, value in patch.items() if name not in read_only}
        # Statements are about nothing that is stored, so they are checked by themselves.
        stated = {name: named.pop(name) for name in ("consent_records",) if name in named}
        statements = self._statements(merged_body(CustomerBody, {}, stated))

        def make(before: Customer | None) -> Customer:
            self._check_version(customer_id, before)
            if before is None:
                raise NotFound("record of the customer", customer_id)
            # An import may have stored what a request cannot say, such as a channel with a blank.
            body = merged_body(CustomerBody, _sent_form(before), named, only_named=True)
            check_ids(body, customer_id)
            return _record(customer_id, body, before, self.state)

        await self._store(customer_id, make, statements)

    async def _store(
        self,
        customer_id: str,
        make: Callable[[Customer | None], Customer],
        statements: Collection[Statement],
    ) -> None:
        stored, _ = await self.state.profiles.change_customer(customer_id, make, statements, self.author)
        send_etag(self.response, stored)

    def _statements(self, body: CustomerBody) -> list[Statement]:
        """Return what is stated in full. Raises ``InvalidCustomer`` for channels and times that cannot be."""
        channels, now = self.state.current_catalogue().channels, to_datetime(clock.now_ms())
        statements = [one.statement() for one in body.consent_records]
        for place, one in enumerate(statements):
            field = f"consent_records.{place}"
            if one.channel not in (ANY_CHANNEL, *channels):
                raise InvalidCustomer(f"{field}.channel", unknown_channel(channels))
            if problem := statement_problem(one, now):
                raise InvalidCustomer(f"{field}.{problem[0]}", problem[1])
        return statements

    def _check_version(self, customer_id: str, before: Customer | None) -> None:
        if self.expected is None:
            return
        if before is None:
            if self.expected:
                raise PreconditionFailed(f"there is no record of customer {customer_id!r}")
        elif not self.expected:
            raise PreconditionFailed(f"there is a record of customer {customer_id!r} already")
        elif self.expected not in (ANY_VERSION, record_version(before)):
            raise PreconditionFailed(f"customer {customer_id!r} has been changed since that ETag was read")

    async def _check_read_only(self, customer_id: str, sent: Mapping[str, Any]) -> None:
        if not sent:
            return
        profile = await self.state.profiles.load(customer_id, self.state.numbers())
        profile = profile or Profile.unknown(customer_id)
        shown = customer_out(profile, self.state).model_dump(mode="json", include=set(sent))
        check_echoes(sent, shown, sent, _READ_ONLY)


async def _customer_edit(
    state: State,
    key: Ops,
    response: Response,
    if_match: IfMatch = None,
    if_none_match: Annotated[
        str | None, Header(max_length=8, description="`*`: only if there is no record yet")
    ] = None,
) -> CustomerEdit:
    return CustomerEdit(state, response, key.name, _expected_version(if_match, if_none_match))


EditingCustomer = Annotated[CustomerEdit, Depends(_customer_edit)]


def _expected_version(if_match: str | None, if_none_match: str | None) -> str | None:
    if if_none_match is not None:
        if if_none_match.strip() != "*":
            raise Problem(422, "only If-None-Match: * is understood", "If-None-Match")
        return ""
    if if_match is None or if_match.strip() == ANY_VERSION:
        return None if if_match is None else ANY_VERSION
    match = _ETAG.fullmatch(if_match.strip())
    if match is None:
        raise Problem(422, "must be an ETag as it was sent, in quotes", "If-Match")
    return match[1]


def send_etag(response: Response, customer: Customer) -> None:
    """Send the ETag of a record; there is none of a customer without one."""
    if customer.known:
        response.headers["ETag"] = f'"{record_version(customer)}"'


def customer_out(profile: Profile, state: ApiState) -> CustomerOut:
    """Return a profile as the API shows it."""
    customer = profile.customer
    # Propensities of offers that are no longer in the catalogue are left out.
    names = {number: offer_id for offer_id, number in state.numbers().items()}
    propensities = zip(profile.offer_nos.tolist(), profile.propensities.tolist(), strict=True)
    consents, objections = split_entries(customer.consents)
    return answer_of(
        CustomerOut,
        customer,
        consents=consents,
        objections=objections,
        propensities={names[number]: score for number, score in propensities if number in names},
        suppressions=[_suppression_out(entry) for entry in customer.suppressions or ()],
    )


def _suppression_out(entry: Suppression) -> SuppressionOut:
    until = None if entry.until_ms is None else to_datetime(entry.until_ms)
    scope = None if entry.scope is None else scope_fields(entry.scope)
    return answer_of(SuppressionOut, entry, until=until, added_at=to_datetime(entry.added_ms), scope=scope)


def _sent_form(customer: Customer) -> dict[str, Any]:
    """Return a record as a request would send it."""
    consents, objections = split_entries(customer.consents)
    return {
        "attributes": customer.attributes,
        "indicators": customer.indicators,
        "holdings": list(customer.holdings),
        "interests": customer.interests,
        "household_id": customer.household_id,
        # An empty list is an objection to all channels, which is among the objections: it can be lifted there.
        "consents": {purpose: channels for purpose, channels in consents.items() if channels},
        "objections": objections,
    }


def _record(customer_id: str, body: CustomerBody, before: Customer, state: ApiState) -> Customer:
    """Make a record of a body. What is stored already is not refused again, whatever was declared since.

    Raises ``InvalidCustomer``.
    """
    catalogue = state.current_catalogue()
    _check_objections(body.objections, before, catalogue.channels if body.objections else frozenset())
    new = {name: value for name, value in body.attributes.items() if not _is_stored(before, name, value)}
    consents = join_entries(body.consents, body.objections)
    for purpose, entries in consents.items():
        if entries == OBJECTION_TO_ALL and before.consents.get(purpose) == ():
            consents[purpose] = ()  # says the same, so it stays as it was
    return Customer(
        customer_id,
        body.attributes | convert_attributes(new, catalogue.customer_types),
        body.indicators,
        tuple(body.holdings),
        body.interests,
        consents,
        household_id=body.household_id,
    )


def _check_objections(objections: Mapping[str, list[str]], before: Customer, known: frozenset[str]) -> None:
    stored = split_entries(before.consents)[1]
    for purpose, channels in objections.items():
        # An objection that no decision would look at must not seem to be in force.
        if not set(channels) <= {ANY_CHANNEL, *known, *stored.get(purpose, ())}:
            raise InvalidCustomer(f"objections.{purpose}", unknown_channel(known))


def _is_stored(before: Customer, name: str, value: Any) -> bool:
    stored = before.attributes.get(name)
    return type(stored) is type(value) and stored == value
