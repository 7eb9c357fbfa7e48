"""Values that all rooms speak of: catalogue entries, deployments, selections, stops, weights, stream positions."""
