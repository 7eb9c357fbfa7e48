"""Rules: conditions on customer, context and time."""
