"""Reasons why an answer is not what it would be if everything had worked."""

from enum import StrEnum


class DegradedReason(StrEnum):
    """A part that could not be used for an answer, as it is told and logged in ``degraded``."""

    DEADLINE_EXCEEDED = "deadline_exceeded"
    PROFILE_UNAVAILABLE = "profile_unavailable"
    CONTACT_HISTORY_UNAVAILABLE = "contact_history_unavailable"
    FUNCTIONS_UNAVAILABLE = "functions_unavailable"
    EARLIER_ANSWER_UNAVAILABLE = "earlier_answer_unavailable"
    ARCHIVE_STANDS_STILL = "archive_stands_still"
    BASELINE_MISSING = "baseline_missing"
    POLICY_UNAVAILABLE = "policy_unavailable"
    ARMS_UNAVAILABLE = "arms_unavailable"
    POLICY_SLOW = "policy_slow"
    POLICY_FAILED = "policy_failed"
