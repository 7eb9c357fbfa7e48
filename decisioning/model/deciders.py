"""Names that stand in the log where a policy would."""

from bandits.policy import PolicyKey

CALLER = PolicyKey("caller@1")
"""The logged policy where the caller's own choice is answered."""
HISTORY = PolicyKey("history@1")
"""The logged policy of decisions that were made elsewhere and imported."""
NO_POLICY = PolicyKey("default@1")
"""The policy of an answer that no policy decided. It is never logged."""
NOT_POLICIES = frozenset(key.name for key in (CALLER, HISTORY))
"""Names that no policy may have: its decisions would be taken for those of somebody else."""
FIRING_PREFIX = "firing-"
"""The ids of decisions that triggers ask for begin with it."""
