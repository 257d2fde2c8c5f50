"""An operator's wallet on a real socket, that behaves as a test sets it and records its requests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status.rpc_status import to_status

from gateway.v1 import wallet_service_pb2 as pb

if TYPE_CHECKING:  # generic in the stubs only
    Context = grpc.aio.ServicerContext[Any, Any]

Behaviour = Callable[[pb.ApplyResultRequest, "Context"], Awaitable[pb.ApplyResultResponse | bytes]]
"""What a wallet does with one ApplyResult; bytes are what it answers where that is no message of the method's."""


_SERVICE = pb.DESCRIPTOR.services_by_name["WalletService"].full_name


def answering(**fields: Any) -> Behaviour:
    """Answer with a credit, at once; `fields` differ from a good one's."""

    async def behave(request: pb.ApplyResultRequest, context: "Context") -> pb.ApplyResultResponse:
        good = {"transaction_id": "wallet-1", "currency": request.currency, "cash": "110", **fields}
        return pb.ApplyResultResponse(**good)

    return behave


def failing(
    code: grpc.StatusCode,
    reason: str = "",
    *,
    words: str = "in the wallet's words",
    domain: str = "wallet.example.com",
    metadata: dict[str, str] | None = None,
    violations: tuple[str, ...] = (),
    retry_after_s: float | None = None,
) -> Behaviour:
    """Fail with this status, and with details if there are any."""
    details: list[Message] = []
    if reason:
        details.append(ErrorInfo(reason=reason, domain=domain, metadata=metadata or {}))
    if violations:
        bad = [BadRequest.FieldViolation(field=name, description="is not ours") for name in violations]
        details.append(BadRequest(field_violations=bad))
    if retry_after_s is not None:
        delay = Duration()
        delay.FromNanoseconds(int(retry_after_s * 1e9))
        details.append(RetryInfo(retry_delay=delay))

    async def behave(request: pb.ApplyResultRequest, context: "Context") -> bytes:
        if not details:
            await context.abort(code, words)
        status = Status(code=code.value[0], message=words)
        for detail in details:
            packed = AnyMessage()
            packed.Pack(detail)
            status.details.append(packed)
        await context.abort_with_status(to_status(status))
        raise AssertionError("unreachable")

    return behave


async def hanging(request: pb.ApplyResultRequest, context: "Context") -> bytes:
    """Never answer."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Behave as each of them once, and as the last one from then on."""
    left = list(behaviours)

    async def behave(request: pb.ApplyResultRequest, context: "Context") -> pb.ApplyResultResponse | bytes:
        chosen = left.pop(0) if len(left) > 1 else left[0]
        return await chosen(request, context)

    return behave


def _serialized(answer: pb.ApplyResultResponse | bytes) -> bytes:
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


@dataclass
class ScriptedWallet:
    """Behaves as `behaviour` says, for every request until it is changed."""

    behaviour: Behaviour = field(default_factory=answering)
    received: list[pb.ApplyResultRequest] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    @property
    def target(self) -> str:
        """What a gateway's `wallet.target` has to be."""
        return f"dns:///127.0.0.1:{self.port}"

    async def apply_result(self, request: pb.ApplyResultRequest, context: "Context") -> pb.ApplyResultResponse | bytes:
        self.received.append(request)
        self.arrived.set()
        return await self.behaviour(request, context)


@asynccontextmanager
async def scripted_wallet(
    port: int = 0, credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[ScriptedWallet]:
    """A wallet that listens on this port, or on a free one; its calls are cut off at the end."""
    wallet = ScriptedWallet()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    apply_result = grpc.unary_unary_rpc_method_handler(
        wallet.apply_result, pb.ApplyResultRequest.FromString, _serialized
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {"ApplyResult": apply_result}),))
    address = f"127.0.0.1:{port}"
    wallet.port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    await server.start()
    try:
        yield wallet
    finally:
        await server.stop(None)
