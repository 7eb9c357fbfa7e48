"""Putting customers on suppression lists, as the API and the command line share it."""

from app.api.suppressions.schemas import SuppressionBody
from app.state import ApiState
from decisioning.catalog.checks import check_suppression
from decisioning.contact.signals import reason_name
from decisioning.errors import Invalid
from profiles.customer import OfferScope


async def suppress(
    state: ApiState, list_id: str, customer_id: str, body: SuppressionBody, author: str
) -> str:
    """Put a customer on a list, or change the entry; returns whose entry it is (see ``SuppressionStore.put``).

    Raises ``Invalid`` for what is not in the catalogue, or for no reason, ``InvalidCustomer``, and ``Unavailable``.
    """
    catalogue = state.current_catalogue()
    scope = None if body.scope is None else OfferScope(**{k: tuple(v) for k, v in body.scope})
    for mistake in check_suppression(scope, body.reason_id, catalogue.sections):
        raise mistake
    reason = body.reason or (body.reason_id and reason_name(catalogue.reasons, body.reason_id))
    if not reason:
        raise Invalid("reason", "is missing: give it in words, or a `reason_id` of the catalogue")
    return await state.suppressions.put(
        list_id, customer_id, reason, body.until, scope, body.reason_id, author=author
    )
