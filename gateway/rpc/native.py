"""The gRPC server of pygrpc-native 0.5, from the extra `native`: HTTP/2 in Rust, outside the interpreter lock."""

import asyncio
from typing import Any

from pygrpc_native import STREAM_CLOSED, STREAM_FULL
from pygrpc_native.aio import Server

from gateway.rpc.limits import FLUSH_S

MIN_RETRY_DELAY_S, MAX_RETRY_DELAY_S = 0.001, 0.25
"""Between attempts to send to a client that does not read. The delay doubles with each attempt."""


class NativeServer(Server):
    """The library's server without two of its faults. Each override names the fault that it works around."""

    async def stop(self, grace: float | None) -> None:
        """Fault: the library disconnects before its threads have sent the last answers."""
        await asyncio.sleep(FLUSH_S)
        await super().stop(grace)

    async def _send(self, call: Any, context: Any, response: Any) -> bool:
        """Send one message of a stream; False where the stream has ended.

        Fault: for a client that does not read, the library waits on a thread of the loop's executor. A few such clients
        occupy all threads: then no host name is resolved any more, and `stop` does not return. This one waits on the
        event loop. The library has no public hook for it. Except for the waiting, this does what its own `_send` does:
        `_encode` serializes the message, `_front` is the Rust side, and `_initial_sent` notes that headers are sent.
        """
        data = self._encode(call, context, response)
        if data is None or self._front is None:
            return False
        context._initial_sent = True  # noqa: SLF001 - there is no public setter
        delay_s = MIN_RETRY_DELAY_S
        while (sent := self._front.stream_try_send(call.call_id, data)) == STREAM_FULL:
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, MAX_RETRY_DELAY_S)
        return sent != STREAM_CLOSED
