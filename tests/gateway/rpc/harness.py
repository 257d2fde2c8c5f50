"""A gateway whose providers are all one, which does as it is told; and one that nobody answers for."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.config import GrpcServerKind
from gateway.v1 import session_service_pb2 as pb
from tests.support.gateway import Running, Told, family_table, provider_table, running_gateway, told
from tests.support.provider import (
    ScriptedProvider,
    scripted_provider,
)


@dataclass(frozen=True)
class Scene:
    """A gateway and the one provider behind all of its configured ones."""

    gateway: Running
    provider: ScriptedProvider

    async def fails(self, timeout_s: float = 5, **fields: Any) -> Told:
        """Call CloseSession, which must fail."""
        fields = {"provider": "lucky", "user_id": "tester", **fields}
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await self.gateway.sessions.CloseSession(pb.CloseSessionRequest(**fields), timeout=timeout_s)
        return told(raised.value)


@asynccontextmanager
async def a_scene(folder: Path, server: GrpcServerKind = GrpcServerKind.GRPCIO, grpc: str = "") -> AsyncIterator[Scene]:
    """Set it up in this folder, and take it down; `grpc` holds more lines of that section."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: whoever connects is refused
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
                yield Scene(gateway, provider)
