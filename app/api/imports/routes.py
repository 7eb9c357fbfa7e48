"""Bulk imports: a file as the body."""

import tempfile
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request

from app.api.deps import Ops, State, problems
from app.api.imports.schemas import ImportAnswer
from app.api.schemas import answer_of
from app.errors import Problem
from app.imports import Kind, import_file
from profiles.errors import ImportFileError
from profiles.importing.source import format_of_content_type

router = APIRouter(prefix="/v1/imports", tags=["imports"])

_FILE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "text/csv": {
                "schema": {"type": "string"},
                "example": "customer_id,offer_id,propensity\n1025,campaign-18,0.07\n",
            },
            "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.post("/{kind}", responses=problems(body=True), openapi_extra=_FILE)
async def import_rows(kind: Kind, request: Request, state: State, key: Ops) -> ImportAnswer:
    """Load customers, consents, propensities, suppressions, registers, or history (of others), CSV or Parquet.

    Rows that cannot be loaded are reported one by one; all others are loaded. Sending a file twice does no harm.
    """
    try:
        file_format = format_of_content_type(request.headers.get("content-type", ""))
    except ImportFileError as error:
        raise Problem(415, str(error), "Content-Type") from None
    # To disk first: files may be larger than what should be in memory, and Parquet is read from its end.
    with tempfile.TemporaryDirectory(prefix="nextbest-") as folder:
        path = Path(folder) / f"upload.{file_format}"
        with path.open("wb") as file:
            async for chunk in request.stream():
                file.write(chunk)
        report, new = await import_file(state, kind, path, file_format, author=key.name)
    return answer_of(ImportAnswer, report, new=new)
