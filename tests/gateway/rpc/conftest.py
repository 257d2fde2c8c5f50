"""Fixtures of the gRPC tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.config import GrpcServerKind
from gateway.rpc import deadline
from gateway.server import gateway
from gateway.sessions import close_service
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


@pytest.fixture
def wide_margins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway answers a second before a deadline: on a busy machine too, before the caller's own timer."""
    monkeypatch.setattr(close_service, "WORK_MARGIN_S", 1.2)
    for module in (close_service, deadline):
        monkeypatch.setattr(module, "ANSWER_MARGIN_S", 1.0)
