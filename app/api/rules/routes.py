"""Rules before they go live: previews and simulations."""

import asyncio

from fastapi import APIRouter

from app.api.body import JsonRoute
from app.api.deps import Ops, Reader, State, problems
from app.api.rules.schemas import PreviewAnswer, PreviewRequest, SimulationAnswer, SimulationRequest
from app.state import ApiState
from decisioning.errors import Invalid, InvalidRule
from decisioning.evaluation.simulation import Subject, preview, simulate
from profiles.customer import Profile
from profiles.store_sample import sample_profiles
from rules.errors import RuleError
from storage import clock
from storage.errors import RedisUnavailable

router = APIRouter(prefix="/v1", tags=["rules"], route_class=JsonRoute)

AT_ONCE = 200


@router.post("/rules/preview", responses=problems(body=True))
async def preview_rule(body: PreviewRequest, state: State, key: Reader) -> PreviewAnswer:
    """How many customers meet a condition, and some of them, before it goes live.

    A mistake is answered with 422, its position, and a suggestion where one can be guessed.
    """
    catalogue = state.current_catalogue()
    try:
        expression = catalogue.checker.check(body.expression)
    except RuleError as error:
        raise InvalidRule("expression", error) from None
    if "offer" in expression.roots:
        raise Invalid(
            "expression", "refers to the offer: a preview is about customers, so leave that part out"
        )
    profiles, total = await sample_profiles(state.engine, catalogue.numbers, body.sample)
    found = await asyncio.to_thread(
        preview, expression, catalogue, profiles, total, body.context, clock.now_ms()
    )
    return PreviewAnswer.model_validate(found)


@router.post("/simulations", responses=problems(404, body=True))
async def simulate_changes(body: SimulationRequest, state: State, key: Ops) -> SimulationAnswer:
    """Run a sample of customers through a changed catalogue beside the live one.

    Tells the candidates that are left after each stage, what each offer gains and loses, and who is left without any
    offer. Nothing is reserved, logged or learned; capacity is taken as unlimited.
    """
    live = state.current_catalogue()
    changed = await state.catalogues.changed(live.version, [(c.kind, c.id, c.body) for c in body.changes])
    profiles, _ = await sample_profiles(state.engine, changed.numbers, body.sample)
    views = live.view(body.placement), changed.view(body.placement)
    subjects = await _subjects(state, profiles, any(view.contact.needed for view in views))
    tables = {key: table for key in state.roster if (table := state.replica.table(key)) is not None}
    found = await asyncio.to_thread(
        simulate, live, changed, body.placement, subjects, state.roster, tables, body.context, clock.now_ms()
    )
    return SimulationAnswer.model_validate(found)


async def _subjects(state: ApiState, profiles: list[Profile], with_history: bool) -> list[Subject]:
    """The sample with the contact histories that decisions would read (none while Redis cannot be read)."""
    if not with_history:
        return [Subject(profile, ()) for profile in profiles]
    subjects: list[Subject] = []
    for start in range(0, len(profiles), AT_ONCE):
        part = profiles[start : start + AT_ONCE]
        replies = await asyncio.gather(
            *(state.decision_log.read(p.customer.customer_id, True, None) for p in part),
            return_exceptions=True,
        )
        for profile, reply in zip(part, replies, strict=True):
            if isinstance(reply, BaseException) and not isinstance(reply, RedisUnavailable):
                raise reply
            subjects.append(Subject(profile, () if isinstance(reply, BaseException) else reply.history))
    return subjects
