"""Operands among the tokens of an expression that may not be readable: where they begin and end."""

import re
from collections.abc import Sequence

from rules.tokens import Token

OPENING, CLOSING = frozenset("([{"), frozenset(")]}")


def word(token: Token) -> str:
    """Return a name in small letters, and nothing for what is no plain word."""
    return token.text.lower() if token.kind == "name" and "." not in token.text else ""


def end_of(token: Token, source: str) -> int:
    """Find the end of a token in the source: names are written there with their blanks."""
    if token.kind != "name":
        return token.at + len(token.text)
    match = re.compile(r"\s*\.\s*".join(map(re.escape, token.text.split(".")))).match(source, token.at)
    return token.at + len(token.text) if match is None else match.end()


def operand_before(found: Sequence[Token], i: int) -> int | None:
    """Find where the operand that ends before token ``i`` begins: a name, a literal, a call or a bracket."""
    at = i - 1
    if at < 0:
        return None
    if found[at].text in CLOSING:
        depth = 0
        while at >= 0:
            depth += (found[at].text in CLOSING) - (found[at].text in OPENING)
            if depth == 0:
                break
            at -= 1
        if at < 0:
            return None
        is_call = at > 0 and found[at - 1].kind == "name" and found[at - 1].at + 1 <= found[at].at
        return at - 1 if is_call and not _is_operator(found[at - 1]) else at
    return at if found[at].kind in ("name", "string", "number") else None


def operand_after(found: Sequence[Token], i: int) -> int | None:
    """Find the last token of the operand that begins at token ``i``."""
    at = i
    if at < len(found) and found[at].text == "-":
        at += 1
    if at >= len(found):
        return None
    if found[at].kind == "name" and at + 1 < len(found) and found[at + 1].text in ("(", "["):
        return closing_of(found, at + 1)
    if found[at].text in OPENING:
        return closing_of(found, at)
    return at if found[at].kind in ("name", "string", "number") else None


def closing_of(found: Sequence[Token], i: int) -> int | None:
    """Find the bracket that closes the one at ``i``."""
    depth = 0
    for at in range(i, len(found)):
        depth += (found[at].text in OPENING) - (found[at].text in CLOSING)
        if depth == 0:
            return at
    return None


def _is_operator(token: Token) -> bool:
    return word(token) in ("and", "or", "not", "in", "between", "like", "is", "xor")
