"""Schemas of offers."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from app.api.catalogue.field_types import Seconds
from app.api.catalogue.kind_schemas import ContactKind, DemandsBody, Percent, Whole
from app.api.catalogue.schemas import CatalogueDemands, CatalogueTreatment
from app.api.schemas import (
    Body,
    Cel,
    DatedBody,
    Echo,
    EchoedId,
    EchoedWarnings,
    Id,
    Name,
    Number,
    PlainName,
    WarningOut,
    Worth,
    answer_of,
    examples,
    shown,
    shown_times,
)
from decisioning.model.entities import Offer, Status, effective_status

_OFFER = {
    "name": "Spring coupons",
    "group": "type-a",
    "value": 4.2,
    "starts_at": "2026-03-01T00:00:00Z",
    "ends_at": "2026-04-01T00:00:00Z",
    "requires_consent": "marketing",
    "contact_limits": [{"max": 3, "window_s": 604_800}],
}
_STEERED = {
    "name": "A call about your contract",
    "group": "type-a",
    "value": 30,
    "value_expression": "customer.known ? 45.0 : 30.0",
    "lever": 25,
    "legal_basis": "legitimate_interest",
    "requires_consent": "marketing",
    "team": "callback",
    "attributes": {"line": "mobile", "months": 24},
    "rules": [
        {"name": "known", "tier": "eligibility", "when": "customer.known"},
        {"name": "not one already", "tier": "applicability", "when": "!('mobile' in customer.holdings)"},
    ],
    "min_propensity": 0.01,
    "not_after": [{"within_s": 2_592_000, "group": "type-a", "outcomes": ["accepted"]}],
    "after_rejection": [{"for_s": 7_776_000, "scope": "attribute", "attribute": "line"}],
}

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class NotAfterBody(Body):
    """Not within ``within_s`` seconds after contacts of ``outcomes`` with an offer, or a group."""

    within_s: Seconds
    offer: Id | None = None
    group: Id | None = None
    outcomes: list[ContactKind] = Field(["accepted"], min_length=1, max_length=5)


class AfterRejectionBody(Body):
    """After a rejection: for ``for_s`` seconds neither the offer, nor its group, nor what shares an attribute."""

    for_s: Seconds
    scope: Literal["offer", "group", "attribute"] = "offer"
    attribute: PlainName | None = Field(None, description="the name, with the scope `attribute`")


class OfferBody(DatedBody, DemandsBody):
    """Something that can be proposed.

    What an answer shows beyond that may be sent back: the number and the effective status are left as they are;
    treatments, which have requests of their own, and what is inherited must be as they are in force.
    """

    model_config = examples(_OFFER, _STEERED)

    name: Name
    group: Id
    value: Worth = Field(1.0, description="what an acceptance is worth to the company")
    value_expression: Cel | None = Field(
        None, description="computes the value (CEL, a number); `value` holds where it cannot be computed"
    )
    status: Status = Field(
        "live",
        description="draft: being written; scheduled: from `starts_at` on; paused: not now; ended: for ever",
    )
    lever: Percent = Field(
        0.0, description="percent more (or less) in the score, added to those of group and goal"
    )
    mandatory: bool = Field(False, description="comes first, without arbitration; never without consent")
    transactional: bool = Field(False, description="neither counts in contact limits nor is stopped by them")
    team: Id | None = Field(None, description="who handles acceptances; capacities can name it")
    attributes: dict[PlainName, bool | Whole | Number | Name] = Field(
        default_factory=dict, max_length=100, description="what rules know as `offer.<name>`, once declared"
    )
    min_propensity: Share = 0.0
    not_with: list[Id] = Field(
        default_factory=list, max_length=100, description="offers that must not be in the same answer"
    )
    not_after: list[NotAfterBody] = Field(default_factory=list, max_length=50)
    after_rejection: list[AfterRejectionBody] = Field(default_factory=list, max_length=10)
    offer_id: EchoedId = None
    number: Annotated[int | None, Echo()] = None
    effective_status: Annotated[Status | None, Echo()] = None
    treatments: Annotated[list[dict[str, Any]] | None, Echo()] = None
    inherited: Annotated[list[dict[str, Any]] | None, Echo()] = None
    warnings: EchoedWarnings = None


class InheritedDemands(CatalogueDemands):
    """The demands of an offer's group or goal on it."""

    source: str = Field(description="`group <id>` or `goal <name>`")


class CatalogueNotAfter(BaseModel):
    """An exclusion, as it is in force."""

    within_s: int
    offer: str | None
    group: str | None
    outcomes: list[ContactKind]


class CatalogueAfterRejection(BaseModel):
    """The offers that a rejection suppresses, as it is in force."""

    for_s: int
    scope: Literal["offer", "group", "attribute"]
    attribute: str | None


class CatalogueOffer(CatalogueDemands):
    """An offer, as it is in force, with its treatments. ``number`` stands for it in the log.

    ``status`` is what was stored; ``effective_status`` looks at the clock too: ``scheduled`` while the start lies
    ahead, ``ended`` once the end has passed.
    """

    model_config = shown(
        {"offer_id": "spring", "number": 1, "status": "live", "effective_status": "ended"}
        | _OFFER
        | {"treatments": []}
    )

    offer_id: str
    number: int
    name: str
    group: str
    value: float
    value_expression: str | None = None
    status: Status
    effective_status: Status
    starts_at: datetime | None
    ends_at: datetime | None
    lever: float = 0.0
    mandatory: bool = False
    transactional: bool = False
    team: str | None = None
    attributes: dict[str, bool | int | float | str] = Field(default_factory=dict)
    min_propensity: float = 0.0
    not_with: list[str] = Field(default_factory=list)
    not_after: list[CatalogueNotAfter] = Field(default_factory=list)
    after_rejection: list[CatalogueAfterRejection] = Field(default_factory=list)
    treatments: list[CatalogueTreatment]
    inherited: list[InheritedDemands] = Field([], description="what its group and goal demand besides")

    @classmethod
    def of(cls, offer: Offer, now_ms: int) -> "CatalogueOffer":
        """An offer of the catalogue at ``now_ms``, with times in place of milliseconds."""
        status = {"effective_status": effective_status(offer, now_ms)}
        return answer_of(cls, offer, **status, **shown_times(offer.starts_ms, offer.ends_ms))


class BriefOffer(BaseModel):
    """An offer as lists of many show it; the statuses are those of `CatalogueOffer`."""

    offer_id: str
    name: str
    group: str
    value: float
    lever: float
    status: Status
    effective_status: Status

    @classmethod
    def of(cls, offer: Offer, now_ms: int) -> "BriefOffer":
        """An offer of the catalogue at ``now_ms``."""
        return answer_of(cls, offer, effective_status=effective_status(offer, now_ms))


class PatchedOffer(CatalogueOffer):
    """An offer, as a patch made it, and warnings about that."""

    warnings: list[WarningOut] = Field([], description="what was probably not meant")


class OfferPublished(BaseModel):
    """The version of the catalogue in which the offer is in force."""

    model_config = shown(
        {
            "offer_id": "gold",
            "catalog_version": 2,
            "warnings": [
                {
                    "field": "offers.gold.contact_limits.0.window_s",
                    "message": "is 7 seconds, which is over before anybody notices",
                    "way_out": "7 days would be 604800, 7 hours 25200",
                }
            ],
        }
    )

    offer_id: str
    catalog_version: int
    warnings: list[WarningOut] = []
