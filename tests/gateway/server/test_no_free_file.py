"""A gateway at its limit of open files, as a process."""

import json
import resource
from pathlib import Path

import aiohttp
import grpc
import pytest

from gateway.v1.session_service_pb2 import CloseSessionRequest, ListProvidersRequest
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from tests.support.gateway import configuration, family_table
from tests.support.process import Serving, serving
from tests.support.provider import answering, scripted_provider
from tests.support.results import result_body

CALLS = 60
"""More than a circuit breaker needs to open."""


def allow(gateway: Serving, files: int) -> None:
    """Set the process's soft limit; the hard one stays."""
    pid = gateway.process.pid
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (files, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))


def first_free_file(gateway: Serving) -> int:
    """The number that its next file would have."""
    open_files = {int(file.name) for file in Path(f"/proc/{gateway.process.pid}/fd").iterdir()}
    return next(number for number in range(10_000) if number not in open_files)


def lines(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


async def test_a_gateway_without_a_free_file_blames_no_provider(tmp_path: Path) -> None:
    """Closes are GATEWAY_BUSY and NOT_SENT, open connections are served, and all is well once files are free."""
    async with scripted_provider() as provider:
        provider.behaviour = answering()
        config = configuration(tmp_path, family_table("lucky", "luckymonaco", provider.base_url))
        async with (
            serving(config) as gateway,
            grpc.aio.insecure_channel(gateway.ready_message["grpc"]) as channel,
            aiohttp.ClientSession() as http,
        ):
            sessions = SessionServiceStub(channel)
            await sessions.ListProviders(ListProvidersRequest())
            await gateway.open_account()
            assert (await gateway.deliver(http, result_body("r1")))["error"] == 0
            limits = resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE)
            allow(gateway, first_free_file(gateway))
            for _ in range(CALLS):
                with pytest.raises(grpc.aio.AioRpcError) as failed:
                    await sessions.CloseSession(CloseSessionRequest(provider="lucky", user_id="421"), timeout=10)
                assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert "this host is short of open files" in (failed.value.details() or "")
            assert (await gateway.deliver(http, result_body("r2")))["error"] == 0
            allow(gateway, limits[0])
            await sessions.CloseSession(CloseSessionRequest(provider="lucky", user_id="421"), timeout=10)
            await gateway.stop()
    logged = [line for line in lines(tmp_path / "gateway.log") if line["event"] == "this host is short of a resource"]
    assert len(logged) == 1
    assert "open files" in str(logged[0]["resource"])
