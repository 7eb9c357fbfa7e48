"""What happened to the offers of a decision."""
