"""Files of customers, propensities and history."""
