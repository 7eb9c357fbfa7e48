"""Policies before they decide: what they would have earned, offline and in the shadow."""

import asyncio
import secrets
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from app.api.body import JsonRoute
from app.api.deps import Reader, Scientist, State, problems
from app.api.evaluations.schemas import (
    ComparisonOut,
    ComparisonQuery,
    EvaluationBody,
    EvaluationOut,
    EvaluationProgress,
    EvaluationsOut,
    EvaluationsQuery,
)
from app.api.policies.auto import auto_features_of, with_models
from app.api.schemas import Id, answer_of
from app.errors import Problem
from app.specs import candidate_body
from decisioning.errors import NotFound
from decisioning.evaluation.comparison_service import compare
from decisioning.evaluation.service import EvaluationRequest, EvaluationScope, as_json, spec_of
from decisioning.evaluation.store_comparison import Window
from decisioning.evaluation.store_jobs import Job
from storage import clock
from storage.clock import to_datetime

router = APIRouter(prefix="/v1", tags=["policies"], route_class=JsonRoute)

DEFAULT_WINDOW = timedelta(days=7)


@router.post("/evaluations", status_code=201, responses=problems(404, 409, body=True))
async def ask_evaluation(body: EvaluationBody, state: State, key: Scientist) -> EvaluationOut:
    """Ask what a policy would have earned in the archived decisions of a placement.

    The policy walks through them in the order of time, and learns from an outcome only when the log knew of it. It
    runs in the background: ask for the result at `GET /v1/evaluations/{evaluation_id}`.
    """
    state.current_catalogue().view(body.placement)
    scope = EvaluationScope(
        body.placement, body.since, body.until, body.limit, body.slots, body.reward, body.start
    )
    candidate = None
    if body.spec is not None:
        features = await auto_features_of(body.spec, state)
        values = await with_models(body.spec, state, "spec.")
        candidate = await asyncio.to_thread(candidate_body, values, clock.now_ms(), features)
    request = EvaluationRequest(scope, body.policy, candidate)
    # For its errors: what cannot be run is refused now, not later in the background.
    await spec_of(request, state.policies)
    evaluation_id = f"ev-{secrets.token_hex(8)}"
    return _evaluation_out(await state.evaluations.ask(evaluation_id, as_json(request), key.name))


@router.get("/evaluations", responses=problems())
async def read_evaluations(
    state: State, key: Scientist, query: Annotated[EvaluationsQuery, Query()]
) -> EvaluationsOut:
    """List the evaluations of everybody, the newest first, page by page. They are kept for 30 days."""
    try:
        # One more than is shown tells whether there is another page.
        found = await state.evaluations.latest(query.limit + 1, query.before)
    except NotFound:
        raise Problem(
            422,
            "no evaluation with this id is kept: send `next` of the page before, or leave it out for the newest",
            "before",
        ) from None
    shown = found[: query.limit]
    return EvaluationsOut(
        evaluations=[answer_of(EvaluationProgress, job, **_asked(job)) for job in shown],
        next=shown[-1].job_id if len(found) > query.limit else None,
    )


@router.get("/evaluations/{evaluation_id}", responses=problems(404))
async def read_evaluation(evaluation_id: Id, state: State, key: Reader) -> EvaluationOut:
    """Read the progress of an evaluation, and its result when it is done. Results are kept for 30 days."""
    return _evaluation_out(await state.evaluations.get(evaluation_id))


@router.get("/placements/{placement_id}/policies/comparison", responses=problems(404))
async def compare_policies(
    placement_id: Id, state: State, key: Reader, query: Annotated[ComparisonQuery, Query()]
) -> ComparisonOut:
    """The policies of a placement side by side.

    Those that decide: what was accepted, by group. Those in the shadow: what they would have earned, how often they
    agree with what was shown, their errors and times. In apprentice mode also how well the caller is imitated.
    """
    end = query.end or to_datetime(clock.now_ms())
    window = Window(
        placement_id, query.start or end - DEFAULT_WINDOW, end, query.limit, query.slots == "first"
    )
    report = await compare(state.current_catalogue(), window, state.comparisons, state.roster)
    return ComparisonOut.model_validate(report)


def _evaluation_out(found: Job) -> EvaluationOut:
    return answer_of(EvaluationOut, found, **_asked(found))


def _asked(job: Job) -> dict[str, str | None]:
    """Return the fields of an answer that say what was asked, and by whom."""
    spec = job.request["spec"]
    return {
        "evaluation_id": job.job_id,
        "asked_by": job.author,
        "policy": job.request["policy"],
        "algorithm": None if spec is None else spec.get("algorithm"),
        "placement": job.request["placement"],
    }
