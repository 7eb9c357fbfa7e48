"""The policies of a placement: their stages, control groups, apprenticeship and guardrails."""
