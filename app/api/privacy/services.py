"""The services of privacy, made of the state of a process; commands use them as well."""

import socket

from app.api.privacy.schemas import RetentionItem, RetentionRun
from app.api.schemas import answer_of
from app.config import parse_retention
from app.state import ApiState
from bandits.features import Encoder
from bandits.onnx.model_inputs import FactsEncoder
from bandits.sequential_policy import is_sequential
from decisioning.contact.store_lifting import SignalLifter
from decisioning.exporting.store_folders import FolderStore
from decisioning.merging.lifting_service import LiftingService
from decisioning.merging.store_aliases import AliasStore
from decisioning.merging.store_handover import Handover
from decisioning.policies.roster import Roster
from decisioning.privacy.erasure_service import PersonEraser
from decisioning.privacy.export_service import PersonExporter
from decisioning.privacy.generalising import Generaliser
from decisioning.privacy.retention_service import RetentionService
from decisioning.privacy.store_customer_log import CustomerLog
from decisioning.privacy.store_erasing import LogEraser
from decisioning.privacy.store_retention import Removed, Retention
from decisioning.triggers.decision_service import DEADLINE_MS
from profiles.privacy.store_actions import PrivacyTrail
from profiles.privacy.store_erasures import ErasureStore
from storage import clock
from storage.postgres import PATIENT_S, make_engine


def exporter_of(state: ApiState) -> PersonExporter:
    """Make what reads all that is held on a person."""
    return PersonExporter(
        CustomerLog(state.engine, state.redis, state.keys),
        state.decision_log,
        PrivacyTrail(state.engine),
        AliasStore(state.engine),
        {number: offer_id for offer_id, number in state.numbers().items()},
    )


async def run_retention(state: ApiState, author: str, reason: str, *, dry: bool) -> RetentionRun:
    """Remove what is older than it may be by the settings of this process, or only look for it; it is in the trail.

    So is what went before it failed. Raises ``Busy`` if somebody else is removing, and ``PostgresUnavailable``.
    """
    days, found = parse_retention(state.settings.retention), list[Removed]()
    # A statement may take longer than a request waits for others.
    engine = make_engine(str(state.settings.postgres_url), pool_size=1, statement_s=PATIENT_S)
    try:
        await RetentionService(Retention(engine, days), state.catalogues).run(found, dry=dry)
    finally:
        await engine.dispose()
        done = RetentionRun(dry_run=dry, days=days, removed=[answer_of(RetentionItem, one) for one in found])
        trail = PrivacyTrail(state.engine)
        await trail.note("retention", None, author, reason, **done.model_dump(mode="json"))
    return done


async def eraser_of(state: ApiState) -> PersonEraser:
    """Make what erases a person, for all policies that are registered by now. Raises ``PostgresUnavailable``."""
    await state.refresh_policies()
    placements = state.current_catalogue().placements
    return PersonEraser(
        erasures_of(state),
        LogEraser(state.engine, state.redis, state.keys, generaliser_of(state.roster)),
        AliasStore(state.engine),
        Handover(state.redis, state.keys),
        state.exports,
        FolderStore(state.engine),
        state.settings.export_dir,
        socket.gethostname(),
        PrivacyTrail(state.engine),
        clock.now_ms,
        max([DEADLINE_MS, *(one.deadline_ms for one in placements.values())]) / 1000,
    )


def lifting_of(state: ApiState) -> LiftingService:
    """Make what lifts signals."""
    lifter = SignalLifter(state.engine, state.redis, state.keys)
    return LiftingService(lifter, AliasStore(state.engine), state.decision_log, clock.now_ms)


def erasures_of(state: ApiState) -> ErasureStore:
    """Make what knows who was erased."""
    return ErasureStore(state.engine, state.profiles.cache)


def generaliser_of(roster: Roster) -> Generaliser:
    """Make what makes facts general for the policies of a roster, also those that cannot be built here."""
    policies = list(roster.values())
    encoders = [policy.encoder for policy in policies]
    encoders += [Encoder(spec.features) for spec in roster.broken_specs()]
    as_they_are = [
        feature
        for policy in policies
        if is_sequential(policy) or isinstance(policy.encoder, FactsEncoder)
        for feature in policy.encoder.features
    ]
    return Generaliser(encoders, as_they_are)
