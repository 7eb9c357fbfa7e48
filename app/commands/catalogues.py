"""The catalogues that `nextbest catalog` works on: that of a database, or that of a service over HTTP."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from app.catalog_check import check_entry, refusing
from app.commands.log import with_state
from app.commands.remote import Remote
from app.commands.terminal import author, describe_document, fail, on_database, read_file
from app.config import get_settings
from app.state import ApiState
from decisioning.catalog.checking.store_sent_facts import find_fact_warnings
from decisioning.catalog.checking.warning import CatalogueWarning
from decisioning.catalog.checking.warnings import catalogue_warnings
from decisioning.catalog.diff import Difference, differences
from decisioning.catalog.kind import Entry
from decisioning.catalog.store import CatalogueStore, told_alone
from decisioning.catalog.summary import ChangedThing, Summary, plan_application
from decisioning.catalog.yaml_document import MAX_BYTES, Document, DocumentError, read_document, to_yaml
from storage import clock

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Comparison:
    """The effect of a file on the catalogue at ``version``. ``changes``: the entries, where they are known here."""

    version: int
    differences: list[Difference]
    summary: Summary
    warnings: list[CatalogueWarning]
    changes: list[Entry] | None = None

    @property
    def is_empty(self) -> bool:
        """True if nothing would change."""
        return not self.differences


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the audit trail, as it is printed."""

    version: int
    author: str
    reason: str
    changed_at: datetime
    differences: list[Difference]


class Catalogues(Protocol):
    """The commands on a catalogue, wherever it is. Mistakes are said in lines, with exit status 1."""

    def export(self) -> tuple[int, str]:
        """Return the version and the whole catalogue as a document."""

    def compare(self, file: Path, delete: bool) -> Comparison:
        """Tell what applying a file would change."""

    def apply(self, file: Path, delete: bool, reason: str, compared: Comparison) -> int:
        """Apply a file on top of the version that it was compared with. Returns the new version."""

    def simulate(self, file: Path, delete: bool, placement: str | None, sample: int) -> dict[str, Any]:
        """Run a sample of customers through the catalogue that a file makes, beside the live one."""

    def history(self, limit: int) -> list[Change]:
        """Return the newest entries of the audit trail."""

    def rollback(self, version: int, reason: str) -> tuple[int, list[Difference]]:
        """Make what was in force at a version the newest version; returns its number and what changed."""


class DatabaseCatalogues:
    """The catalogue of this machine's database.

    ``without_approval``: it is changed also where that takes the approval of another person.
    """

    def __init__(self, without_approval: bool = False) -> None:
        self._without_approval = without_approval
        self._documents: dict[Path, Document] = {}

    def export(self) -> tuple[int, str]:
        """Return the version and the whole catalogue as a document."""

        async def work(store: CatalogueStore) -> tuple[int, str]:
            version, entries = await store.entries()
            return version, to_yaml(entries)

        return self._run(work)

    def compare(self, file: Path, delete: bool) -> Comparison:
        """Tell what applying a file would change. The result is checked as a whole."""
        document = self._read(file)

        async def work(engine: AsyncEngine) -> Comparison:
            store = CatalogueStore(engine)
            version, current = await store.entries()
            planned = plan_application(current, document.entries, delete=delete)
            async with refusing(document, store, version, planned):
                catalogue = await store.tried(version, planned.changes)
            warnings = catalogue_warnings(catalogue, clock.now_ms())
            warnings += await find_fact_warnings(engine, catalogue)
            return Comparison(version, planned.differences, planned.summary, warnings, planned.changes)

        return self._run_on_engine(work, file)

    def apply(self, file: Path, delete: bool, reason: str, compared: Comparison) -> int:
        """Apply the changes that were found, if the catalogue is still at that version."""
        changes, why = compared.changes or [], self._reason_alone(reason)

        async def work(store: CatalogueStore) -> int:
            return (await store.apply(changes, author(), why, compared.version)).version

        return self._run(work, file)

    def simulate(self, file: Path, delete: bool, placement: str | None, sample: int) -> dict[str, Any]:
        """Run a sample of customers through the catalogue that a file makes, beside the live one."""
        changes = self.compare(file, delete).changes or []

        async def work(state: ApiState) -> dict[str, Any]:
            await state.refresh()
            return await state.simulations.simulate_changes(
                state.current_catalogue(), placement, changes, {}, sample
            )

        return with_state(work)

    def history(self, limit: int) -> list[Change]:
        """Return the newest entries of the audit trail."""

        async def work(store: CatalogueStore) -> list[Change]:
            return [
                Change(
                    t.version,
                    t.author,
                    t.reason,
                    t.changed_at,
                    differences([(t.kind, t.name, t.before)], [(t.kind, t.name, t.after)]),
                )
                for t in await store.trail(limit=limit)
            ]

        return self._run(work)

    def rollback(self, version: int, reason: str) -> tuple[int, list[Difference]]:
        """Make what was in force at a version the newest version; returns its number and what changed."""

        why = self._reason_alone(reason)

        async def work(store: CatalogueStore) -> tuple[int, list[Difference]]:
            _, before = await store.entries()
            catalogue = await store.rollback(version, author(), why)
            _, after = await store.entries(catalogue.version)
            return catalogue.version, differences(before, after)

        return self._run(work)

    def _reason_alone(self, reason: str) -> str:
        if not get_settings().needs_approvals:
            return reason
        if not self._without_approval:
            fail(
                "changes of the catalogue take the approval of another person (NEXTBEST_APPROVALS): make a change set"
                " with `nextbest changesets propose`, or say --without-approval, which the audit trail tells"
            )
        return told_alone(reason)

    def _read(self, file: Path) -> Document:
        # Once, for the standard input can be read only once.
        if file not in self._documents:
            self._documents[file] = read_file(file, lambda text: read_document(text, check_entry), MAX_BYTES)
        return self._documents[file]

    def _run(self, work: Callable[[CatalogueStore], Awaitable[T]], file: Path | None = None) -> T:
        """Run with the catalogue's store. ``file``: what a document's mistakes are said of."""
        return self._run_on_engine(lambda engine: work(CatalogueStore(engine)), file)

    @staticmethod
    def _run_on_engine(work: Callable[[AsyncEngine], Awaitable[T]], file: Path | None) -> T:
        async def run(engine: AsyncEngine) -> T:
            try:
                return await work(engine)
            except DocumentError as error:
                fail(describe_document(str(file), error))

        return on_database(run)


class ServedCatalogues:
    """The catalogue of a service."""

    def __init__(self, service: Remote) -> None:
        self._service = service
        self._texts: dict[Path, str] = {}

    def export(self) -> tuple[int, str]:
        """Return the version and the whole catalogue as a document."""
        response = self._service.call("GET", "/v1/catalog/export")
        return int(response.headers["ETag"].strip('"')), response.text

    def compare(self, file: Path, delete: bool) -> Comparison:
        """Tell what applying a file would change; the service checks it."""
        found = self._send(file, "diff", {"delete": delete})
        parts = found["summary"]
        changed = tuple(
            ChangedThing(c["path"], tuple(c["fields"]), tuple(c["lost"])) for c in parts["changed"]
        )
        return Comparison(
            found["catalog_version"],
            [Difference(**difference) for difference in found["differences"]],
            Summary(tuple(parts["added"]), changed, tuple(parts["deleted"]), tuple(parts["kept"])),
            [CatalogueWarning(**warning) for warning in found["warnings"]],
        )

    def apply(self, file: Path, delete: bool, reason: str, compared: Comparison) -> int:
        """Apply a file, if the catalogue is still at the version that it was compared with."""
        headers = {"If-Match": f'"{compared.version}"'} | ({"X-Reason": reason} if reason else {})
        return int(self._send(file, "apply", {"delete": delete}, headers)["catalog_version"])

    def simulate(self, file: Path, delete: bool, placement: str | None, sample: int) -> dict[str, Any]:
        """Run a sample of customers through the catalogue that a file makes, beside the live one."""
        named = {} if placement is None else {"placement": placement}
        return self._send(file, "simulate", {"delete": delete, "sample": sample, **named})

    def history(self, limit: int) -> list[Change]:
        """Return the newest entries of the audit trail, page by page."""
        found: list[Any] = []
        while len(found) < limit:
            params = {"limit": min(limit - len(found), 1000)} | (
                {"before": found[-1]["version"]} if found else {}
            )
            page = self._service.call("GET", "/v1/catalog", params=params).json()
            found += page
            if not page:
                break
        return [
            Change(
                t["version"],
                t["author"],
                t["reason"],
                datetime.fromisoformat(t["changed_at"]),
                [Difference(**difference) for difference in t["differences"]],
            )
            for t in found
        ]

    def rollback(self, version: int, reason: str) -> tuple[int, list[Difference]]:
        """Make what was in force at a version the newest version; returns its number and what changed."""
        body = {"version": version, "reason": reason}
        found = self._service.call("POST", "/v1/catalog/rollback", json=body).json()
        return found["catalog_version"], [Difference(**difference) for difference in found["differences"]]

    def _send(
        self, file: Path, action: str, params: dict[str, Any], headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        if file not in self._texts:
            self._texts[file] = read_file(file, str, MAX_BYTES)
        response = self._service.call(
            "POST",
            f"/v1/catalog/{action}",
            params=params,
            headers={"Content-Type": "application/yaml", **(headers or {})},
            content=self._texts[file].encode(),
            file=str(file),
        )
        answer: dict[str, Any] = response.json()
        return answer
