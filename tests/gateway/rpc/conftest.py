"""What the tests of this room stand on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.config import GrpcServerKind
from tests.gateway.rpc.harness import RpcHarness, rpc_harness


@pytest.fixture(params=list(GrpcServerKind))
async def harness(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[RpcHarness]:
    """What callers are told is the same, whatever speaks gRPC."""
    async with rpc_harness(tmp_path, request.param) as harness:
        yield harness
