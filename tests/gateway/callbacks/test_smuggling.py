"""Requests that two servers could read differently are answered once at most, and the connection is closed."""

import asyncio
import json
import logging
import re
from pathlib import Path

import pytest
import structlog

from tests.gateway.callbacks.harness import EXPIRED, MONACO, HarnessOptions, open_harness
from tests.support.smuggling import corpus

BODY = json.dumps(EXPIRED).encode()
PATH = MONACO.path("SessionExpired")
SENT = corpus(PATH, BODY)
CLOSED_AFTER = {
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    "upgrade": b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY),
}
"""Complete requests, with nothing behind them."""


@pytest.mark.parametrize("name", SENT)
async def test_a_smuggled_request_is_not_read(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """At most one answer, never 5xx, then closed; no line with a traceback, and at most one callback recorded."""
    with structlog.testing.capture_logs() as logged:
        async with open_harness(tmp_path, HarnessOptions(time_limit_s=0.3)) as harness, asyncio.timeout(30):
            answer = await harness.raw(SENT[name])
            assert len(await harness.journal()) <= 1
    answers = re.findall(rb"HTTP/1\.[01] ([0-9]{3})", answer)
    assert answers in ([], [b"200"], [b"400"], [b"404"])
    assert not [line for line in logged if line["event"] == "gateway error" or "exc_info" in line]
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]


@pytest.mark.parametrize("name", CLOSED_AFTER)
async def test_a_request_whose_end_can_be_read_differently_is_the_last(tmp_path: Path, name: str) -> None:
    """What arrives after its answer is not read as a request."""
    async with open_harness(tmp_path) as harness, harness.connect() as (reader, writer), asyncio.timeout(30):
        writer.write(b"POST %b HTTP/1.1\r\nHost: x\r\n" % PATH.encode() + CLOSED_AFTER[name])
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"Connection: close\r\n" in answer
        await reader.read()
        assert len(await harness.journal()) == 1


async def test_a_target_with_a_host_is_not_found(tmp_path: Path) -> None:
    """A proxy's form of a target, with a right key behind the host, is answered 404."""
    request = b"POST http://gateway%b HTTP/1.1\r\nHost: gateway\r\nContent-Length: %d\r\n\r\n%b"
    async with open_harness(tmp_path) as harness, asyncio.timeout(30):
        assert (await harness.raw(request % (PATH.encode(), len(BODY), BODY))).startswith(b"HTTP/1.1 404 ")
        assert await harness.journal() == []
