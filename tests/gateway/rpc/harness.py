"""A gateway with providers of each dialect, and one scripted provider that answers for them."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.config import GrpcServerKind
from gateway.v1 import session_service_pb2 as pb
from tests.support.gateway import RpcFailure, Running, failure_of, family_table, provider_table, running_gateway
from tests.support.provider import ScriptedProvider, scripted_provider


@dataclass(frozen=True)
class RpcHarness:
    """The gateway, and the provider that answers for `lucky`, `kyren` and `eliab`; nothing answers for `dead`."""

    gateway: Running
    provider: ScriptedProvider

    async def fails(self, timeout_s: float = 30, **fields: Any) -> RpcFailure:
        """Call CloseSession, which must fail. Returns the failure."""
        fields = {"provider": "lucky", "user_id": "tester", **fields}
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await self.gateway.sessions.CloseSession(pb.CloseSessionRequest(**fields), timeout=timeout_s)
        return failure_of(raised.value)


@asynccontextmanager
async def rpc_harness(
    folder: Path, server: GrpcServerKind = GrpcServerKind.GRPCIO, grpc: str = ""
) -> AsyncIterator[RpcHarness]:
    """Start a gateway in this folder, and stop it. `grpc` holds more lines of that section."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        dead = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with scripted_provider() as provider:
            sections = (
                family_table("lucky", "luckymonaco", provider.base_url),
                family_table("kyren", "kyren", provider.base_url),
                provider_table("eliab", "eliab", provider.base_url),
                family_table("dead", "kyren", dead),
                family_table("private", "kyren", "http://localhost:9", allow_private_addresses="false"),
            )
            lines = f'server = "{server}"\n{grpc}'
            async with running_gateway(folder, *sections, grpc=lines) as gateway:
                yield RpcHarness(gateway, provider)


async def settled(value: Callable[[], int]) -> int:
    """Wait until a counter has not changed for a while. Returns it."""
    before = None
    while before != (current := value()):
        before = current
        await asyncio.sleep(0.3)
    return current


def replace_close(gateway: Running, **functions: Any) -> None:
    """Replace the encoder or the decoder of CloseSession in the adapter of `lucky`."""
    providers = gateway.gateway.providers
    lucky = providers["lucky"]
    assert lucky.adapter.close_session is not None
    adapter = replace(lucky.adapter, close_session=replace(lucky.adapter.close_session, **functions))
    providers.replace({**providers, "lucky": replace(lucky, adapter=adapter)})
