"""Fixtures of the telemetry tests."""

import gc
import io
import logging
from collections.abc import Iterator

import pytest
import structlog

from adapters.contract import Secret
from gateway.telemetry import logs
from tests.gateway.telemetry.harness import SECRET, LogLines, lines_of


@pytest.fixture
def log_lines() -> Iterator[LogLines]:
    """The log of a gateway that masks SECRET. Logging is restored afterwards."""
    root, access = logging.getLogger(), logging.getLogger("aiohttp.access")
    before = (root.handlers[:], root.level, access.level)
    gc.collect()  # asyncio logs what an earlier test has left, when that is collected
    stream = io.StringIO()
    logs.configure("info", (Secret(SECRET),), stream)
    yield lambda: lines_of(stream)
    logs.flush()
    root.handlers[:], level, access_level = before
    root.setLevel(level)
    access.setLevel(access_level)
    structlog.reset_defaults()
