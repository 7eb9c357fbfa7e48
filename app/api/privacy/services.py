"""The services of privacy, made of the state of a process; commands use them as well."""

from app.state import ApiState
from decisioning.privacy.export_service import PersonExporter
from decisioning.privacy.store_customer_log import CustomerLog
from profiles.privacy.store_actions import PrivacyTrail


def exporter_of(state: ApiState) -> PersonExporter:
    """Make what reads all that is held on a person."""
    return PersonExporter(
        CustomerLog(state.engine, state.redis, state.keys),
        state.decision_log,
        PrivacyTrail(state.engine),
        {number: offer_id for offer_id, number in state.numbers().items()},
    )
