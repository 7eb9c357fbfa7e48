"""Names that stand in the log where a policy would."""

CALLER = "caller@1"
"""What is logged as the policy where the caller's own choice is answered."""
HISTORY = "history@1"
"""What is logged as the policy of decisions that were made elsewhere and imported."""
NOT_POLICIES = frozenset(key.partition("@")[0] for key in (CALLER, HISTORY))
"""Names that no policy may have: its decisions would be taken for those of somebody else."""
