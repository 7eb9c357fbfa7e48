"""What policies would have earned before they decide: offline, and in the shadow."""
