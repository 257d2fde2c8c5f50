"""A gateway with scripted providers, and the closes that the tests send to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest

from adapters.contract import CloseSession
from gateway.outbound.admission import AdmissionControl
from gateway.sessions.close_execution import CloseExecution
from gateway.sessions.close_service import CloseService
from gateway.sessions.errors import GatewayError
from gateway.store.base import Store
from gateway.v1 import session_service_pb2 as pb
from tests.support.actors import ADA
from tests.support.gateway import RpcFailure, Running, failure_of, family_table, provider_table, running_gateway
from tests.support.provider import ScriptedProvider, scripted_provider
from tests.support.waiting import until

THREE_ATTEMPTS = "{ attempts = 3, backoff_s = 0.01 }"
REFUSED = b'{"error":56}'


def close_request(provider: str = "lucky", request_id: str = "", **more: object) -> pb.CloseSessionRequest:
    """A close with a new request_id where none is given."""
    fields = {"request_id": request_id or str(uuid4()), "provider": provider, "user_id": "u", **more}
    return pb.CloseSessionRequest(**fields)  # type: ignore[arg-type]


@dataclass(frozen=True)
class CloseHarness:
    """A running gateway whose providers are all served by one scripted provider."""

    gateway: Running
    provider: ScriptedProvider

    @property
    def service(self) -> CloseService:
        return self.gateway.gateway.close_service

    @property
    def store(self) -> Store:
        return self.gateway.store

    @property
    def admission(self) -> AdmissionControl:
        return self.gateway.gateway.providers["lucky"].admission

    def call(
        self, request: pb.CloseSessionRequest, timeout_s: float | None = 30
    ) -> "grpc.aio.UnaryUnaryCall[pb.CloseSessionRequest, pb.CloseSessionResponse]":
        """Start a call, which can be awaited or cancelled."""
        return self.gateway.sessions.CloseSession(request, timeout=timeout_s)

    def start(
        self, request: pb.CloseSessionRequest, timeout_s: float = 30
    ) -> "asyncio.Future[pb.CloseSessionResponse]":
        """Make a call in a task."""
        return asyncio.ensure_future(self.call(request, timeout_s))

    async def fails(self, request: pb.CloseSessionRequest, timeout_s: float | None = 30) -> RpcFailure:
        """The failure of a call."""
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await self.call(request, timeout_s)
        return failure_of(raised.value)

    async def fails_by(self, request: pb.CloseSessionRequest, timeout_s: float) -> GatewayError:
        """The failure of a call with a short deadline, made in this process: over gRPC the caller's timer may win."""
        deadline_at = asyncio.get_running_loop().time() + timeout_s
        with pytest.raises(GatewayError) as raised:
            await self.service.close(
                request.request_id, request.provider, CloseSession(request.user_id), request.reason, deadline_at, ADA
            )
        return raised.value

    async def fails_recorded(self, request: pb.CloseSessionRequest, timeout_s: float = 30) -> RpcFailure:
        """The failure of a call, once it is recorded too: the caller receives it first."""
        failure = await self.fails(request, timeout_s)
        await self.service.drain()
        return failure

    async def execution(self, request: pb.CloseSessionRequest) -> CloseExecution:
        """The execution of a call, as soon as it is in progress."""
        await until(lambda: self.service.find(request.request_id))
        execution = self.service.find(request.request_id)
        assert execution is not None
        return execution

    async def recorded(self, request: pb.CloseSessionRequest) -> bool:
        """Whether an exchange of the request is in the journal."""
        return bool(await self.store.exchanges(request_id=request.request_id))

    async def call_and_cancel(
        self, request: pb.CloseSessionRequest, when: Callable[[], Awaitable[object]], timeout_s: float = 30
    ) -> None:
        """Call, and cancel the call after `when`. Returns once the gateway has noticed."""
        calling = self.call(request, timeout_s)
        await when()
        execution = await self.execution(request)
        calling.cancel()
        await until(lambda: not execution.waiters)

    def replace_close_call(self, **changes: Any) -> None:
        """Change the adapter's description of a close."""
        providers = self.gateway.gateway.providers
        adapter = providers["lucky"].adapter
        assert adapter.close_session is not None
        changed = replace(adapter, close_session=replace(adapter.close_session, **changes))
        providers.replace({**providers, "lucky": replace(providers["lucky"], adapter=changed)})


def provider_tables(provider: ScriptedProvider, **lucky: str) -> tuple[str, ...]:
    """The configuration of the providers; `lucky` adds keys to that provider's table."""
    return (
        family_table("lucky", "luckymonaco", provider.base_url, **lucky),
        family_table("other", "luckymonaco", provider.base_url),
        provider_table("eliab", "eliab", provider.base_url),
    )


@asynccontextmanager
async def close_harness(folder: Path, *, grpc: str = "", store: str = "", **lucky: str) -> AsyncIterator[CloseHarness]:
    """Start a provider and a gateway; `lucky` adds keys to that provider's table."""
    async with (
        scripted_provider() as provider,
        running_gateway(folder, *provider_tables(provider, **lucky), grpc=grpc, store=store) as gateway,
    ):
        yield CloseHarness(gateway, provider)
