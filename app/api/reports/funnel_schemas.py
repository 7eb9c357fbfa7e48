"""The funnel of an offer, as it travels."""

from datetime import datetime

from pydantic import BaseModel, Field

from app.api.schemas import Id, Parameters, shown
from decisioning.model.stop import StageName


class FunnelQuery(Parameters):
    """The decisions to look at."""

    placement: Id | None = Field(
        None,
        description="those of this placement alone; else of all whose channel the offer has a treatment for",
    )
    sample: int = Field(500, ge=1, le=1000, description="the newest decisions that are looked at, at most")


class FunnelStage(BaseModel):
    """The decisions in which the offer was stopped at a stage, the first that did so."""

    stage: StageName
    decisions: int


class FunnelRule(BaseModel):
    """The decisions in which a rule, a limit or another offer was the first thing that stopped the offer."""

    stage: StageName
    name: str = Field(description="of `arbitration`: the offer that was put first instead")
    inherited_from: str | None = Field(
        description="the group or goal whose rule it is, such as `group cards`; null for others"
    )
    decisions: int
    only: int = Field(description="those in which nothing else stopped it")


class OfferFunnelAnswer(BaseModel):
    """The steps that an offer took in the newest decisions, and what stopped it."""

    model_config = shown(
        {
            "offer_id": "gold",
            "placements": ["home"],
            "sampled": 500,
            "more": True,
            "since": "2026-03-29T09:12:00Z",
            "until": "2026-03-29T10:00:00Z",
            "unexplained": 0,
            "in_play": 500,
            "candidates": 180,
            "shown": 60,
            "presented": 55,
            "accepted": 4,
            "as_default": 0,
            "stages": [
                {"stage": "eligibility", "decisions": 320},
                {"stage": "arbitration", "decisions": 120},
            ],
            "rules": [
                {
                    "stage": "eligibility",
                    "name": "can afford it",
                    "inherited_from": "group cards",
                    "decisions": 320,
                    "only": 300,
                },
                {
                    "stage": "arbitration",
                    "name": "silver",
                    "inherited_from": None,
                    "decisions": 120,
                    "only": 120,
                },
            ],
            "more_rules": 0,
        }
    )

    offer_id: str
    placements: list[str] = Field(description="whose decisions were looked at")
    sampled: int = Field(description="decisions that were looked at, the newest of the last 24 hours")
    more: bool = Field(description="there may be more in the last 24 hours than were looked at")
    since: datetime | None = Field(description="of the oldest decision that was looked at")
    until: datetime | None = Field(description="of the newest one")
    unexplained: int = Field(description="of `sampled`: the customer was erased since, so nobody can tell")
    in_play: int = Field(description="the offer was live then, with a treatment for the channel")
    candidates: int = Field(description="it passed all stages, and the policy could choose it")
    shown: int = Field(description="it was chosen")
    presented: int = Field(
        description="of `shown`: somebody said that it was seen, or answered; in placements without confirmation all"
    )
    accepted: int = Field(description="of `shown`, so far; without late ones")
    as_default: int = Field(description="it was answered as a default offer; not among `shown`")
    stages: list[FunnelStage] = Field(
        description="the first stage that stopped it, in the order of the stages; of `sampled`"
    )
    rules: list[FunnelRule] = Field(description="the one that stops most first")
    more_rules: int = Field(description="rules that are not listed")
