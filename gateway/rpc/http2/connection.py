"""One connection: its frames, what both sides may send, and what a peer may not do."""

import asyncio
from collections.abc import Callable, Mapping
from typing import cast

import grpc
import structlog

from gateway.rpc.http2 import frames, heads
from gateway.rpc.http2.call import Call, Method
from gateway.rpc.http2.frames import ConnectionBroken, ErrorCode, Setting
from gateway.rpc.http2.limits import Limits
from gateway.rpc.http2.patience import Due, Patience

log = structlog.get_logger(__name__)


_DRAINING = b"draining"
_ASKING = b"any-one?"


class Connection(asyncio.Protocol):
    """A peer's connection, from its preface to its end.

    `taken` is asked whether there is room for it once it stands, TLS's handshake included; `lost` is told of the end.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        limits: Limits,
        taken: Callable[["Connection"], bool],
        lost: Callable[["Connection"], None],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.limits = limits
        self.peer = ""
        self.peer_window = self.send_window = frames.USUAL_WINDOW
        """What the peer takes on a new stream, and on the connection."""
        self.peer_frame_bytes = frames.FRAME_BYTES
        self.paused = False
        """Whether the peer reads too slowly."""
        self.held = 0
        """Bytes of requests that are not whole yet."""
        self._methods = methods
        self._is_taken = taken
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._begun = False
        self._heads = heads.Heads()
        self._block: tuple[int, bool, bytes] | None = None
        """A head that goes on in CONTINUATION frames: its stream, whether the request ends with it, its bytes."""
        self._calls: dict[int, Call] = {}
        self._waiting: dict[int, Call] = {}
        """Those with something to send that the peer has no room for."""
        self._last_stream = 0
        self._receive_window = limits.connection_window
        self._idle_frames = 0
        self._draining = self._refusing = False
        self._patience = Patience(limits, self.loop.time())
        self._counted_from = self._patience.heard_at

    # The transport's.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open our side."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop has a class of its own
        self._transport.set_write_buffer_limits(self.limits.unsent_bytes)
        address = transport.get_extra_info("peername")
        self.peer = f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address)
        tls = transport.get_extra_info("ssl_object")
        if (tls is not None and tls.selected_alpn_protocol() != "h2") or not self._is_taken(self):
            self._transport.abort()
            return
        ours = {
            Setting.MAX_CONCURRENT_STREAMS: self.limits.calls,
            Setting.INITIAL_WINDOW_SIZE: self.limits.stream_window,
            Setting.MAX_HEADER_LIST_SIZE: heads.HEADER_BYTES,
        }
        self.write(frames.settings(ours))
        self.write(frames.window_update(0, self.limits.connection_window - frames.USUAL_WINDOW))

    def connection_lost(self, exc: Exception | None) -> None:
        """End what it carried."""
        self._transport = None
        for call in list(self._calls.values()):
            call.cancel()
        self._lost(self)

    def pause_writing(self) -> None:
        """Take no more from a peer that does not read what it is sent."""
        self.paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self.paused = False
        if self._transport is not None:
            self._transport.resume_reading()
        for call in list(self._calls.values()):
            call.pump()

    def data_received(self, data: bytes) -> None:
        """Take whatever frames have arrived whole."""
        self._patience.heard_at, self._patience.asked = self.loop.time(), False
        try:
            self._rest = self._taken(self._rest + data if self._rest else data)
        except ConnectionBroken as broken:
            log.info("a gRPC peer broke its connection", peer=self.peer, detail=str(broken))
            self._break(broken.code, str(broken))

    # A call's.

    def write(self, data: bytes) -> None:
        """Have it leave."""
        if self._transport is not None:
            self._transport.write(data)

    def wait_for_room(self, call: Call) -> None:
        """Pump the call when the peer has room."""
        self._waiting[call.stream] = call

    def left(self, call: Call) -> None:
        """The call's stream is closed; it still counts while its work ends."""
        if not call.half_closed:  # the peer need not go on with its request
            self.write(frames.reset(call.stream, ErrorCode.NO_ERROR))
        self._waiting.pop(call.stream, None)
        if call.task is None:
            self.ended(call)

    def ended(self, call: Call) -> None:
        """The call's work is over."""
        if call.closed:
            self._calls.pop(call.stream, None)
            self._close_if_drained()

    # The server's.

    def drain(self) -> None:
        """Ask the peer for no more calls; close once the last has ended."""
        if self._draining:
            return
        self._draining = True
        if not self._begun:
            self.abort()
            return
        # What it sent before it read this is still taken: all of that is here once it answers the ping.
        self.write(frames.goaway(frames.LARGEST_WINDOW, ErrorCode.NO_ERROR))
        self.write(frames.frame(frames.PING, 0, 0, _DRAINING))

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def tick(self, now: float) -> None:
        """Look after time: deadlines, silence, age, what was counted. Called a few times a second."""
        if now >= self._counted_from + 1:
            self._counted_from, self._idle_frames = now, 0
        match self._patience.due(now, begun=self._begun):
            case Due.ASK:
                self.write(frames.frame(frames.PING, 0, 0, _ASKING))
            case Due.DRAIN:
                self.drain()
            case Due.ABORT:
                self.abort()
        for call in list(self._calls.values()):
            if call.due_at is not None and now > call.due_at:
                call.expire()

    # Frames.

    def _taken(self, data: bytes) -> bytes:
        """Handle whole frames; answers what is left. Raises ConnectionBroken."""
        at, end = 0, len(data)
        if not self._begun:
            if not frames.PREFACE.startswith(data[: len(frames.PREFACE)]):
                raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "this is no HTTP/2")
            if end < len(frames.PREFACE):
                return data
            self._begun, at = True, len(frames.PREFACE)
        unpack, handlers = frames.HEAD.unpack_from, self._HANDLERS
        while end - at >= frames.HEAD.size:
            high, low, kind, flags, stream = unpack(data, at)
            length = high << 8 | low
            if length > frames.FRAME_BYTES:
                raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            past = at + frames.HEAD.size + length
            if past > end:
                break
            if self._block is not None and kind != frames.CONTINUATION:
                raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "a head is interrupted")
            if kind < len(handlers):  # others are to be ignored
                handlers[kind](self, flags, stream & frames.LARGEST_WINDOW, data[at + frames.HEAD.size : past])
            at = past
        return data[at:]

    def _data(self, flags: int, stream: int, payload: bytes) -> None:
        length = len(payload)
        last = bool(flags & frames.END_STREAM)
        self._receive_window -= length
        if self._receive_window < 0:
            raise ConnectionBroken(ErrorCode.FLOW_CONTROL_ERROR, "more data than the connection's window")
        if self._receive_window < self.limits.connection_window // 2:
            self.write(frames.window_update(0, self.limits.connection_window - self._receive_window))
            self._receive_window = self.limits.connection_window
        if not length and not last:
            self._idle()
        call = self._calls.get(stream)
        if call is None:
            if stream > self._last_stream or not stream & 1:
                raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "data of a stream that was not opened")
            return  # it was closed meanwhile
        call.receive_window -= length
        if call.receive_window < 0 or call.half_closed:
            self._reset(call, ErrorCode.STREAM_CLOSED if call.half_closed else ErrorCode.FLOW_CONTROL_ERROR)
            return
        if call.closed:
            return
        if call.receive_window < self.limits.stream_window // 2 and not last:
            self.write(frames.window_update(stream, self.limits.stream_window - call.receive_window))
            call.receive_window = self.limits.stream_window
        call.arrived(frames.unpadded(flags, payload), last=last)

    def _headers(self, flags: int, stream: int, payload: bytes) -> None:
        if not stream & 1:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "a stream that is not the peer's")
        payload = frames.block_of(flags, stream, payload)
        last = bool(flags & frames.END_STREAM)
        if flags & frames.END_HEADERS:
            self._opened(stream, payload, last=last)
        else:
            self._block = stream, last, payload

    def _continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "a continuation of nothing")
        self._idle()
        _, last, begun = self._block
        block = begun + payload
        if len(block) > heads.MOST_READ:
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, f"headers of more than {heads.MOST_READ} bytes")
        if flags & frames.END_HEADERS:
            self._block = None
            self._opened(stream, block, last=last)
        else:
            self._block = stream, last, block

    def _opened(self, stream: int, block: bytes, *, last: bool) -> None:
        """A head is here: of a new call, or the end of a request."""
        opened = self._heads.read(block)  # also where it is not wanted: the table is one for all
        if stream <= self._last_stream:
            self._request_ended(stream, last=last)
            return
        self._last_stream = stream
        if len(self._calls) >= self.limits.calls or self._refusing:
            self._idle()
            self.write(frames.reset(stream, ErrorCode.REFUSED_STREAM))
        elif opened is None or opened is heads.TOO_LONG:
            self._idle()
            self.write(frames.reset(stream, ErrorCode.ENHANCE_YOUR_CALM if opened else ErrorCode.PROTOCOL_ERROR))
        elif opened.head.http_status != 200:
            self.write(_only_head(stream, heads.plain_answer(opened.head.http_status), last=last))
        elif (method := self._methods.get(opened.head.path)) is None:
            ending = heads.ending(grpc.StatusCode.UNIMPLEMENTED.value[0], "there is no such method here")
            self.write(_only_head(stream, heads.OPENING + ending, last=last))
        else:
            call = Call(self, stream, opened, method)
            self._calls[stream] = call
            if method.takes_stream:
                call.start(None)
            if last:
                call.arrived(b"", last=True)

    def _request_ended(self, stream: int, *, last: bool) -> None:
        """A request's trailing metadata, which nothing here reads, ends it."""
        call = self._calls.get(stream)
        if call is None or call.half_closed:
            return  # it was closed meanwhile
        if not last:
            self._reset(call, ErrorCode.PROTOCOL_ERROR)
        elif not call.closed:
            call.arrived(b"", last=True)

    def _rst_stream(self, _flags: int, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM of another length")
        if stream > self._last_stream or not stream & 1:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "a reset of a stream that was not opened")
        self._idle()
        call = self._calls.get(stream)
        if call is not None and not call.closed:
            call.half_closed = True
            call.cancel()

    def _settings(self, flags: int, stream: int, payload: bytes) -> None:
        values = frames.settings_of(flags, stream, payload)
        if flags & frames.ACK:
            return
        self._idle()
        before = self.peer_window
        told = dict(values)
        self.peer_window = told.get(Setting.INITIAL_WINDOW_SIZE, before)
        self.peer_frame_bytes = told.get(Setting.MAX_FRAME_SIZE, self.peer_frame_bytes)
        # Before anything that makes use of them: until then the peer counts by the old ones.
        self.write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        for call in list(self._calls.values()) if self.peer_window != before else ():
            self._widen(call, self.peer_window - before)

    def _ping(self, flags: int, stream: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "a ping of another length")
        if stream:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "a ping of a stream")
        if not flags & frames.ACK:
            self._idle()
            self.write(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif payload == _DRAINING and self._draining:
            self._refusing = True
            self.write(frames.goaway(self._last_stream, ErrorCode.NO_ERROR))
            self._close_if_drained()

    def _window_update(self, _flags: int, stream: int, payload: bytes) -> None:
        increment = frames.increment_of(payload)
        if stream:
            call = self._calls.get(stream)
            if call is not None:
                self._widen(call, increment)
            elif stream > self._last_stream:
                raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "a window of a stream that was not opened")
            else:
                self._idle()
            return
        self.send_window += increment
        if self.send_window > frames.LARGEST_WINDOW:
            raise ConnectionBroken(ErrorCode.FLOW_CONTROL_ERROR, "a window over the largest")
        if not self._waiting:
            self._idle()
        waiting, self._waiting = self._waiting, {}
        for call in waiting.values():
            call.pump()

    def _ignored(self, _flags: int, _stream: int, _payload: bytes) -> None:
        self._idle()

    def _unwanted(self, _flags: int, _stream: int, _payload: bytes) -> None:
        raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "a push from a client")

    def _widen(self, call: Call, increment: int) -> None:
        call.send_window += increment
        if call.send_window > frames.LARGEST_WINDOW:
            self._reset(call, ErrorCode.FLOW_CONTROL_ERROR)
        elif call.pending:
            call.pump()
        else:
            self._idle()

    def _reset(self, call: Call, code: ErrorCode) -> None:
        self.write(frames.reset(call.stream, code))
        call.half_closed = True
        if not call.closed:
            call.cancel()

    def _idle(self) -> None:
        """Count what costs us something and carries no call."""
        self._idle_frames += 1
        if self._idle_frames > self.limits.idle_frames:
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that carry nothing")

    def _break(self, code: ErrorCode, what: str) -> None:
        self._block, self._rest = None, b""
        self.write(frames.goaway(self._last_stream, code, what))
        if self._transport is not None:
            self._transport.close()

    def _close_if_drained(self) -> None:
        if self._refusing and not self._calls and self._transport is not None:
            self._transport.close()

    _HANDLERS = (
        _data,
        _headers,
        _ignored,  # PRIORITY
        _rst_stream,
        _settings,
        _unwanted,  # PUSH_PROMISE
        _ping,
        _ignored,  # GOAWAY
        _window_update,
        _continuation,
    )


def _only_head(stream: int, block: bytes, *, last: bool) -> bytes:
    """An answer without a call: its request need not go on."""
    head = frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, block)
    return head if last else head + frames.reset(stream, ErrorCode.NO_ERROR)
