"""Off-policy evaluation: estimators and intervals."""
