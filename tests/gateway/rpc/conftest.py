"""Fixtures of the gRPC tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.config import GrpcServerKind
from gateway.server import gateway
from tests.gateway.rpc.harness import RpcHarness, rpc_harness


@pytest.fixture(params=list(GrpcServerKind))
async def harness(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[RpcHarness]:
    """The harness with each of the two gRPC servers."""
    async with rpc_harness(tmp_path, request.param) as harness:
        yield harness


@pytest.fixture
def long_stop_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that waits for its whole grace fails the test's timeout, on a busy machine too."""
    monkeypatch.setattr(gateway, "STOP_GRACE_S", 600.0)
