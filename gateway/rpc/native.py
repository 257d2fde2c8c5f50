"""pygrpc-native as the gRPC server, from the extra `native`: HTTP/2 in Rust, outside the interpreter lock."""

import asyncio
from typing import Any

from pygrpc_native import STREAM_CLOSED, STREAM_FULL
from pygrpc_native.aio import Server

FIRST_WAIT_S, MAX_WAIT_S = 0.001, 0.25
"""Between attempts to send to a subscriber that does not read: each wait is twice the one before, up to the second."""


class NativeServer(Server):
    """The library's server, except that a subscriber that does not read holds no thread.

    The library waits for such a subscriber on a thread of the loop's executor. A few of them take all its threads:
    then no name is resolved any more, and `stop` does not return.
    """

    async def _send(self, call: Any, context: Any, response: Any) -> bool:
        """Send one message of a stream, as the library's own method does. False where the stream has ended."""
        data = self._encode(call, context, response)
        if data is None or self._front is None:
            return False
        context._initial_sent = True  # noqa: SLF001 - the library's own state, which its method sets here
        wait_s = FIRST_WAIT_S
        while (sent := self._front.stream_try_send(call.call_id, data)) == STREAM_FULL:
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, MAX_WAIT_S)
        return sent != STREAM_CLOSED
