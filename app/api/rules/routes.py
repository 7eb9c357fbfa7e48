"""Rules before they go live: previews and simulations."""

from fastapi import APIRouter

from app.api.body import JsonRoute
from app.api.context import check_context
from app.api.deps import Ops, Reader, State, problems
from app.api.rules.schemas import PreviewAnswer, PreviewRequest, SimulationAnswer, SimulationRequest
from decisioning.catalog.compared import context_warnings

router = APIRouter(prefix="/v1", tags=["rules"], route_class=JsonRoute)


@router.post("/rules/preview", responses=problems(body=True))
async def preview_rule(body: PreviewRequest, state: State, key: Reader) -> PreviewAnswer:
    """Count the customers who meet a condition, and show some of them, before it goes live.

    A mistake is answered with 422, its position, and a suggestion where one can be guessed.
    """
    check_context(body.context, state.settings.context_bytes)
    catalogue = state.current_catalogue()
    found = await state.simulations.preview_rule(catalogue, body.expression, body.context, body.sample)
    warnings = [*found["warnings"], *context_warnings(catalogue.checker.vocabulary, body.context)]
    return PreviewAnswer.model_validate(found | {"warnings": warnings}, from_attributes=True)


@router.post("/simulations", responses=problems(404, body=True))
async def simulate_changes(body: SimulationRequest, state: State, key: Ops) -> SimulationAnswer:
    """Run a sample of customers through a changed catalogue beside the live one.

    Tells the candidates that are left after each stage, what each offer gains and loses, and who is left without any
    offer. Nothing is reserved, logged or learned; capacity is taken as unlimited.
    """
    check_context(body.context, state.settings.context_bytes)
    changes = [(change.kind, change.id, change.body) for change in body.changes]
    found = await state.simulations.simulate_changes(
        state.current_catalogue(), body.placement, changes, body.context, body.sample
    )
    warnings = context_warnings(state.current_catalogue().checker.vocabulary, body.context)
    return SimulationAnswer.model_validate(found | {"warnings": warnings}, from_attributes=True)
