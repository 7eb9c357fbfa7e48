"""Lines of CSV files: where the rows begin that the parser counts."""

import re
from collections.abc import Collection
from typing import BinaryIO

_BOM = b"\xef\xbb\xbf"
# As the parser reads it: a quote counts at the beginning of a field alone, and what follows the closing one is text.
# Groups are atomic, so that nothing is tried twice however a row is written.
_FIELD = rb"""(?>"(?>[^"]*(?:""[^"]*)*)"[^,\r\n]*|(?!")[^,\r\n]*)"""
_ON_A_LINE = _FIELD.replace(rb'[^"]', rb'[^"\r\n]')
_ROW = re.compile(rb"(?>%b(?:,%b)*)(?:\r\n|\r|\n)" % (_FIELD, _FIELD))
_ROWS_OF_A_LINE = re.compile(rb"(?>(?:(?![\r\n])(?>%b(?:,%b)*)\r?\n)+)" % (_ON_A_LINE, _ON_A_LINE))
_BLANK = (b"\n", b"\r\n", b"\r")


def lines_of_rows(stream: BinaryIO, rows: Collection[int], block_bytes: int) -> dict[int, int]:
    """Find the lines, from 1, at which rows begin. Row 0 is the header; blank lines are no rows.

    ``block_bytes``: so much is read at once. What comes after the last of the rows is not read.
    """
    wanted = sorted(rows, reverse=True)
    found: dict[int, int] = {}
    row, line, left = 0, 1, stream.read(len(_BOM))
    left = b"" if left == _BOM else left
    while wanted:
        chunk = stream.read(block_bytes)
        data, at = left + (chunk or b"\n"), 0  # the last row may end without a line feed
        while wanted:
            if match := _ROWS_OF_A_LINE.match(data, at):
                is_whole = True
                rows_here = lines = data.count(b"\n", at, match.end())
            elif match := _ROW.match(data, at):
                # A carriage return at the end of a block may be followed by a line feed.
                is_whole = match.end() < len(data) or not chunk
                lines = match[0].count(b"\n") + match[0].count(b"\r") - match[0].count(b"\r\n")
                rows_here = int(match[0] not in _BLANK)
            if match is None or not is_whole:
                break
            while wanted and wanted[-1] < row + rows_here:
                one = wanted.pop()
                found[one] = line + one - row
            row, line, at = row + rows_here, line + lines, match.end()
        if not chunk:
            break
        left = data[at:]
    return found
