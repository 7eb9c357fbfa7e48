"""Paths that end in a customer's id, which may hold any character."""

from starlette.convertors import Convertor, register_url_convertor


class AnyText(Convertor[str]):
    """All of the rest of a path. Starlette's own ``path`` stops at a line feed, and leaves one at the end out."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        """Return the text as it is."""
        return value

    def to_string(self, value: str) -> str:
        """Return the text as it is."""
        return value


register_url_convertor("text", AnyText())
CUSTOMER_ID = "{customer_id:text}"
