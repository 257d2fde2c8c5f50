"""One call: what a handler sees of it, and what leaves for it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import grpc

from gateway.rpc.http2 import heads
from gateway.rpc.http2.frames import DATA, END_HEADERS, END_STREAM, HEADERS, ErrorCode, frame, reset
from gateway.telemetry.errors import log_unexpected_error

if TYPE_CHECKING:
    from gateway.rpc.http2.connection import Connection

PREFIX_BYTES = 5
"""Before each message: whether it is compressed, and its length."""

UNSENT_BYTES = 16_384
"""Of a stream of answers, what may wait for room before its handler waits too."""

MESSAGE_BYTES = 64
"""What a message takes of memory beside its bytes: many empty ones are not nothing."""

_OPENING_FLAGS = END_HEADERS
_CLOSING_FLAGS = END_HEADERS | END_STREAM


@dataclass(frozen=True, slots=True)
class Method:
    """A method that is served: its handler, and how messages are read and written."""

    behavior: Callable[..., Any]
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]
    takes_stream: bool = False
    gives_stream: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended."""

    code: int
    message: str = ""
    metadata: Sequence[tuple[str, str | bytes]] = ()


_OK = Ending(0)


class Call:
    """One call on one stream. To a handler it is the context, as far as handlers use grpc.aio's."""

    __slots__ = (
        "_begun",
        "_buffer",
        "_closing",
        "_drained",
        "_ending",
        "_opened",
        "_requests",
        "_stopped",
        "closed",
        "connection",
        "deadline_at",
        "due_at",
        "half_closed",
        "head",
        "held",
        "method",
        "pending",
        "receive_window",
        "send_window",
        "stream",
        "task",
    )

    def __init__(self, connection: "Connection", stream: int, opened: heads.Opened, method: Method) -> None:
        self.connection = connection
        self.stream = stream
        self.head = opened.head
        self.method = method
        self.deadline_at = None if opened.timeout_s is None else connection.loop.time() + opened.timeout_s
        self.due_at: float | None = self.deadline_at or connection.loop.time() + connection.limits.request_s
        """When the call is ended for being late; None for never."""
        self.send_window = connection.peer_window
        self.receive_window = connection.limits.stream_window
        self.held = 0
        """Bytes of the request that wait in here."""
        self.pending = bytearray()
        """Of the answer, what the peer's windows do not let leave yet."""
        self.task: asyncio.Task[None] | None = None
        self.half_closed = False
        """Whether the request has ended."""
        self.closed = False
        """Whether nothing may leave any more."""
        self._buffer = bytearray()
        self._requests: deque[bytes] = deque()
        self._begun = False
        self._opened = False
        self._stopped = False
        self._closing: bytes | None = None
        self._ending: Ending | None = None
        self._drained: asyncio.Future[None] | None = None

    # What handlers use.

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline; None where it set none."""
        return None if self.deadline_at is None else max(0.0, self.deadline_at - self.connection.loop.time())

    def invocation_metadata(self) -> heads.Metadata:
        """What the caller sent with its request."""
        return self.head.metadata

    def peer(self) -> str:
        """The caller's address."""
        return self.connection.peer

    async def send_initial_metadata(self, metadata: Sequence[tuple[str, str | bytes]]) -> None:
        """Open the answer before its first message."""
        self._open(heads.written(metadata))

    async def write(self, message: Any) -> None:
        """Send one message of a stream; waits while the peer has no room for what it was sent.

        A little may wait without the handler, as with grpcio: health's holds a lock meanwhile, which others need.
        """
        self._open()
        self._send(self.method.encode(message))
        while (len(self.pending) > UNSENT_BYTES or self.connection.paused) and not self.closed:
            self._drained = self.connection.loop.create_future()
            await self._drained

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Sequence[tuple[str, str | bytes]] = ()
    ) -> NoReturn:
        """End the call with this status. Raises what no handler catches."""
        self._ending = Ending(code.value[0], details, trailing_metadata)
        raise grpc.aio.AbortError

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """The same, of what to_status makes."""
        await self.abort(status.code, status.details, status.trailing_metadata or ())

    # What the connection uses.

    def start(self, request: bytes | None) -> None:
        """Carry the call out; None where its requests are a stream."""
        self.due_at = self.deadline_at
        behavior = self._unary if not self.method.gives_stream else self._streaming
        self.task = self.connection.loop.create_task(self._carried_out(behavior, request))

    def finish(self, ending: Ending) -> None:
        """Say how the call ended, once what is pending has left."""
        if self.closed or self._closing is not None:
            return
        block = heads.OK if ending is _OK else heads.ending(ending.code, ending.message, ending.metadata)
        if not self._opened:
            self._opened, block = True, heads.OPENING + block
        self._closing = block
        if self.due_at is None:  # nobody has to keep an answer for ever that its caller does not take
            self.due_at = self.connection.loop.time() + self.connection.limits.request_s
        self.pump()

    def pump(self) -> None:
        """Send of what is pending as much as the peer has room for."""
        connection = self.connection
        while self.pending and not self.closed:
            room = min(self.send_window, connection.send_window, connection.peer_frame_bytes, len(self.pending))
            if room <= 0:
                connection.wait_for_room(self)
                return
            self.send_window -= room
            connection.send_window -= room
            connection.write(frame(DATA, 0, self.stream, bytes(self.pending[:room])))
            del self.pending[:room]
        if self._closing is not None and not self.closed:
            connection.write(frame(HEADERS, _CLOSING_FLAGS, self.stream, self._closing))
            self.close()
        self._wake()

    def close(self) -> None:
        """Nothing leaves any more."""
        self.closed = True
        self.pending.clear()
        self._let_go()
        self.connection.left(self)
        self._wake()

    def cancel(self) -> None:
        """The caller is gone: end the work, and send nothing."""
        self.close()
        self._stop_work()

    def expire(self) -> None:
        """The caller's deadline has passed, or its request has not arrived in time."""
        if self._closing is None and not self.closed:
            self.refuse(Ending(grpc.StatusCode.DEADLINE_EXCEEDED.value[0], "no time is left for this call"))
        elif not self.closed:  # it has ended, and the peer does not take the answer
            self.connection.write(reset(self.stream, ErrorCode.CANCEL))
            self.cancel()

    def _wake(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _open(self, metadata: bytes = b"") -> None:
        if not self._opened and not self.closed:
            self._opened = True
            self.connection.write(frame(HEADERS, _OPENING_FLAGS, self.stream, heads.OPENING + metadata))

    def _send(self, message: bytes) -> None:
        if not self.closed:
            self.pending += b"\0" + len(message).to_bytes(4, "big") + message
            self.pump()

    async def _carried_out(self, behavior: Callable[[bytes | None], Awaitable[None]], request: bytes | None) -> None:
        self._begun = True
        try:
            await behavior(request)
        except grpc.aio.AbortError:
            self.finish(self._ending or Ending(grpc.StatusCode.UNKNOWN.value[0]))
        except asyncio.CancelledError:
            self.finish(self._ending or Ending(grpc.StatusCode.CANCELLED.value[0]))
        except Exception as bug:  # noqa: BLE001 - no exception's text may leave
            self.finish(Ending(grpc.StatusCode.UNKNOWN.value[0], f"a bug, with the id {log_unexpected_error(bug)}"))
        finally:
            self.task = None
            self.connection.ended(self)

    async def _unary(self, request: bytes | None) -> None:
        method = self.method
        answer = method.encode(await method.behavior(self._request(request), self))
        size = len(answer) + PREFIX_BYTES
        connection = self.connection
        if self._opened or size > min(self.send_window, connection.send_window, connection.peer_frame_bytes):
            self._open()
            self._send(answer)
            self.finish(_OK)
        elif not self.closed:  # nearly always: one piece, which the peer has room for
            self.send_window -= size
            connection.send_window -= size
            connection.write(
                frame(HEADERS, _OPENING_FLAGS, self.stream, heads.OPENING)
                + frame(DATA, 0, self.stream, b"\0" + len(answer).to_bytes(4, "big") + answer)
                + frame(HEADERS, _CLOSING_FLAGS, self.stream, heads.OK)
            )
            self.close()

    async def _streaming(self, request: bytes | None) -> None:
        answers = self.method.behavior(self._request(request), self)
        if not hasattr(answers, "__aiter__"):  # it writes by itself
            await answers
        else:
            async for answer in answers:
                await self.write(answer)
        self.finish(_OK)

    def _request(self, request: bytes | None) -> Any:
        return self._all_requests() if request is None else self.method.decode(request)

    async def _all_requests(self) -> AsyncIterator[Any]:
        while self._requests or not self.half_closed:
            if self._requests:
                request = self._requests.popleft()
                self._hold(-len(request) - PREFIX_BYTES - MESSAGE_BYTES)
                yield self.method.decode(request)
            else:
                self._drained = self.connection.loop.create_future()
                await self._drained

    # A request as it arrives.

    def arrived(self, data: bytes, *, last: bool) -> None:
        """Take a piece of the request; start the call once it is whole."""
        self.half_closed = last
        if last and not self.held and not self.method.takes_stream and _is_one_message(data):
            self.start(data[PREFIX_BYTES:])  # nearly always
            return
        self._buffer += data
        self._hold(len(data))
        if refusal := self._taken_apart():
            self.refuse(refusal)
        elif self.method.takes_stream:
            self._wake()
        elif last and len(self._requests) == 1 and not self._buffer:
            request = self._requests[0]
            self._let_go()
            self.start(request)
        elif last or len(self._requests) > 1:
            self.refuse(Ending(grpc.StatusCode.UNIMPLEMENTED.value[0], "a call of this method has exactly one message"))

    def refuse(self, ending: Ending) -> None:
        """End a call whose request cannot be taken, or is late; what it has begun ends too."""
        self._ending = ending
        self._let_go()
        if self.task is None:
            self.pending.clear()
            self.finish(ending)
        else:
            self._stop_work()

    def _taken_apart(self) -> Ending | None:
        """Take whole messages out of what has arrived; answers why it cannot be, where it cannot."""
        buffer = self._buffer
        while len(buffer) >= PREFIX_BYTES:
            length = int.from_bytes(buffer[1:PREFIX_BYTES], "big")
            if buffer[0]:
                return Ending(
                    grpc.StatusCode.UNIMPLEMENTED.value[0],
                    f"messages compressed with {self.head.encoding} are not taken",
                    (("grpc-accept-encoding", "identity"),),
                )
            if length > (most := self.connection.limits.message_bytes):
                return Ending(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], f"a message of {length} bytes, over {most}")
            if len(buffer) < PREFIX_BYTES + length:
                break
            self._requests.append(bytes(buffer[PREFIX_BYTES : PREFIX_BYTES + length]))
            self._hold(MESSAGE_BYTES)
            del buffer[: PREFIX_BYTES + length]
        if self.connection.held > self.connection.limits.held_bytes:
            return Ending(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], "too many large requests at once")
        return None

    def _stop_work(self) -> None:
        if self.task is None or self._stopped:  # once: what cleans up behind it is not to be cut off too
            return
        self._stopped = True
        self.task.cancel()
        if not self._begun:  # it never will, and so not tell its end
            self.task = None
            self.finish(self._ending or Ending(grpc.StatusCode.CANCELLED.value[0]))
            self.connection.ended(self)

    def _hold(self, more: int) -> None:
        self.held += more
        self.connection.held += more

    def _let_go(self) -> None:
        self._hold(-self.held)
        self._buffer.clear()
        self._requests.clear()


def _is_one_message(data: bytes) -> bool:
    return data[:1] == b"\0" and int.from_bytes(data[1:PREFIX_BYTES], "big") == len(data) - PREFIX_BYTES
