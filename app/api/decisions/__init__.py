"""What is best for a customer here and now, and why."""
