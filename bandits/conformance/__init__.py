"""The laws that every policy keeps, and the small worlds in which they are checked."""
