"""A person's part of the log: found for an export, and put under a pseudonym for an erasure."""
