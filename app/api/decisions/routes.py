"""Decisions: asked for, and read again."""

from dataclasses import asdict

from fastapi import APIRouter, Response
from pydantic_core import to_json

from app.api.body import DirectRoute, JsonRoute
from app.api.context import check_context, check_reasons
from app.api.decisions.explanation_schemas import ExplanationAnswer
from app.api.decisions.limits import limit_warnings
from app.api.decisions.replay_schemas import ReplayAnswer
from app.api.decisions.schemas import DecisionAnswer, DecisionRecord, DecisionRequest
from app.api.deps import Decider, Reader, State, hidden_from, problems
from app.api.schemas import DecisionId
from app.errors import Problem
from app.keys import ApiKey
from app.metrics import DEGRADED
from decisioning.catalog.checking.warning import CatalogueWarning
from decisioning.catalog.compared import context_warnings
from decisioning.decide.service import DecisionInputs
from decisioning.errors import Conflict, NotFound
from decisioning.evaluation.model_replay_service import ReplayImpossible
from decisioning.evaluation.replay_service import explain_logged, replay
from decisioning.log.lookup_service import record_of
from rules.classification import without

router = APIRouter(prefix="/v1/decisions", tags=["decisions"], route_class=JsonRoute)


async def decide(body: DecisionRequest, state: State, key: Decider) -> Response:
    """Ask for the best offers for a customer at a placement, now.

    Always answers in time: when a store fails or the deadline passes, with `degraded` reasons and, at worst, the
    placement's default offers. A key of the role `ops` may try it out, with `dry_run`, and make no real decision;
    one of the role `agent` may not ask for explanations.
    """
    _check_role(body, key)
    if body.context:
        check_context(body.context, state.settings.context_bytes)
        catalogue = state.current_catalogue()
        if catalogue.told_reasons:
            check_reasons(body.context, catalogue.told_reasons, catalogue.reasons)
    answer = await state.decisions.decide(
        DecisionInputs(
            customer_id=body.customer_id,
            placement=body.placement,
            context=body.context,
            limit=body.limit,
            decision_id=body.decision_id,
            deadline_ms=body.deadline_ms,
            dry_run=body.dry_run,
            explain=body.explain,
            baseline=None if body.baseline is None else tuple(body.baseline),
        )
    )
    if body.explain:
        answer["explanation"] = without(answer.get("explanation"), hidden_from(key, state))
    answer["degraded"] = [*answer["degraded"], *state.degraded()]
    if body.fields is not None:
        kept = ("offer_id", "rank", *body.fields)
        answer["offers"] = [{k: v for k, v in offer.items() if k in kept} for offer in answer["offers"]]
    if warnings := _warnings_of(body, state):
        answer["warnings"] = warnings
    for reason in answer["degraded"]:
        DEGRADED.labels(reason).inc()
    return Response(to_json(answer), media_type="application/json")


def _check_role(body: DecisionRequest, key: ApiKey) -> None:
    if key.role == "ops" and not body.dry_run:
        raise Problem(
            403, "a key with the role 'ops' may only make dry runs: send \"dry_run\": true", "dry_run"
        )
    if key.role == "agent" and body.explain:
        # It names every offer of the catalogue, and the rules that stop it.
        raise Problem(403, "a key with the role 'agent' gets no explanations: leave it out", "explain")


def _warnings_of(body: DecisionRequest, state: State) -> list[dict[str, str]]:
    """Tell what of a request was probably not meant."""
    catalogue = state.current_catalogue()
    found: list[CatalogueWarning] = []
    if body.limit is not None:
        found += limit_warnings(body.limit, catalogue.placements.get(body.placement))
    if body.dry_run and body.context:
        # Somebody tries it out. Decisions that count are not held up by looking.
        found += context_warnings(catalogue.checker.vocabulary, body.context)
    return [asdict(warning) for warning in found]


# The busiest route: its answer is documented by the model, but not validated against it.
router.add_api_route(
    "",
    decide,
    methods=["POST"],
    response_model=DecisionAnswer,
    responses=problems(404, 409, body=True),
    route_class_override=DirectRoute,
)


@router.get("/{decision_id}", responses=problems(404))
async def read_decision(decision_id: DecisionId, state: State, key: Reader) -> DecisionRecord:
    """A decision as it was logged, with its candidates and the outcomes so far.

    The role `scientist` is not shown what is classified as sensitive.
    """
    record = await record_of(decision_id, state.decision_log, state.archive)
    if record is None:
        raise NotFound("decision", decision_id)
    return DecisionRecord.model_validate(without(record, hidden_from(key, state)))


@router.get("/{decision_id}/explanation", responses=problems(404, 409))
async def explain_decision(decision_id: DecisionId, state: State, key: Reader) -> ExplanationAnswer:
    """Explain a decision that was made earlier, why and why not: from the log alone, as it was then.

    Decisions are archived within a second or so; before that there is nothing to explain from (404).
    """
    try:
        found = await explain_logged(decision_id, state.archive, state.catalogues, state.roster)
    except ReplayImpossible as error:
        raise Conflict(str(error)) from None
    return ExplanationAnswer.model_validate(without(found, hidden_from(key, state)))


@router.get("/{decision_id}/replay", responses=problems(404, 409))
async def replay_decision(decision_id: DecisionId, state: State, key: Reader) -> ReplayAnswer:
    """Make a decision again from the archived log alone, and compare it with what was answered, bit for bit.

    As `nextbest replay` does. Where the log does not hold what it takes (imported history, outcomes that are older
    than the log is kept), it is refused with 409. Nothing is reserved, logged or learned.
    """
    try:
        found = await replay(decision_id, state.archive, state.catalogues, state.roster)
    except ReplayImpossible as error:
        raise Conflict(str(error)) from None
    return ReplayAnswer.model_validate(found, from_attributes=True)
