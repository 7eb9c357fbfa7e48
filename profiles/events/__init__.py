"""Events of customers, and what they tell: counts, sums, habits, last values and interests."""
