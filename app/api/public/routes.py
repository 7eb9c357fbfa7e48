"""Decisions and feedback for pages and apps: of their own customer or visitor, and of the placements of their key."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic_core import to_json

from app.api.body import DirectRoute, check_json, is_json, parse_batch
from app.api.context import check_context, check_reasons
from app.api.decisions.limits import limit_warnings
from app.api.deps import State, problems
from app.api.feedback.routes import answer_batch
from app.api.feedback.schemas import FeedbackBatchAnswer, Recorded
from app.api.public.schemas import PublicDecisionAnswer, PublicDecisionRequest, PublicFeedback, _Asker
from app.errors import Problem
from app.metrics import DEGRADED
from app.publishable.gate import AllowPublishable, PublicCaller
from app.publishable.verifier import Bearer, InvalidToken
from app.state import ApiState
from decisioning.decide.service import DecisionInputs
from decisioning.errors import Invalid, NotFound, Refusal
from decisioning.log.feedback_service import Feedback, FeedbackService
from decisioning.log.lookup_service import decision_of
from decisioning.model.decision import Decision
from decisioning.model.outcome import BUILT_IN
from profiles.limits import VISITOR_PREFIX
from storage import clock
from storage.errors import Unavailable
from storage.keys import bucket_of_generated

router = APIRouter(prefix="/public/v1", tags=["public"])

Caller = Annotated[PublicCaller, Depends(AllowPublishable())]


class PublicRoute(DirectRoute):
    """A route for pages and apps: ``text/plain`` is read as JSON too, since browsers send that without a preflight."""

    parse = staticmethod(parse_batch)
    allows = AllowPublishable

    @staticmethod
    def check_type(request: Request) -> None:
        """Raise ``Problem`` (415) for a content type that is neither."""
        content_type = request.headers.get("content-type", "")
        if content_type.partition(";")[0].strip().lower() != "text/plain" and not is_json(content_type):
            check_json(request)


async def decide_publicly(body: PublicDecisionRequest, state: State, caller: Caller) -> Response:
    """Ask for the best offers for who looks at a page or an app, now.

    Needs a publishable key, as `?key=KEY` or in a header, from one of its origins and for one of its placements. The
    body may be sent as `text/plain`. Asked more often than the key allows, it answers 429.
    """
    asker = _asker(body, caller)
    if body.placement not in caller.key.placements:
        raise Problem(403, f"this key is not for the placement {body.placement!r}", "placement")
    if asker.placements is not None and body.placement not in asker.placements:
        raise Problem(403, f"this token is not for the placement {body.placement!r}", "placement")
    if body.context:
        check_context(body.context, state.settings.context_bytes)
        catalogue = state.current_catalogue()
        if catalogue.told_reasons:
            check_reasons(body.context, catalogue.told_reasons, catalogue.reasons)
    answer = await state.decisions.decide(
        DecisionInputs(
            customer_id=asker.customer_id,
            placement=body.placement,
            context=body.context,
            limit=body.limit,
            decision_id=body.decision_id,
            public=True,
        )
    )
    for reason in (*answer["degraded"], *state.degraded()):
        DEGRADED.labels(reason).inc()
    lean = _lean(answer)
    if body.limit is not None:
        placement = state.current_catalogue().placements.get(body.placement)
        if warnings := limit_warnings(body.limit, placement):
            lean["warnings"] = [asdict(warning) for warning in warnings]
    return Response(to_json(lean), media_type="application/json")


def _lean(answer: dict[str, Any]) -> dict[str, Any]:
    """Leave out what only the shop may know: scores, propensities, probabilities, policies, scripts."""
    offers = [
        {
            "offer_id": offer["offer_id"],
            "rank": offer["rank"],
            "treatment": offer["treatment"]
            and {name: value for name, value in offer["treatment"].items() if name != "script"},
        }
        for offer in answer["offers"]
    ]
    return {
        "decision_id": answer["decision_id"],
        "placement": answer["placement"],
        "offers": offers,
        "nothing_right_now": answer["nothing_right_now"],
        "degraded": bool(answer["degraded"]),
        "feedback_until": answer["feedback_until"],
    }


async def tell_publicly(body: PublicFeedback, state: State, caller: Caller) -> Response:
    """Tell outcomes of the visitor's own decisions. May be sent again as often as needed: each counts once.

    Needs a publishable key. Decisions of others, and of placements that the key is not for, are not found (404, in the
    item). At most 50 outcomes at once; who told too many is answered 429. What an acceptance is worth is told by the
    shop's back end alone.
    """
    asker = _asker(body, caller)
    caller.count_outcomes(asker.customer_id, len(body.items))
    placements = caller.key.placements
    if asker.placements is not None:
        placements &= asker.placements
    names = frozenset(await state.decision_log.names_of(asker.customer_id))
    own = OwnFeedback(state.feedback.batch(), state, names, placements)
    answer = await answer_batch(own, body.outcomes(), state)
    return Response(to_json(answer | {"degraded": None}), media_type="application/json")


def _asker(body: _Asker, caller: PublicCaller) -> Bearer:
    """Find out who asks, and count the request. Raises ``Problem`` (401, 429)."""
    if body.customer_token is None:
        asker = Bearer(f"{VISITOR_PREFIX}{body.visitor_id}", None)
    elif (verifier := caller.key.verifier) is None:
        raise Problem(401, "this key takes no tokens: make one with --tokens, or send 'visitor_id'")
    else:
        try:
            asker = caller.key.verify(verifier, body.customer_token, clock.to_datetime(clock.now_ms()))
        except InvalidToken as error:
            raise Problem(401, f"the token {error}", "customer_token") from None
    caller.count(asker.customer_id)
    return asker


@dataclass(frozen=True, slots=True)
class OwnFeedback:
    """Records outcomes of the decisions of one customer at some placements; all others are not found.

    ``names``: the customer's id, or that of a visitor and of whom the visitor is by now.
    """

    service: FeedbackService
    state: ApiState
    names: frozenset[str]
    placements: frozenset[str]
    found: dict[str, Decision | None] = field(default_factory=dict)
    looking: dict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """By the id of a decision: items of a batch are looked up side by side, and those of one decision once."""

    async def record_all(self, told: Sequence[Feedback]) -> list[Recorded | Refusal]:
        """Record outcomes as ``FeedbackService.record_all`` does."""
        refusals = await asyncio.gather(*map(self._refusal, told))
        own = [one for one, refusal in zip(told, refusals, strict=True) if refusal is None]
        recorded = iter(await self.service.record_all(own))
        return [next(recorded) if refusal is None else refusal for refusal in refusals]

    async def _refusal(self, feedback: Feedback) -> Refusal | None:
        """Return why an outcome must not be recorded."""
        if feedback.value is not None:
            return Invalid("value", "is not taken from pages and apps: send it from your back end, if at all")
        if feedback.reason is not None:
            return Invalid(
                "reason", "is not taken from pages and apps: send it from your back end, if at all"
            )
        if feedback.outcome not in BUILT_IN:
            told = ", ".join(BUILT_IN)
            return Invalid("outcome", f"pages and apps tell {told}: send others from your back end")
        try:
            decision = await self._decision(feedback.decision_id)
        except Unavailable as error:
            return error
        # The same answer for what there is not and for what is another's: nobody can find out which.
        if (
            decision is None
            or decision.customer_id not in self.names
            or decision.placement not in self.placements
        ):
            return NotFound("decision", feedback.decision_id)
        return None

    async def _decision(self, decision_id: str) -> Decision | None:
        bucket = bucket_of_generated(decision_id)
        if bucket is not None and bucket not in map(self.state.keys.bucket, self.names):
            return None  # another's, whether there is one or not
        async with self.looking[decision_id]:
            if decision_id not in self.found:
                self.found[decision_id] = await decision_of(
                    decision_id, self.state.decision_log, self.service.archive
                )
        return self.found[decision_id]


router.add_api_route(
    "/decisions",
    decide_publicly,
    methods=["POST"],
    response_model=PublicDecisionAnswer,
    responses=problems(404, 409, 429, body=True),
    route_class_override=PublicRoute,
)
router.add_api_route(
    "/feedback",
    tell_publicly,
    methods=["POST"],
    response_model=FeedbackBatchAnswer,
    responses=problems(429, body=True),
    route_class_override=PublicRoute,
)
