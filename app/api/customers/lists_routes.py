"""Lists about a customer: decisions, and entries in suppression lists."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.catalogue.signal_schemas import ScopeBody
from app.api.cursors import DECISIONS
from app.api.customers.lists_schemas import (
    CustomerDecision,
    CustomerDecisions,
    CustomerOffer,
    CustomerOutcome,
    CustomerSuppressions,
    DecisionsQuery,
    ListsQuery,
    RememberedSignal,
)
from app.api.deps import DeskReader, Ops, Reader, State, problems
from app.api.paths import CUSTOMER_ID
from app.api.privacy.services import lifting_of
from app.api.schemas import Id, PathCustomerId, ReasonQuery, answer_of
from app.api.suppressions.schemas import ListedSuppression
from decisioning.contact.signals import lasting_signals, reason_name
from decisioning.reporting.store_customer_decisions import decisions_of_customer
from storage import clock
from storage.clock import to_datetime
from storage.errors import RedisUnavailable

router = APIRouter(prefix="/v1/customers", tags=["customers"])


@router.get(f"/{CUSTOMER_ID}/decisions", responses=problems())
async def read_customer_log(
    customer_id: PathCustomerId, state: State, key: DeskReader, query: Annotated[DecisionsQuery, Query()]
) -> CustomerDecisions:
    """A customer's decisions with what came of them, the newest first, page by page.

    From the archive: what was decided or told in the last second or so may be missing. There need not be a record of
    the customer; who never got a decision has none.
    """
    before = None if query.before is None else DECISIONS.parse(query.before)
    # One more than is shown tells whether there is another page.
    found = await decisions_of_customer(state.engine, customer_id, query.limit + 1, before)
    shown = found[: query.limit]
    last = shown[-1] if len(found) > query.limit else None
    return CustomerDecisions(
        decisions=[
            CustomerDecision(
                **{name: value for name, value in one.items() if name not in ("decided_at_ms", "offers")},
                decided_at=to_datetime(one["decided_at_ms"]),
                offers=[
                    CustomerOffer(
                        offer_id=offer["offer_id"],
                        rank=offer["rank"],
                        treatment_id=offer["treatment_id"],
                        outcomes=[
                            CustomerOutcome(
                                outcome=told["outcome"],
                                occurred_at=to_datetime(told["occurred_at_ms"]),
                                recorded_at=to_datetime(told["recorded_at_ms"]),
                                value=told["value"],
                                reason=told["reason"],
                                late=told["late"],
                            )
                            for told in offer["outcomes"]
                        ],
                    )
                    for offer in one["offers"]
                ],
            )
            for one in shown
        ],
        next=None if last is None else f"{last['decided_at_ms']}:{last['decision_id']}",
    )


@router.get(f"/{CUSTOMER_ID}/suppressions", responses=problems())
async def read_customer_lists(
    customer_id: PathCustomerId, state: State, key: Reader, query: Annotated[ListsQuery, Query()]
) -> CustomerSuppressions:
    """A customer's entries in suppression lists, by list, page by page, and the signals that count still.

    There need not be a record of the customer.
    """
    found = await state.suppressions.of_customer(customer_id, query.after, query.limit + 1)
    shown = found[: query.limit]
    return CustomerSuppressions(
        suppressions=[answer_of(ListedSuppression, entry) for entry in shown],
        next=shown[-1].list_id if len(found) > query.limit else None,
        signals=await _remembered_signals(state, customer_id),
    )


@router.delete(f"/{CUSTOMER_ID}/signals/{{signal_id}}", status_code=204, responses=problems(404, 409))
async def lift_signal(
    customer_id: PathCustomerId,
    signal_id: Id,
    state: State,
    key: Ops,
    query: Annotated[ReasonQuery, Query()],
) -> Response:
    """Lift a signal that is remembered of a customer before it ends. It is in the trail.

    From the next decision on it closes nothing, unless it holds again then.
    """
    lifting = lifting_of(state)
    await lifting.lift(state.current_catalogue(), customer_id, signal_id, key.name, query.reason)
    return Response(status_code=204)


async def _remembered_signals(state: State, customer_id: str) -> list[RememberedSignal] | None:
    """Return the signals that count still; ``None`` if the contact history cannot be read."""
    catalogue = state.current_catalogue()
    if not catalogue.signals:
        return []
    try:
        reading = await state.decision_log.read(customer_id, with_history=True)
    except RedisUnavailable:
        return None
    lasting = lasting_signals(catalogue.signals.values(), reading.history, clock.now_ms())
    return [
        RememberedSignal(
            signal=signal_id,
            reason=(signal := catalogue.signals[signal_id]).reason,
            name=reason_name(catalogue.reasons, signal.reason),
            scope=ScopeBody(**{name: list(value) for name, value in asdict(signal.scope).items()}),
            since=to_datetime(since_ms),
            until=to_datetime(until_ms),
        )
        for signal_id, since_ms, until_ms in lasting
    ]
