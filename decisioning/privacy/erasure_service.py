"""An erasure: profile, log, files of exports, and an entry in the trail that does not say whose it was."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from decisioning.exporting.store_folders import FolderStore, WrittenFolder
from decisioning.exporting.store_jobs import ExportStore, folder_name
from decisioning.merging.store_aliases import AliasStore
from decisioning.merging.store_handover import Handover
from decisioning.privacy.export_files import PERSONAL, is_in_files, remove_files
from decisioning.privacy.store_erasing import LogEraser
from profiles.customer_id import checked_id
from profiles.privacy.store_actions import PrivacyTrail
from profiles.privacy.store_erasures import ErasureStore

SETTLE_MARGIN_S = 1.0
"""For a write that was sent as the deadline of its decision passed."""


@dataclass(frozen=True, slots=True)
class Erased:
    """The result of an erasure: how much, by where it was held, and the exports that were removed.

    ``folders``: those that somebody exported to on the command line, and that have the person still, or may have.
    """

    counts: dict[str, int]
    exports: list[str]
    folders: list[WrittenFolder]


@dataclass(frozen=True, slots=True)
class PersonEraser:
    """Erases persons. ``export_dir``: where workers write the files of exports. ``host``: the name of this one.

    ``longest_decision_s``: after which decisions that were being made when the profile went have been logged.
    """

    profiles: ErasureStore
    log: LogEraser
    aliases: AliasStore
    handover: Handover
    exports: ExportStore
    folders: FolderStore
    export_dir: Path
    host: str
    trail: PrivacyTrail
    clock_ms: Callable[[], int]
    longest_decision_s: float
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def erase(self, customer_id: str, author: str, reason: str, *, keep_out: bool) -> Erased:
        """Erase a person. May be repeated, and has to be if it fails in between.

        ``keep_out``: the id is not stored again, and counts as suppressed. Raises ``InvalidCustomer`` and
        ``Unavailable``.
        """
        customer_id = checked_id(customer_id)
        # The profile first: decisions that begin from now on know nothing of the customer any more. Those that have
        # begun may still log what they know.
        counts = Counter(await self.profiles.erase(customer_id, keep_out=keep_out))
        aliases = [name for name, _ in await self.aliases.of(customer_id)]
        for name in aliases:
            counts.update(await self.profiles.erase(name, keep_out=False))
        # The customer last, to whom aliases may hand over until then.
        names = [*aliases, customer_id]
        await self.aliases.finish(names)  # so that no worker goes on with them
        for name in names:  # what is decided and sent unasked begins with a look at these
            counts.update(await self.log.erase_triggers(name))
        await self.sleep(self.longest_decision_s + SETTLE_MARGIN_S)
        decision_ids: set[str] = set()
        for name in names:
            decision_ids |= await self._erase_log(name, counts)
        # What was remembered of signals is gone now, so no more of them are lifted; meanwhile some may have been.
        for name in names:
            counts.update(await self.profiles.erase(name, keep_out=False, tables=("lifted_signals",)))
        # At last: until then a repeated erasure must know of them.
        for name in names:
            await self.handover.forget(name, await self.aliases.chain(name))
        if aliases:
            await self.log.forget(customer_id)  # what was handed over meanwhile
        counts["aliases"] = await self.aliases.remove(names)
        removed = await self._remove_exports(names, decision_ids)
        found = {"exports": len(removed), **counts}
        await self.trail.note("erased", customer_id, author, reason, kept_out=keep_out, **found)
        # At last: years of files may take longer than who asked waits, and the person is erased by now.
        left = [one for one in await self.folders.all() if await self._may_have(one, names, decision_ids)]
        return Erased(counts, removed, left)

    async def _erase_log(self, name: str, counts: Counter[str]) -> set[str]:
        """Erase from the log, and count; returns the ids of the decisions."""
        erased, ids = await self.log.erase(name, self.clock_ms())
        counts.update(asdict(erased))
        if erased.trigger_firings:
            # Made meanwhile of what the streams still had, so they may be decided just now. No more can come.
            await self.sleep(self.longest_decision_s + SETTLE_MARGIN_S)
            erased, more = await self.log.erase(name, self.clock_ms())
            counts.update(asdict(erased))
            ids = ids | more
        return ids

    async def _may_have(
        self, written: WrittenFolder, names: Collection[str], decision_ids: Collection[str]
    ) -> bool:
        """Return whether a folder has any of these names in it; True for one that cannot be looked at from here."""
        if written.host != self.host:
            return True
        folder, kind = Path(written.folder), written.kind
        return await asyncio.to_thread(is_in_files, folder, kind, names, decision_ids)

    async def _remove_exports(self, names: Collection[str], decision_ids: Collection[str]) -> list[str]:
        """Forget exports that have the person in them, and those that are just being written; remove their files.

        Returns their ids, sorted.
        """
        installation, removed = await self.exports.installation(), []
        for export_id, (kind, state) in (await self.exports.with_files()).items():
            if kind not in PERSONAL:
                continue
            folder = self.export_dir / folder_name(export_id, installation)
            if state == "running" or await asyncio.to_thread(is_in_files, folder, kind, names, decision_ids):
                removed.append(export_id)
        await self.exports.forget(removed)
        for export_id in removed:
            await asyncio.to_thread(remove_files, self.export_dir / folder_name(export_id, installation))
        return sorted(removed)
