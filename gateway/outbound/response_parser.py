"""From the bytes of one answer to an HttpReply, or to why there is none. No socket, no clock."""

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from adapters.contract import HttpReply, kind_by_status

_MOST_LINES = 128
"""Header lines of an answer, those of trailers and interim answers included."""
_LONGEST_LINE = 8190
"""Bytes of a header's name and value, and of the reason beside the status."""
_LONGEST_UNREAD = 4 * _LONGEST_LINE
"""Bytes that may come, from one read on, without a header line or a piece of the body among them."""
_NOT_HTTP = "answered with something that is not HTTP"


class RemoteProtocolError(Exception):
    """An answer that is not taken in; the message says what the provider did."""


class ResponseParser:
    """Reads one answer, in whatever pieces it comes. Used once."""

    reusable = False
    """Whether another request may follow on the same connection, once there is an answer."""

    _status = _lines = _reason = _size = _unread = 0
    _in_body = _until_end = False
    _reply: HttpReply | None = None
    _refused: RemoteProtocolError | None = None

    def __init__(self, max_bytes: int, *, to_head: bool) -> None:
        """`max_bytes` bounds the body. The answer `to_head` (the method) has none, whatever length it tells."""
        self._max_bytes = max_bytes
        self._to_head = to_head
        self._headers: list[tuple[str, str]] = []
        self._body: list[bytes] = []
        self._parser = HttpResponseParser(self)
        # What real servers do, and what cannot be taken for anything else.
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True)

    def feed(self, data: bytes) -> HttpReply | None:
        """Take the next bytes in; answers the reply once it is complete. Raises AnswerRefused."""
        self._unread += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._refuse(_NOT_HTTP)
        if self._reply is None and self._unread > _LONGEST_UNREAD:
            self._refuse(_NOT_HTTP)
        if self._reply is not None or self._refused is not None:
            del self._parser  # it knows us as we know it: this spares the garbage collector
        if self._refused is not None:
            raise self._refused
        return self._reply

    def end(self) -> HttpReply | None:
        """The connection has ended in order: the reply, where its end completes it; None where it was cut off."""
        if self._until_end and self._reply is None and self._refused is None:
            self._finish()
        return self._reply

    # --- what the parser calls ----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """More than one answer was sent: the next one is nobody's."""
        if self._reply is not None:
            self.reusable = False

    def on_status(self, part: bytes) -> None:
        """A piece of the reason beside the status, which is not kept."""
        self._unread = 0
        self._reason += len(part)
        if self._reason > _LONGEST_LINE:
            self._refuse(_NOT_HTTP)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One line of the head; of a trailer too, which is not kept."""
        self._unread = 0
        self._lines += 1
        if self._lines > _MOST_LINES or len(name) + len(value) > _LONGEST_LINE:
            self._refuse(_NOT_HTTP)
        elif not self._in_body:
            self._headers.append((name.decode("latin-1"), value.rstrip(b" \t").decode("latin-1")))

    def on_headers_complete(self) -> None:
        """The head is complete: it says whether there is a body, and where that ends."""
        if self._reply is not None or self._refused is not None:
            return
        self._status = status = self._parser.get_status_code()
        length, transfer, content = self._framing()
        if status < 200:
            self._lines += 1  # a provider that sends nothing else comes to an end
            if status < 100 or self._lines > _MOST_LINES:
                self._refuse(_NOT_HTTP)
            return  # an interim answer; at 101 the parser gives up by itself
        self._in_body = True
        self.reusable = self._parser.should_keep_alive()
        if self._to_head:
            self.reusable = False  # the parser knows nothing of HEAD, and waits for the body that is told of
            self._finish()
        elif transfer not in {"", "chunked"}:
            self._refuse("answered with a Transfer-Encoding that nobody asked for")
        elif content not in {"", "identity"}:
            self._refuse_body("answered with a Content-Encoding although identity was asked")
        elif length and int(length) > self._max_bytes:
            self._refuse_body(self._too_large())
        else:
            self._until_end = not (length or transfer)

    def on_body(self, part: bytes) -> None:
        """The next piece of the body."""
        self._unread = 0
        self._size += len(part)
        if self._size > self._max_bytes:
            self._refuse_body(self._too_large())
        else:
            self._body.append(part)

    def on_message_complete(self) -> None:
        """The answer is complete, or an interim one is, after which the answer comes."""
        if self._in_body:
            self._finish()
        else:
            self._headers.clear()

    # ------------------------------------------------------------------------------------------------------------------

    def _framing(self) -> tuple[str, str, str]:
        """Content-Length, Transfer-Encoding and Content-Encoding, as far as they were said."""
        said = {"content-length": "", "transfer-encoding": "", "content-encoding": ""}
        for name, value in self._headers:
            lowered = name.lower()
            if lowered in said:
                said[lowered] = ", ".join(filter(None, (said[lowered], value.lower())))
        length, transfer, content = said.values()
        return length, transfer, content

    def _too_large(self) -> str:
        return f"answered with more than {self._max_bytes} bytes"

    def _refuse_body(self, what: str) -> None:
        """Refuse, unless the status says it all, whatever the body."""
        if kind_by_status(self._status) is None:
            self._refuse(what)
        else:
            self.reusable = False
            self._body.clear()
            self._finish()

    def _refuse(self, what: str) -> None:
        """Refuse the answer; what comes behind a complete one only spoils the connection."""
        self.reusable = False
        if self._reply is None and self._refused is None:
            self._refused = RemoteProtocolError(what)

    def _finish(self) -> None:
        if self._reply is None and self._refused is None:
            self._reply = HttpReply(self._status, tuple(self._headers), b"".join(self._body))
