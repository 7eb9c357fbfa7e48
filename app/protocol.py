"""HTTP/1.1 with a bound on what comes before the body; httptools itself would collect headers without end."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 65_536
ENDLESS = "nextbest.endless"
"""In the scope of a request whose answer goes on for as long as the client wants it."""
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: application/problem+json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
)
_PROBLEM = (
    b'{"type":"about:blank","title":"Request headers too large","status":431,'
    b'"detail":"request line and headers are longer than the %d bytes that are taken"}' % MAX_HEAD_BYTES
)


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which gives up on a request whose head does not end in time."""

    _requests = 0
    _in_head = False
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Parse data; count them if they lie in the midst of a head."""
        # Data that end a head, or hold several short ones, prove that the sender gets on: they do not count.
        before = self._requests if self._in_head else None
        super().data_received(data)
        if self._in_head and self._requests == before:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.transport.write(_TOO_LARGE % (len(_PROBLEM), _PROBLEM))
                self.transport.close()

    def shutdown(self) -> None:
        """Let the answer under way be finished, unless it has no end."""
        super().shutdown()
        if self._requests and ENDLESS in self.cycle.scope and not self.transport.is_closing():
            self.transport.close()

    def on_message_begin(self) -> None:
        """Start to count the bytes of a head."""
        self._requests += 1
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop counting: the head is complete."""
        self._in_head = False
        super().on_headers_complete()
