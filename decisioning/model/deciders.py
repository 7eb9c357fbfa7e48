"""Names that stand in the log where a policy would."""

from bandits.policy import PolicyKey

CALLER = PolicyKey("caller@1")
"""Logged as the policy where the caller's own choice is answered."""
HISTORY = PolicyKey("history@1")
"""Logged as the policy of decisions that were made elsewhere and imported."""
NOBODY = PolicyKey("default@1")
"""Logged as the policy of a decision that none has made."""
NOT_POLICIES = frozenset(key.name for key in (CALLER, HISTORY))
"""Names that no policy may have: its decisions would be taken for those of somebody else."""
