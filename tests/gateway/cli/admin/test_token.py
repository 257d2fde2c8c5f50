"""The token of an operator, as a gateway receives it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.v1 import provider_service_pb2 as providers
from gateway.v1 import session_service_pb2 as sessions
from tests.support.process import run_here


@dataclass
class Received:
    """A server that lists no providers, and two pages without changes; it keeps the authorization of each call."""

    address: str = ""
    authorization: list[str | bytes | None] = field(default_factory=list)

    def keep(self, context: Any) -> None:
        self.authorization.append(dict(context.invocation_metadata()).get("authorization"))

    async def list_providers(self, request: bytes, context: Any) -> bytes:
        self.keep(context)
        return sessions.ListProvidersResponse().SerializeToString()

    async def list_changes(self, request: bytes, context: Any) -> bytes:
        self.keep(context)
        is_last = providers.ListProviderStateChangesRequest.FromString(request).page_token
        return providers.ListProviderStateChangesResponse(next_page_token="" if is_last else "2").SerializeToString()


@pytest.fixture
async def received() -> AsyncIterator[Received]:
    received = Received()
    server = grpc.aio.server()
    for service, method, behaviour in (
        ("SessionService", "ListProviders", received.list_providers),
        ("ProviderService", "ListProviderStateChanges", received.list_changes),
    ):
        handlers: dict[str, Any] = {method: grpc.unary_unary_rpc_method_handler(behaviour)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(f"gateway.v1.{service}", handlers),))
    received.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield received
    await server.stop(None)


async def test_the_token_comes_with_every_call(received: Received, tmp_path: Path) -> None:
    """As `authorization: Bearer`, also with each page; without --token-file there is none."""
    file = tmp_path / "token"
    file.write_text("aaa.bbb.ccc\n")
    for command in ("list", "history"):
        ended = await run_here("provider", command, "--target", received.address, "--token-file", str(file))
        assert ended.code == 0
    assert received.authorization == ["Bearer aaa.bbb.ccc"] * 3
    received.authorization.clear()
    assert (await run_here("provider", "list", "--target", received.address)).code == 0
    assert received.authorization == [None]


async def test_a_token_to_another_machine_in_plain_text_is_wrong_usage(tmp_path: Path) -> None:
    """Nothing is called, and the token is not printed."""
    file = tmp_path / "token"
    file.write_text("aaa.bbb.ccc")
    ended = await run_here("provider", "list", "--target", "gateway.example.com:1", "--token-file", str(file))
    assert (ended.code, ended.out) == (2, "")
    assert "--token-file" in ended.err
    assert "aaa" not in ended.err
