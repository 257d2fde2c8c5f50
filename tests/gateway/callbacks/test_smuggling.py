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
SENT = corpus(MONACO.path("SessionExpired"), BODY)


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
