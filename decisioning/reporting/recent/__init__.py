"""What the newest decisions and a sample of the customers tell of an offer, of limits and of capacities."""
