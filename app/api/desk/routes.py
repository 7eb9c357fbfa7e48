"""The vocabulary that a desk of agents can ask with."""

from fastapi import APIRouter

from app.api.deps import State, Teller, problems
from app.api.desk.schemas import DeskOut, DeskPlacement, DeskQuestion, DeskReason

router = APIRouter(prefix="/v1", tags=["decisions"])

CONTEXT = "context."


@router.get("/desk", responses=problems())
async def read_desk(state: State, key: Teller) -> DeskOut:
    """Tell what a desk can ask with: the placements, the declared attributes of the context, and the declared reasons.

    Nothing of offers, rules, customers or what reasons suppress is in it.
    """
    catalogue = state.current_catalogue()
    placements = [
        DeskPlacement(
            placement_id=placement.placement_id,
            channel=placement.channel,
            presentation=placement.presentation,
            slots=placement.slots,
        )
        for _, placement in sorted(catalogue.placements.items())
    ]
    questions = [
        DeskQuestion(
            name=path.removeprefix(CONTEXT), type=a.type, description=a.description, values=list(a.values)
        )
        for path, a in sorted(catalogue.checker.vocabulary.attributes.items())
        if path.startswith(CONTEXT) and path in catalogue.attributes
    ]
    reasons = [DeskReason(reason_id=name, name=one.name) for name, one in sorted(catalogue.reasons.items())]
    return DeskOut(placements=placements, questions=questions, reasons=reasons)
