"""Just enough of CEL's lexis to know which attributes an expression refers to, and where."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*)
    | (?P<string>[rRbB]{0,2}(?:'{3}(?:[^\\]|\\.)*?'{3}|\"{3}(?:[^\\]|\\.)*?\"{3}
        |'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))
    | (?P<number>(?:\d+\.\d+|\.\d+|\d+)(?:[eE][+-]?\d+)?u?|0x[0-9a-fA-F]+u?)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\s*\.\s*[A-Za-z_][A-Za-z0-9_]*)*)
    | (?P<sign>==|!=|<=|>=|&&|\|\||.)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of an expression; ``at`` is its offset. Dotted names are one piece, without blanks."""

    kind: str
    text: str
    at: int


def tokens(source: str) -> Iterator[Token]:
    """Split an expression into its pieces, blanks and comments left out."""
    for match in _TOKEN.finditer(source):
        kind = match.lastgroup or "sign"
        if kind != "space":
            text = re.sub(r"\s+", "", match[0]) if kind == "name" else match[0]
            yield Token(kind, text, match.start())


def position(source: str, at: int) -> tuple[int, int]:
    """Convert an offset to line and column, from 1."""
    line = source.count("\n", 0, at) + 1
    return line, at - (source.rfind("\n", 0, at) + 1) + 1


def literal(text: str) -> str | None:
    """Read a plain string literal; ``None`` for raw, byte and escaped ones, which are not looked into."""
    if text[0] in "'\"" and "\\" not in text:
        return text[3:-3] if text[:3] in ("'''", '"""') else text[1:-1]
    return None


def compared_with(found: Sequence[Token], i: int) -> list[Token]:
    """Find string literals compared with what is at ``i``: by ``==``, ``!=``, ``in [...]``, or as a member of it."""
    others = []
    if i + 2 < len(found) and found[i + 1].text in ("==", "!=") and found[i + 2].kind == "string":
        others.append(found[i + 2])
    if i >= 2 and found[i - 1].text in ("==", "!=", "in") and found[i - 2].kind == "string":
        others.append(found[i - 2])
    if i + 2 < len(found) and found[i + 1].text == "in" and found[i + 2].text == "[":
        for token in found[i + 3 :]:
            if token.text == "]":
                break
            if token.kind == "string":
                others.append(token)
    return others
