"""A gateway with traffic: closes that succeed, are retried, hang and fail, and callbacks of each kind."""

import asyncio
import io
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
from aiohttp import web
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from gateway.config import GrpcServerKind
from gateway.telemetry import logs
from gateway.v1 import session_service_pb2 as pb
from gateway.v1.wallet_service_pb2 import OpenAccountRequest
from tests.support.gateway import Running, family_table, locked, provider_table, running_gateway
from tests.support.provider import Behaviour, ScriptedProvider, answering, hanging, scripted_provider
from tests.support.results import RESULT, result_body

PROVIDER = "lucky"

SECRET = "hunter22-and-more"
"""A value that the log masks."""

LogLines = Callable[[], list[dict[str, Any]]]
"""Returns all log lines so far."""


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    """The lines that were logged to a stream, without the fields that say which process wrote them."""
    assert logs.flush()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    for line in lines:
        assert (line.pop("host"), line.pop("pid")) == (socket.gethostname(), os.getpid())
    return lines


def first_then(first: Behaviour, then: Behaviour) -> Behaviour:
    """Behave as `first` for one request, and as `then` for all later ones."""
    remaining = [first]

    async def behave(request: web.Request) -> web.StreamResponse:
        return await (remaining.pop() if remaining else then)(request)

    return behave


@dataclass(frozen=True)
class TelemetryHarness:
    """The gateway and its provider."""

    gateway: Running
    provider: ScriptedProvider

    async def close(
        self, request_id: str = "", timeout_s: float = 30, metadata: Sequence[tuple[str, str]] = (), **fields: Any
    ) -> grpc.StatusCode:
        """Call CloseSession. Returns the status code."""
        fields = {"provider": PROVIDER, "user_id": "421", **fields}
        request = pb.CloseSessionRequest(request_id=request_id or str(uuid4()), **fields)
        try:
            await self.gateway.sessions.CloseSession(request, timeout=timeout_s, metadata=tuple(metadata))
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    async def close_in_two_attempts(
        self, request_id: str = "", metadata: Sequence[tuple[str, str]] = ()
    ) -> grpc.StatusCode:
        """Call CloseSession; the first attempt fails and is retried. Returns the status code."""
        self.provider.behaviour = first_then(answering(503, b"sorry"), answering())
        return await self.close(request_id, metadata=metadata)

    async def result(self, reference: str, **members: object) -> int:
        """Deliver a Result. Returns the dialect's code."""
        status, body = await self.gateway.callback(PROVIDER, "V4/Result", result_body(reference, **members))
        assert status == 200
        error: int = json.loads(body)["error"]
        return error

    async def expired(self) -> int:
        """Deliver a SessionExpired. Returns the dialect's code."""
        body = json.dumps({"providerId": "x", "sessionId": "s-1", "userId": "421"}).encode()
        status, reply = await self.gateway.callback(PROVIDER, "V4/SessionExpired", body)
        assert status == 200
        error: int = json.loads(reply)["error"]
        return error

    async def open_account(self) -> None:
        """Open the account that Results credit."""
        request = OpenAccountRequest(user_id=str(RESULT["userId"]), currency="USD", opening_balance="1")
        await self.gateway.wallet.OpenAccount(request)

    async def cash(self) -> Decimal:
        """Return the cash balance of that account."""
        balance = await self.gateway.store.balance(str(RESULT["userId"]), "USD")
        return balance.cash  # type: ignore[union-attr]

    async def traffic(self) -> None:
        """Make calls and callbacks with each kind of outcome."""
        await self.open_account()
        assert await self.close() is grpc.StatusCode.OK
        assert await self.close_in_two_attempts() is grpc.StatusCode.OK
        self.provider.behaviour = answering(503, b"sorry")
        # Concurrent, and more than the retry budget allows.
        assert set(await asyncio.gather(*(self.close() for _ in range(20)))) == {grpc.StatusCode.UNAVAILABLE}
        self.provider.behaviour = hanging
        assert await self.close(timeout_s=1.5) is grpc.StatusCode.DEADLINE_EXCEEDED
        self.provider.behaviour = answering()
        assert await self.close(provider="nobody") is grpc.StatusCode.NOT_FOUND
        assert await self.close(user_id="") is grpc.StatusCode.INVALID_ARGUMENT
        assert await self.close(provider="dead") is grpc.StatusCode.UNAVAILABLE
        assert await self.result("r-1") == 0
        assert await self.result("r-1") == 0
        assert await self.result("r-1", amount=11) == 999
        assert await self.result("r-2", userId="nobody") == 62
        assert await self.result("r-3", secureLogin="wrong") == 54
        assert await self.expired() == 0
        with locked(self.gateway.database):
            assert await self.result("r-4") == 998

    async def exposition(self) -> list[Metric]:
        """Return the metrics of /metrics."""
        async with self.gateway.http.get(f"http://{self.gateway.listening.admin}/metrics") as response:
            assert response.status == 200
            return list(text_string_to_metric_families(await response.text()))

    async def value(self, name: str, **labels: str) -> float:
        """Return the sum of the series of /metrics that have these labels; 0 where there is none."""
        samples = (sample for family in await self.exposition() for sample in family.samples)
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


@asynccontextmanager
async def telemetry_harness(
    folder: Path, *sections: str, server: GrpcServerKind = GrpcServerKind.GRPCIO, store: str = ""
) -> AsyncIterator[TelemetryHarness]:
    """Start a gateway in this folder with these additional sections, and stop it. `store` is its database's URL."""
    async with scripted_provider() as provider:
        retry = "{ attempts = 2, backoff_s = 0.01, max_backoff_s = 0.01 }"
        tables = (
            family_table(PROVIDER, "luckymonaco", provider.base_url, retry=retry),
            provider_table("dead", "luckymonaco", "http://127.0.0.1:1", secure_login='"partner-1"'),
        )
        lines = f'server = "{server}"'
        async with running_gateway(folder, *tables, *sections, grpc=lines, store=store) as gateway:
            yield TelemetryHarness(gateway, provider)
