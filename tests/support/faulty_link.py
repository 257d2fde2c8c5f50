"""One connection of a caller to a provider, on which faults are injected, and what arrives is counted.

Raw sockets, for it must know what has arrived, read or not, and must be able to end a connection in any manner.
"""

import asyncio
import re
import socket
import struct
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.support.faults import (
    Fault,
    Hang,
    Huge,
    KeepAliveRace,
    Latency,
    ReplacedAnswer,
    Reset,
    ResetPoint,
    SlowAnswer,
    Truncate,
    WrongType,
)

MARKER = re.compile(rb"call-[0-9a-z]+(?:-[0-9]+)?")
"""What a caller puts into its user_id and session_id, so that its request is known whatever the dialect."""

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TYPE = re.compile(rb"(?<=\r\n)content-type:[^\r]*", re.IGNORECASE)
_AT_ONCE = 65536
_RESETTING = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Receipt:
    """What the provider really got of one call, in as many requests as were made for it."""

    started: int = 0
    """Requests of which anything arrived at all."""
    complete: int = 0
    executed: int = 0
    """Requests that the provider answered, whether or not the answer was passed on."""
    answered: int = 0
    """Requests whose answer was passed on, whole and as the provider gave it."""


@dataclass
class ReceivedRequests:
    """What the provider really got."""

    receipts: defaultdict[str, Receipt] = field(default_factory=lambda: defaultdict(Receipt))
    """By the call's marker; '' holds what arrived without one, such as the first bytes of a request."""
    paths: Counter[str] = field(default_factory=Counter)
    """Of whole requests."""
    begun: int = 0
    """Requests of which anything arrived."""

    def clear(self) -> None:
        """Reset all counts."""
        self.receipts.clear()
        self.paths.clear()
        self.begun = 0

    def arrived(self, data: bytes) -> Receipt:
        """Something of a request has arrived, these its first bytes. Answers the call's receipt."""
        self.begun += 1
        receipt = self.receipts[marker_of(data)]
        receipt.started += 1
        return receipt

    def arrived_whole(self, request: bytes) -> Receipt:
        """A request has arrived, all of it."""
        receipt = self.arrived(request)
        receipt.complete += 1
        self.paths[request.split(b" ", 2)[1].decode("latin-1")] += 1
        return receipt


class CallerDisconnected(Exception):
    """The caller ended the connection."""


@dataclass(frozen=True)
class ProxySettings:
    """What all connections to one provider share."""

    provider: tuple[str, int]
    ledger: ReceivedRequests
    fault: Callable[[], Fault | None]
    """The fault of a request that begins to arrive now."""
    asking: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
    """Has the provider asked, which outlives the connection."""


class ProxyConnection:
    """One connection of a caller's, and the one to the provider that serves it."""

    task: asyncio.Task[None] | None = None
    """What serves it."""

    def __init__(self, line: ProxySettings, caller: socket.socket, on_end: "Callable[[ProxyConnection], None]") -> None:
        caller.setblocking(False)
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._line = line
        self._on_end = on_end
        self._caller = caller
        self._provider: socket.socket | None = None
        self._asking: asyncio.Task[None] | None = None
        self._answer_given = b""
        self._answered = False
        self._resetting = False

    async def serve(self) -> None:
        """Take requests, one after the other, until either side ends the connection."""
        try:
            while await self._exchange():
                pass
        except (CallerDisconnected, OSError):
            pass  # callers do
        finally:
            self._end()

    def reset(self) -> None:
        """End it with a RST. What has arrived and was not read counts as arrived."""
        self._resetting = True
        if self.task is None:
            self._end()
        else:
            self.task.cancel()

    def _end(self) -> None:
        if self._resetting:
            self._caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESETTING)
            unread = self._peek()  # at the last moment: what came behind it would not be counted
            self._caller.close()
            if unread:
                self._line.ledger.arrived(unread)
        else:
            self._caller.close()
        self._on_end(self)
        if self._asking is not None:  # the provider executes it all the same
            self._asking.add_done_callback(lambda _: self._leave_provider())
        else:
            self._leave_provider()

    def _leave_provider(self) -> None:
        if self._provider is not None:
            self._provider.close()

    def _peek(self) -> bytes:
        """What has arrived and was not read; nothing where the connection has ended too."""
        with suppress(BlockingIOError, ConnectionError):
            return self._caller.recv(_AT_ONCE, socket.MSG_PEEK)
        return b""

    # --- one request --------------------------------------------------------------------------------------------------

    async def _exchange(self) -> bool:
        """Answers whether another request may follow. Raises HungUp."""
        await self._arrival()
        match fault := self._line.fault():
            case Reset(ResetPoint.BEFORE):
                return self._reset_here()
            case Reset(ResetPoint.DURING):
                return self._reset_here(read=len(self._peek()) // 2)
            case KeepAliveRace(seen=True) if self._answered:
                return self._reset_here()
        request, receipt = await self._receive()
        match fault:
            case Hang(executed=False):
                await self._hang()
            case ReplacedAnswer(answer=answer, executed=False):
                await self._send(answer)
            case Huge(size):
                return await self._flood(size)
            case _:
                self._asking = self._line.asking(self._ask(request, receipt))
                await asyncio.shield(self._asking)
                self._asking = None
                return await self._pass_on(self._answer_given, fault, receipt)
        return True

    async def _arrival(self) -> None:
        """Wait until something of a request is there. Raises HungUp."""
        fault = self._line.fault()
        timeout_s = fault.pause() if isinstance(fault, KeepAliveRace) and not fault.seen and self._answered else None
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await _readable(self._caller)
        if not self._peek():
            raise CallerDisconnected

    def _reset_here(self, read: int = 0) -> bool:
        """Lose the connection with `read` bytes of the request read: it has begun, and is not complete."""
        self._line.ledger.arrived(self._peek())
        if read:
            self._caller.recv(read)
        self._caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESETTING)
        return False

    async def _receive(self) -> tuple[bytes, Receipt]:
        data = b""
        while (length := _length(data)) is None or len(data) < length:
            if not (more := await asyncio.get_running_loop().sock_recv(self._caller, _AT_ONCE)):
                self._line.ledger.arrived(data)
                raise CallerDisconnected
            data += more
        return data, self._line.ledger.arrived_whole(data)

    async def _ask(self, request: bytes, receipt: Receipt) -> None:
        """Have the provider carry it out, to the end, whatever becomes of the caller."""
        loop = asyncio.get_running_loop()
        if self._provider is None:
            self._provider = socket.socket()
            self._provider.setblocking(False)
            await loop.sock_connect(self._provider, self._line.provider)
        await loop.sock_sendall(self._provider, request)
        data = b""
        while (length := _length(data)) is None or len(data) < length:
            more = await loop.sock_recv(self._provider, _AT_ONCE)
            assert more, "the provider behind the proxy broke off"
            data += more
        receipt.executed += 1
        self._answer_given = data

    # --- its answer ---------------------------------------------------------------------------------------------------

    async def _pass_on(self, answer: bytes, fault: Fault | None, receipt: Receipt) -> bool:
        """Answers whether another request may follow."""
        body = answer.index(_END) + len(_END)
        match fault:
            case Hang():
                await self._hang()
            case Reset():
                self._caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESETTING)
                return False
            case Truncate():
                await self._send(answer[: (body + len(answer)) // 2])
                return False
            case ReplacedAnswer(answer=another):
                await self._send(another)
                return True
            case SlowAnswer(head, interval_s):
                await self._drip(answer, 0 if head else body, interval_s)
            case WrongType():
                await self._send(_TYPE.sub(b"Content-Type: image/png", answer, count=1))
            case _:
                if isinstance(fault, Latency):
                    await asyncio.sleep(fault.seconds)
                await self._send(answer)
        receipt.answered += 1
        return True

    async def _send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._caller, data)
        self._answered = True

    async def _drip(self, answer: bytes, at: int, interval_s: float) -> None:
        await self._send(answer[:at])
        for position in range(at, len(answer)):
            await asyncio.sleep(interval_s)
            await self._send(answer[position : position + 1])

    async def _flood(self, size: int) -> bool:
        await self._send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")
        chunk = b" " * _AT_ONCE
        for sent in range(0, size, _AT_ONCE):
            await self._send(chunk[: size - sent])
        return False

    async def _hang(self) -> None:
        while await asyncio.get_running_loop().sock_recv(self._caller, _AT_ONCE):
            pass
        raise CallerDisconnected


def marker_of(data: bytes) -> str:
    """The call that a request is of; '' without a marker."""
    found = MARKER.search(data)
    return found[0].decode() if found else ""


def _length(data: bytes) -> int | None:
    """Of the whole message, head and body; None as long as its head is not there."""
    head = data.find(_END)
    if head < 0:
        return None
    length = _LENGTH.search(data, 0, head + 2)
    return head + len(_END) + (int(length[1]) if length else 0)


async def _readable(sock: socket.socket) -> None:
    """Wait until there is something to read, its end included, and read nothing."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(sock.fileno(), wake)
    try:
        await ready
    finally:
        if sock.fileno() >= 0:
            loop.remove_reader(sock.fileno())
