"""The usage of capacities in their current periods."""
