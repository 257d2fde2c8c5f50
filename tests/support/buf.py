"""`buf curl`, as an operator without the proto files calls the gateway."""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Printed:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


async def buf_curl(url: str, *arguments: str) -> Printed:
    """Call with `buf curl` over plain HTTP/2."""
    buf = Path(sys.executable).with_name("buf")
    process = await asyncio.create_subprocess_exec(
        buf,
        "curl",
        "--http2-prior-knowledge",
        "--protocol",
        "grpc",
        *arguments,
        url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return Printed(process.returncode or 0, out.decode(), err.decode())
