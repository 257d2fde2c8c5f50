"""What the tests of this room stand on."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from adapters.contract import Secret
from gateway.telemetry import logs
from tests.gateway.telemetry.lines import SECRET, Lines


@pytest.fixture
def written() -> Iterator[Lines]:
    """The log as configured for a gateway that knows SECRET; the process's own logging is put back afterwards."""
    root, access = logging.getLogger(), logging.getLogger("aiohttp.access")
    before = (root.handlers[:], root.level, access.level)
    stream = io.StringIO()
    logs.configure("info", (Secret(SECRET),), stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:], level, access_level = before
    root.setLevel(level)
    access.setLevel(access_level)
    structlog.reset_defaults()
