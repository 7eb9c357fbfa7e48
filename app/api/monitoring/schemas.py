"""Findings on drift and canaries, as they travel."""

from datetime import datetime

from pydantic import BaseModel, Field

from app.api.schemas import Id, Parameters, shown


class DriftQuery(Parameters):
    """The decisions to report on."""

    placement: Id | None = None
    offer: Id | None = Field(None, description="the offer's id")
    limit: int = Field(100, ge=1, le=1000, description="so many detections at most, the newest")


class DriftWindow(BaseModel):
    """The acceptance of an offer since its last change."""

    placement: str
    offer_id: str
    observations: int
    rate: float | None = Field(
        description="accepted / observations; null if there are none since the last change"
    )
    low: float = Field(description="lower end of the Wilson 95 % interval")
    high: float = Field(description="upper end of the Wilson 95 % interval")
    since: datetime = Field(description="the first decision that counts")
    until: datetime = Field(
        description="the last decision that counts: later ones are open, for one of them has neither been answered nor"
        " reached the horizon"
    )


class DriftDetection(BaseModel):
    """A change of acceptance: seen at ``detected_at``, estimated to have happened at ``since``."""

    placement: str
    offer_id: str
    detected_at: datetime
    since: datetime
    rate_before: float
    rate_after: float
    observations_before: int
    observations_after: int


class DriftReport(BaseModel):
    """Acceptance now, and its changes, the newest first."""

    model_config = shown(
        {
            "windows": [
                {
                    "placement": "web",
                    "offer_id": "gold",
                    "observations": 512,
                    "rate": 0.125,
                    "low": 0.0991,
                    "high": 0.1564,
                    "since": "2026-05-02T08:00:00Z",
                    "until": "2026-05-02T12:00:00Z",
                }
            ],
            "detections": [
                {
                    "placement": "web",
                    "offer_id": "gold",
                    "detected_at": "2026-05-02T08:00:00Z",
                    "since": "2026-05-02T07:41:00Z",
                    "rate_before": 0.31,
                    "rate_after": 0.12,
                    "observations_before": 4200,
                    "observations_after": 330,
                }
            ],
        }
    )

    windows: list[DriftWindow]
    detections: list[DriftDetection]


class CanaryQuery(Parameters):
    """The decisions to report on."""

    placement: Id | None = None
    limit: int = Field(50, ge=1, le=1000, description="so many stages at most, the newest")


class CanarySide(BaseModel):
    """The counts of one side: customers, each by the first decision for them, and decisions."""

    policy: str
    version: int
    observations: int = Field(description="customers whose result is known")
    acceptances: int = Field(description="customers who accepted at least one offer")
    rate: float | None
    low: float = Field(description="lower end of the always-valid interval")
    high: float = Field(description="upper end of the always-valid interval")
    decisions: int
    failures: int = Field(description="decisions that it could not make")
    slow: int = Field(
        description="decisions that took it too long again, or that it was too slow to be asked for"
    )


class CanaryStage(BaseModel):
    """A canary with one share, compared with its champion."""

    test_id: int = Field(
        description="the number of the stage's test; `/v1/reports/canaries/{test_id}/course`"
    )
    placement: str
    share: float
    started_at: datetime
    looked_at: datetime
    counted_until: datetime = Field(
        description="results are counted up to the decision of this time, in order: later ones are open, for one of"
        " them has neither been answered nor reached the horizon"
    )
    open: int | None = Field(
        description="decisions of both sides behind that, which are not counted yet; null if the stage has ended"
    )
    ended_at: datetime | None
    cause: str | None = Field(description="why it ended: worse, failures, slow (rolled back), or changed")
    reason: str | None = Field(description="why it ended, in words")
    canary: CanarySide
    champion: CanarySide
    difference_low: float = Field(description="lower end of the always-valid interval of the difference")
    difference_high: float = Field(description="upper end of the always-valid interval of the difference")
    e_value: float = Field(description="evidence that the canary is worse; stages before included")
    needed: float = Field(description="the e-value at which it is rolled back: 1 / alpha")


class CanaryReport(BaseModel):
    """Stages of canaries, the newest first."""

    stages: list[CanaryStage]


class CoursePointOut(BaseModel):
    """The test as it stood at a time: customers counted since the stage began, and what follows of them."""

    at: datetime = Field(description="customers count by the time of the decision that counts")
    canary_observations: int
    canary_acceptances: int
    champion_observations: int
    champion_acceptances: int
    difference: float | None = Field(
        description="rate of the canary less the champion's; null while one has none"
    )
    difference_low: float = Field(description="lower end of the always-valid interval of the difference")
    difference_high: float = Field(description="upper end of the always-valid interval of the difference")
    worse_log_e: float = Field(
        description="evidence that the canary is worse, stages before included: the natural logarithm of the e-value"
    )
    better_log_e: float = Field(
        description="evidence that the canary is better, of this stage alone, likewise"
    )


class CanaryCourse(BaseModel):
    """The course of a canary's test over time, with the bounds at which something happens."""

    model_config = shown(
        {
            "test_id": 7,
            "placement": "home",
            "policy": "spring@2",
            "champion": "calibrated@1",
            "started_at": "2026-03-08T09:00:00Z",
            "ended_at": None,
            "cause": None,
            "needed_log_e": 4.6052,
            "carried_log_e": 0.0,
            "margin": 0.0,
            "promotes": False,
            "missing": 0,
            "points": [
                {
                    "at": "2026-03-08T10:00:00Z",
                    "canary_observations": 100,
                    "canary_acceptances": 12,
                    "champion_observations": 900,
                    "champion_acceptances": 90,
                    "difference": 0.02,
                    "difference_low": -0.11,
                    "difference_high": 0.19,
                    "worse_log_e": -3.1,
                    "better_log_e": -2.4,
                }
            ],
        }
    )

    test_id: int
    placement: str
    policy: str = Field(description="the canary, as name@version")
    champion: str = Field(description="what it is compared with, as name@version")
    started_at: datetime
    ended_at: datetime | None
    cause: str | None = Field(description="why it ended: worse, failures, slow (rolled back), or changed")
    needed_log_e: float = Field(
        description="the evidence that is enough, in both directions: -log(alpha) of the guardrails as they are now"
    )
    carried_log_e: float = Field(description="evidence of stages before, which `worse_log_e` begins with")
    margin: float = Field(
        description="the canary is rolled back for being worse once the evidence is enough that it is by more than this"
    )
    promotes: bool = Field(
        description="whether the autopilot makes it the champion once the evidence is enough that it is better, and its"
        " least time is over; else people do"
    )
    missing: int = Field(
        description="customers who were counted, and whom the points before the last do not have: the log does not tell"
        " of them any more, or they came after the first 50,000 decisions of the stage"
    )
    points: list[CoursePointOut] = Field(
        description="in order of time, at most 33; the last one is what the test itself has counted"
    )
