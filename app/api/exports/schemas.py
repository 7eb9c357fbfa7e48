"""Exports, as they travel."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field

from app.api.schemas import Body, examples, shown
from app.api.values import day_name, form, part_name
from decisioning.exporting.schema import ExportFormat, ExportKind


def _as_day(value: object) -> object:
    """Refuse numbers, which would be taken for seconds since 1970."""
    is_number = isinstance(value, str) and value.strip().lstrip("+-").replace(".", "").isdigit()
    if is_number or (value is not None and not isinstance(value, (str, date))):
        raise ValueError("must be a day such as 2026-01-31")
    return value


Day = Annotated[date, Field(strict=False), BeforeValidator(_as_day)]
DayName = Annotated[str, form(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", day_name)]
PartName = Annotated[str, form(r"^part-[0-9]{4,8}\.(parquet|dsjson)$", part_name)]


class ExportBody(Body):
    """An export: what, and of which days (UTC)."""

    model_config = examples(
        {"kind": "decisions", "since": "2026-01-01", "until": "2026-02-01"},
        {"kind": "decisions", "format": "dsjson"},
        {"kind": "arms"},
    )

    kind: ExportKind
    since: Day | None = Field(None, description="the first day; all from the beginning if left out")
    until: Day | None = Field(None, description="the first day that is left out")
    format: ExportFormat = Field("parquet", description="`dsjson`, of Vowpal Wabbit: for decisions only")
    include: list[Literal["sensitive"]] = Field(
        default_factory=list,
        max_length=1,
        description="values that are classified as sensitive, which are left out otherwise; takes an admin",
    )


class ExportFileOut(BaseModel):
    """A file of an export: `GET /v1/exports/{export_id}/files/{day}/{name}`."""

    day: str
    name: str
    rows: int
    bytes: int


class ExportOut(BaseModel):
    """An export: how far it is, and its files when it is done. It is kept for 7 days."""

    model_config = shown(
        {
            "export_id": "ex-6f1d0c9b7e2f4f0a",
            "kind": "decisions",
            "since": "2026-01-31",
            "until": "2026-02-01",
            "format": "parquet",
            "state": "done",
            "asked_at": "2026-03-08T09:00:00Z",
            "asked_by": "ann",
            "seen": 1,
            "total": 1,
            "rows": 40_000,
            "open": 0,
            "files": [{"day": "2026-01-31", "name": "part-0000.parquet", "rows": 40_000, "bytes": 2_400_000}],
            "error": None,
        }
    )

    export_id: str
    kind: ExportKind
    since: date | None
    until: date | None
    format: ExportFormat
    include: list[str] = Field([], description="classes of values that were asked for")
    state: Literal["waiting", "running", "done", "failed"]
    asked_at: datetime
    asked_by: str
    seen: int = Field(description="days that are written")
    total: int = Field(description="days to write; 0 until that is known")
    rows: int | None = Field(description="rows of all files; null until it is done")
    open: int | None = Field(description="decisions whose reward window was open; null until it is done")
    files: list[ExportFileOut]
    error: str | None
