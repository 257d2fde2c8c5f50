"""A provider that closes whatever it is asked to, as fast as Python can: its own time must not be what is measured."""

import asyncio
import re
from typing import cast

import uvloop

BODY = b'{"error":0,"description":"Success"}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
REFUSAL = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb'POST /V4/CloseSession HTTP/1\.1\r\n.*\r\n\r\n\{.*"userId": ?"player-.*\}\Z', re.DOTALL)


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop has another class

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        data = self._received + data
        while (head := data.find(_END)) >= 0:
            length = _LENGTH.search(data, 0, head)
            end = head + len(_END) + (int(length[1]) if length else 0)
            if len(data) < end:
                break
            self._transport.write(ANSWER if _CLOSE.match(data[:end]) else REFUSAL)
            data = data[end:]
        self._received = data


async def main() -> None:
    """Serve on a free port until killed."""
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0)
    print(f'{{"http": "127.0.0.1:{server.sockets[0].getsockname()[1]}"}}', flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
