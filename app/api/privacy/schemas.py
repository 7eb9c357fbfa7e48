"""Privacy, as it travels."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field

from app.api.cursors import DecisionCursor
from app.api.schemas import Body, CustomerId, Parameters, ReasonQuery, examples, shown, storable
from app.api.suppressions.schemas import ScopeOut
from decisioning.privacy.export_service import MAX_DECISIONS

_FOLDER = {
    "host": "reports-1",
    "folder": "/srv/export",
    "kind": "decisions",
    "author": "ann (command line)",
    "written_at": "2026-03-08T02:00:00Z",
}


class PersonQuery(Parameters):
    """A page of what is held on a person."""

    limit: int = Field(MAX_DECISIONS, ge=1, le=MAX_DECISIONS, description="decisions on a page")
    before: DecisionCursor | None = Field(
        None, description="`next` of the page before; all but older decisions is on the first page"
    )


class HeldAlias(BaseModel):
    """A visitor who turned out to be the customer."""

    visitor_id: str
    merged_at: datetime


class HeldSuppression(BaseModel):
    """An entry in a suppression list."""

    list_id: str
    reason: str
    until: datetime | None
    added_at: datetime
    scope: ScopeOut | None = Field(None, description="the offers that it is about, if not all")
    reason_id: str | None = None


class HeldContact(BaseModel):
    """A contact that limits may count."""

    offer_id: str | None
    group: str
    goal: str
    kind: str = Field(
        description="d decided, p presented, c clicked, a accepted, r rejected; capital if not counted"
    )
    channel: str
    at: datetime


class HeldCandidate(BaseModel):
    """An offer that a decision chose from, with the propensity that was known."""

    offer_id: str | None
    base_propensity: float | None


class HeldDecision(BaseModel):
    """A decision with all that is kept of it."""

    decision_id: str
    decided_at: datetime
    record: dict[str, Any] = Field(description="as it was logged")
    candidates: list[HeldCandidate]
    outcomes: list[dict[str, Any]]


class PersonOut(BaseModel):
    """Everything that is held on a person. On later pages only older decisions are there."""

    model_config = shown(
        {
            "customer_id": "1025",
            "record": {
                "attributes": {"age": 41},
                "indicators": {"recency_days": 4},
                "holdings": ["loyalty-card"],
                "interests": {"coffee": 0.8},
                "consents": {"marketing": ["web", "!sms"]},
                "updated_at": "2026-03-01T00:00:00Z",
            },
            "propensities": {"scores": {"gold": 0.12}, "updated_at": "2026-03-01T00:00:00Z"},
            "consent_records": [],
            "aliases": [],
            "suppressions": [],
            "registers": [],
            "notes": [],
            "lifted_signals": [],
            "contacts": [],
            "events": [],
            "told_by_events": None,
            "canary_tests": [],
            "trigger_firings": [],
            "counted_firings": [],
            "trigger_waits": [],
            "not_archived": [],
            "set_aside": [],
            "decisions": [],
            "next": None,
        }
    )

    customer_id: str
    record: dict[str, Any] | None = Field(
        None, description="the record as it is stored; null if there is none"
    )
    propensities: dict[str, Any] | None = Field(None, description="precomputed ones, by offer")
    consent_records: list[dict[str, Any]] = Field(
        default=[], description="consents and objections with source, time and proof, the newest first"
    )
    aliases: list[HeldAlias] = Field(
        default=[], description="visitors whose events and decisions are the customer's"
    )
    suppressions: list[HeldSuppression] = Field(
        default=[], description="entries in suppression lists, ended ones too"
    )
    registers: list[HeldSuppression] = Field(
        default=[], description="registers that the customer is found in"
    )
    notes: list[dict[str, Any]] = Field(default=[], description="notes of agents, the newest first")
    lifted_signals: list[dict[str, Any]] = Field(
        default=[], description="signals that somebody lifted before they ended"
    )
    contacts: list[HeldContact] = Field(default=[], description="contacts in Redis, for limits")
    events: list[dict[str, Any]] = Field(default=[], description="all archived events, the newest first")
    told_by_events: dict[str, Any] | None = Field(
        None, description="sums and last values of events, in Redis"
    )
    canary_tests: list[dict[str, Any]] = Field(
        default=[], description="comparisons in which the customer counts"
    )
    trigger_firings: list[dict[str, Any]] = Field(
        default=[], description="triggers that fired for the customer, the newest first"
    )
    counted_firings: list[dict[str, Any]] = Field(
        default=[], description="firings that reports on hold-outs count, the newest first"
    )
    trigger_waits: list[dict[str, Any]] = Field(
        default=[], description="triggers that fire at `due_at` unless something prevents it"
    )
    not_archived: list[dict[str, Any]] = Field(
        default=[], description="entries of the log that are not archived yet"
    )
    set_aside: list[dict[str, Any]] = Field(
        default=[],
        description="entries of the log that could not be archived, and events that could not be recorded",
    )
    decisions: list[HeldDecision] = Field(description="archived decisions, the newest first")
    next: str | None = Field(description="`before` of the next page; null if this is the last")


class ExportFolder(BaseModel):
    """A folder that a kind of export was written to on the command line: `folder/kind` on `host`."""

    model_config = shown(_FOLDER)

    host: str
    folder: str
    kind: str
    author: str = Field(description="who wrote to it last")
    written_at: datetime


class ExportFolders(BaseModel):
    """All folders that exports with persons were written to on the command line."""

    model_config = shown({"folders": [_FOLDER]})

    folders: list[ExportFolder]


class FolderQuery(ReasonQuery):
    """A folder that has been deleted, and why it is forgotten."""

    host: Annotated[str, AfterValidator(storable)] = Field(max_length=255)
    folder: Annotated[str, AfterValidator(storable)] = Field(max_length=4096, description="its path")
    kind: Annotated[str, AfterValidator(storable)] | None = Field(
        None, max_length=64, description="this kind alone; all that were written there if left out"
    )


class ErasureBody(Body):
    """An erasure. The reason is for the trail, so it must not have any of the person's data."""

    model_config = examples({"reason": "request 4711"}, {"reason": "a test customer", "keep_out": False})

    reason: Annotated[str, AfterValidator(storable)] = Field("", max_length=500)
    keep_out: bool = Field(
        True,
        description="nothing is stored of this id any more, and it counts as suppressed, until it is let in again",
    )


class ErasureOut(BaseModel):
    """The result of an erasure: how much there was, by where it was held. Repeated, there is nothing left."""

    model_config = shown(
        {
            "customers": 1,
            "consent_records": 2,
            "propensities": 1,
            "suppressions": 0,
            "customer_notes": 1,
            "lifted_signals": 0,
            "aliases": 1,
            "decisions": 12,
            "events": 3,
            "stream_entries": 2,
            "waiting_decisions": 3,
            "set_aside": 0,
            "canary_tests": 0,
            "trigger_firings": 0,
            "trigger_waits": 0,
            "inexact": 0,
            "exports": ["ex-6f1d0c9b7e2f4f0a"],
            "export_folders": [_FOLDER],
        }
    )

    customers: int = Field(description="records that were deleted")
    consent_records: int = Field(description="records of consents and objections that were deleted")
    propensities: int = Field(description="rows of propensities that were deleted")
    suppressions: int = Field(description="entries in suppression lists that were deleted")
    customer_notes: int = Field(description="notes of agents that were deleted")
    lifted_signals: int = Field(
        description="signals that had been lifted, of which nothing is known any more"
    )
    aliases: int = Field(description="visitors who are nobody's alias any more, and whose log was erased too")
    decisions: int = Field(description="archived decisions that have a pseudonym now")
    events: int = Field(description="archived events that were deleted")
    stream_entries: int = Field(
        description="entries of the log in Redis that have, or of events, that are empty"
    )
    waiting_decisions: int = Field(description="decisions that wait for outcomes that have")
    set_aside: int = Field(description="entries that could not be archived and were deleted")
    canary_tests: int = Field(description="running comparisons in which the pseudonym counts now")
    trigger_firings: int = Field(description="firings of triggers that were deleted")
    trigger_waits: int = Field(description="waits of triggers that were deleted")
    inexact: int = Field(description="decisions whose facts some policy may read in another way since")
    exports: list[str] = Field(
        description="exports that had the customer in them, or were just written: removed"
    )
    export_folders: list[ExportFolder] = Field(
        description="folders of exports on the command line that have the customer in them, or cannot be looked at from"
        " here: write them anew (`nextbest export KIND --out FOLDER --again`), or delete them"
    )


class TrailQuery(Parameters):
    """A page of the trail."""

    customer_id: CustomerId | None = Field(None, description="only what was done with this customer's data")
    limit: int = Field(100, ge=1, le=1000)
    before: int | None = Field(None, ge=1, le=2**63 - 1, description="`next` of the page before")


class TrailEntry(BaseModel):
    """An action on the data of persons; it does not say whose: ask with a `customer_id`."""

    action_id: int
    action: str = Field(
        description="recorded, rectified, imported, exported, erased, readmitted, lifted, suppressed, unsuppressed,"
        " register_stored, register_deleted, folder_forgotten, rotated, retention, or, of what was set aside,"
        " retried or dropped"
    )
    author: str
    reason: str
    details: dict[str, Any] = Field(description="how much of what")
    done_at: datetime


class TrailOut(BaseModel):
    """A page of the trail, the newest first."""

    model_config = shown(
        {
            "actions": [
                {
                    "action_id": 7,
                    "action": "exported",
                    "author": "desk",
                    "reason": "",
                    "details": {"decisions": 12, "first_page": True},
                    "done_at": "2026-03-08T09:00:00Z",
                }
            ],
            "next": None,
        }
    )

    actions: list[TrailEntry]
    next: int | None = Field(description="`before` of the next page; null if this is the last")


class RetentionEntry(BaseModel):
    """A removal of what was older than it may be."""

    what: str = Field(
        description="log, events, events of a type, own ids of decisions, dead_letters, suppressions or notes"
    )
    removed: str = Field(description="a month, or so many rows")
    before: datetime = Field(description="all that is removed is of before then")
    done_at: datetime


class RetentionBody(Body):
    """A run of retention. The reason is for the trail."""

    model_config = examples({"dry_run": True}, {"dry_run": False, "reason": "before the audit"})

    dry_run: bool = Field(True, description="nothing is removed; the answer says what would be")
    reason: Annotated[str, AfterValidator(storable)] = Field("", max_length=500)


class RetentionItem(BaseModel):
    """Something that was older than it may be."""

    what: str
    removed: str = Field(description="a month, or so many rows")
    before: datetime = Field(description="all of it is of before then")


class RetentionRun(BaseModel):
    """The result of a run of retention: what was removed, or would be."""

    model_config = shown(
        {
            "dry_run": True,
            "days": {"log": 730},
            "removed": [{"what": "log", "removed": "the month 2024-02", "before": "2024-03-01T00:00:00Z"}],
        }
    )

    dry_run: bool
    days: dict[str, int] = Field(description="limits by table (`NEXTBEST_RETENTION` of this process)")
    removed: list[RetentionItem]


class RetentionOut(BaseModel):
    """The latest removals."""

    model_config = shown(
        {
            "removed": [
                {
                    "what": "log",
                    "removed": "the month 2024-02",
                    "before": "2024-03-01T00:00:00Z",
                    "done_at": "2026-03-02T09:00:00Z",
                }
            ]
        }
    )

    removed: list[RetentionEntry]
