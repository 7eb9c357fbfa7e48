"""What a rule, or a changed catalogue, would do before it goes live."""
