"""Executes a fault on one connection of the simulator's server."""

import asyncio
import contextlib
import socket
import struct

from aiohttp import web

from adapters.contract import HttpReply
from gateway.simulation.delivery import headers_to_send
from gateway.simulation.faults import Drip, Fault, Garbage, Hang, Huge, Redirect, Reset, ResetPoint, Slow, Status

_CHUNK = b" " * 65536


def fault_reply(fault: Fault | None) -> HttpReply | None:
    """The reply of a fault that the simulator does not process; None if there is none, or none worth keeping."""
    text = (("Content-Type", "text/plain"),)
    match fault:
        case Status(status):
            return HttpReply(status, text, f"simulated HTTP status {status}".encode())
        case Garbage(on_wire=False):
            return HttpReply(200, (("Content-Type", "application/json"),), b'\x00\xff{"not": any dialect')
        case Redirect(location):
            return HttpReply(307, (*text, ("Location", location)))
        case _:
            return None


async def respond(
    request: web.Request, reply: HttpReply | None, fault: Fault | None, stopping: asyncio.Event
) -> web.StreamResponse:
    """Send the reply in the manner of the fault. All waits end when `stopping` is set."""
    match fault:
        case Hang():
            await stopping.wait()
        case Garbage(on_wire=True):
            return _not_http(request)
        case Huge(size):
            return await _flood(request, size)
        case Reset(ResetPoint.MIDWAY) if reply is not None:
            return await _cut(request, reply)
        case Drip(interval_s) if reply is not None:
            return await _drip(request, reply, interval_s, stopping)
        case Slow(delay_s):
            await _pause(delay_s, stopping)
        case _:
            pass
    if reply is None or isinstance(fault, Reset):
        return reset(request)
    return web.Response(status=reply.status, headers=headers_to_send(reply), body=reply.body)


def reset(request: web.Request) -> web.StreamResponse:
    """Reset the connection."""
    transport = request.transport
    if transport is not None:
        # With a linger time of 0 the system sends RST, not FIN.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return _unsent()


def _unsent() -> web.StreamResponse:
    """A response that aiohttp requires and drops, because the connection is closed."""
    return web.Response()


def _not_http(request: web.Request) -> web.StreamResponse:
    transport = request.transport
    if transport is not None:
        transport.write(b"\x00\xff this is not HTTP\r\n\r\n")
        transport.close()
    return _unsent()


async def _flood(request: web.Request, size: int) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    with contextlib.suppress(ConnectionResetError):  # a client that limits what it reads closes early
        await response.prepare(request)
        for sent in range(0, size, len(_CHUNK)):
            await response.write(_CHUNK[: size - sent])
    return response


async def _cut(request: web.Request, reply: HttpReply) -> web.StreamResponse:
    response = await _begin(request, reply, announced=len(reply.body) + 1)
    await response.write(reply.body[: len(reply.body) // 2])
    # Close, not reset: a reset could discard what was sent.
    if request.transport is not None:
        request.transport.close()
    return response


async def _drip(
    request: web.Request, reply: HttpReply, interval_s: float, stopping: asyncio.Event
) -> web.StreamResponse:
    with contextlib.suppress(ConnectionResetError):
        response = await _begin(request, reply, announced=len(reply.body))
        for position in range(len(reply.body)):
            await _pause(interval_s, stopping)
            if stopping.is_set():
                return reset(request)
            await response.write(reply.body[position : position + 1])
        return response
    return _unsent()


async def _begin(request: web.Request, reply: HttpReply, announced: int) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, headers=headers_to_send(reply))
    response.content_length = announced
    await response.prepare(request)
    return response


async def _pause(seconds: float, stopping: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), seconds)
