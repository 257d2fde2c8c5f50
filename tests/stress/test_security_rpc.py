"""Attacks on the gRPC listener and on the probes, small: what is answered, and memory. The wall clock is not judged."""

from pathlib import Path

import pytest

from gateway.config import GrpcServerKind
from tests.stress.figures import failures
from tests.stress.http2_attacks import Attack
from tests.stress.processes import Engine, StressEnvironment
from tests.stress.security_rpc import attacked_gateway, junk, silent_probes, unfinished_requests


@pytest.fixture
def environment(tmp_path: Path) -> StressEnvironment:
    return StressEnvironment(Engine.SQLITE, tmp_path)


@pytest.mark.parametrize("kind", list(GrpcServerKind))
async def test_junk_takes_no_memory(environment: StressEnvironment, kind: GrpcServerKind) -> None:
    """/healthz is answered during each kind of junk, and the gateway stops in order afterwards."""
    async with attacked_gateway(environment, kind) as gateway:
        for attack in Attack:
            assert not failures((await junk(gateway, attack, 100_000)).figures())


async def test_unfinished_requests_take_little_memory(environment: StressEnvironment) -> None:
    """Requests of 1 MB without their end, of which grpcio holds no more than its window."""
    async with attacked_gateway(environment, GrpcServerKind.GRPCIO) as gateway:
        assert not failures((await unfinished_requests(gateway, 16, 16, seconds=1)).figures())


async def test_silent_connections_keep_no_probe_out(environment: StressEnvironment) -> None:
    """More of them than the admin listener has places."""
    async with attacked_gateway(environment, GrpcServerKind.GRPCIO) as gateway:
        assert not failures((await silent_probes(gateway, 300, 1)).figures())
