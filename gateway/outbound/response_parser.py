"""Parses the bytes of one HTTP response. No socket, no clock."""

import re

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from adapters.contract import HttpReply, kind_by_status

_MAX_LINES = 128
"""Header lines of a response, with those of trailers and of interim responses."""
_MAX_HEADER = 64 * 1024
"""Bytes of a header's name and value."""
_MAX_HEAD = 2 * _MAX_HEADER
"""Bytes of the status line and the headers together."""
_MAX_UNPARSED = 32 * 1024
"""Bytes that may be received after the head without a complete trailer or a piece of the body."""
_NOT_HTTP = "answered with something that is not HTTP"

_END_OF_HEAD = re.compile(rb"\n\r?\n")
_FOLD = re.compile(rb"[ \t]*\r?\n[ \t]+")
"""A line break inside a header's value. RFC 9112, section 5.2: a user agent replaces it with a space."""
_FOLDED_FRAMING = re.compile(
    rb"^(?:content-length|transfer-encoding)[ \t]*:[^\n]*\n[ \t]", re.IGNORECASE | re.MULTILINE
)
"""Where a response ends must not depend on how someone reads a fold."""

_CODINGS = frozenset(
    {
        *("aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "exi", "gzip"),
        *("pack200-gzip", "x-compress", "x-gzip", "zstd"),
    }
)
"""The content codings of IANA's registry, but identity. Any other word, such as utf-8, encodes nothing."""


class RemoteProtocolError(Exception):
    """A response that is not accepted; the message says what the provider did."""


class ResponseParser:
    """Parses one response, in pieces of any size. Used once."""

    reusable = False
    """Whether the connection can be used for another request, once the response is complete."""

    _status = _lines = _size = _unparsed = 0
    _in_body = _until_end = False
    _reply: HttpReply | None = None
    _error: RemoteProtocolError | None = None

    def __init__(self, max_bytes: int, *, to_head: bool) -> None:
        """`max_bytes` limits the body. A response `to_head` (the method) has none, whatever its Content-Length."""
        self._max_bytes = max_bytes
        self._to_head = to_head
        self._headers: list[tuple[str, str]] = []
        self._body: list[bytes] = []
        self._head = bytearray()
        self._parser = HttpResponseParser(self)
        # Real servers do this, and it is unambiguous.
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True)

    def feed(self, data: bytes) -> HttpReply | None:
        """Parse the next bytes; returns the reply once it is complete. Raises RemoteProtocolError."""
        try:
            rest = data if self._in_body else self._feed_heads(data)
            if rest:
                self._unparsed += len(rest)
                self._parser.feed_data(rest)
        except (HttpParserError, HttpParserUpgrade):
            self._reject(_NOT_HTTP)
        if self._reply is None and self._unparsed > _MAX_UNPARSED:
            self._reject(_NOT_HTTP)
        if self._reply is not None or self._error is not None:
            del self._parser  # breaks the reference cycle
        if self._error is not None:
            raise self._error
        return self._reply

    def _feed_heads(self, data: bytes) -> bytes:
        """Parse the heads that are complete now: of interim responses, and of the response. Returns what follows it."""
        searched = max(0, len(self._head) - 2)
        self._head += data
        while not self._in_body and self._error is None and (end := _END_OF_HEAD.search(self._head, searched)):
            head = bytes(self._head[: end.end()])
            del self._head[: end.end()]
            searched = 0
            self._check_size(head)
            self._parser.feed_data(self._unfolded(head))
        if self._in_body:
            return bytes(self._head)
        if not b"HTTP/".startswith(self._head.lstrip(b"\r\n")[:5]):
            self._reject(_NOT_HTTP)
        self._check_size(self._head)
        return b""

    def _check_size(self, head: bytes | bytearray) -> None:
        if len(head) > _MAX_HEAD:
            self._reject(f"answered with headers of more than {_MAX_HEAD} bytes")

    def _unfolded(self, head: bytes) -> bytes:
        """The head with each header on one line."""
        if b"\n " not in head and b"\n\t" not in head:
            return head
        if _FOLDED_FRAMING.search(head):
            self._reject("answered with a line break inside Content-Length or Transfer-Encoding")
        start = head.index(b"\n", len(head) - len(head.lstrip(b"\r\n"))) + 1
        if head[start : start + 1] in {b" ", b"\t"}:  # it continues no header
            self._reject(_NOT_HTTP)
        return head[:start] + _FOLD.sub(b" ", head[start:])

    def end(self) -> HttpReply | None:
        """The connection was closed: the reply, if that completes it; None where it was cut off."""
        if self._until_end and self._reply is None and self._error is None:
            self._finish()
        return self._reply

    # --- called by the parser -----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Another response begins, which no request belongs to."""
        if self._reply is not None:
            self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line, or one of a trailer, which is not kept."""
        self._unparsed = 0
        self._lines += 1
        if self._lines > _MAX_LINES:
            self._reject(f"answered with more than {_MAX_LINES} header lines")
        elif len(name) + len(value) > _MAX_HEADER:
            self._reject(f"answered with a header of more than {_MAX_HEADER} bytes")
        elif not self._in_body:
            self._headers.append((name.decode("latin-1"), value.rstrip(b" \t").decode("latin-1")))

    def on_headers_complete(self) -> None:
        """The head is complete: it defines whether there is a body, and where it ends."""
        if self._reply is not None or self._error is not None:
            return
        self._status = status = self._parser.get_status_code()
        length, transfer, content = self._framing()
        if status < 200:
            self._lines += 1  # limits the interim responses
            if status < 100 or self._lines > _MAX_LINES:
                self._reject(_NOT_HTTP)
            return  # an interim response; for 101 the parser raises by itself
        self._in_body = True
        self.reusable = self._parser.should_keep_alive()
        if self._to_head:
            self.reusable = False  # the parser does not know about HEAD, and waits for a body
            self._finish()
        elif transfer not in {"", "chunked"}:
            self._reject("answered with a Transfer-Encoding that was not requested")
        elif coding := _CODINGS.intersection(re.split(r"[\s,]+", content)):
            self._reject_body(f"answered with Content-Encoding {min(coding)} although identity was requested")
        elif length and int(length) > self._max_bytes:
            self._reject_body(self._too_large())
        else:
            self._until_end = not (length or transfer)

    def on_body(self, part: bytes) -> None:
        """The next piece of the body."""
        self._unparsed = 0
        self._size += len(part)
        if self._size > self._max_bytes:
            self._reject_body(self._too_large())
        else:
            self._body.append(part)

    def on_message_complete(self) -> None:
        """The response is complete, or an interim one, which another one follows."""
        if self._in_body:
            self._finish()
        else:
            self._headers.clear()

    # ------------------------------------------------------------------------------------------------------------------

    def _framing(self) -> tuple[str, str, str]:
        """Content-Length, Transfer-Encoding and Content-Encoding; empty where absent."""
        found = {"content-length": "", "transfer-encoding": "", "content-encoding": ""}
        for name, value in self._headers:
            lowered = name.lower()
            if lowered in found:
                found[lowered] = ", ".join(filter(None, (found[lowered], value.lower())))
        length, transfer, content = found.values()
        return length, transfer, content

    def _too_large(self) -> str:
        return f"answered with more than {self._max_bytes} bytes"

    def _reject_body(self, what: str) -> None:
        """Reject, unless the status alone decides the outcome: then the body does not matter."""
        if kind_by_status(self._status) is None:
            self._reject(what)
        else:
            self.reusable = False
            self._body.clear()
            self._finish()

    def _reject(self, what: str) -> None:
        """Reject the response. After a complete one this only ends the connection."""
        self.reusable = False
        if self._reply is None and self._error is None:
            self._error = RemoteProtocolError(what)

    def _finish(self) -> None:
        if self._reply is None and self._error is None:
            self._reply = HttpReply(self._status, tuple(self._headers), b"".join(self._body))
