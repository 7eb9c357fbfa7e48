"""The arms of policies: what was learned of each offer, and whether exploration goes on."""
