"""The acceptance of offers, by policy, placement, group and time."""
