"""Keys of cached profiles, all in one bucket."""


def key_of(customer_id: str) -> str:
    """Return the key under which a customer's profile is cached."""
    return f"nb:{{b0}}:profile:{customer_id}"
