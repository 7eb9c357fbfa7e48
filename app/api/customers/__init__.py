"""What is known about a customer."""
