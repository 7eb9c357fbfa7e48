"""Rollout: the stages of policies, canaries and their guardrails, drift."""
