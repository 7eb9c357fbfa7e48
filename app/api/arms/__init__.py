"""What a policy has learned of each offer, and whether it still explores."""
