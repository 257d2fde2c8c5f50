"""Bugs and malformed input: what a caller learns, and what neither a caller nor the log may hold."""

import json
from uuid import uuid4

import grpc
import pytest
from aiohttp import web

from adapters.contract import Closed, HttpReply, HttpRequest, ProviderAnswer, ProviderRefused, RefusalKind
from gateway.sessions import close_execution
from tests.gateway.rpc.harness import RpcHarness, replace_close
from tests.support.gateway import failure_of
from tests.support.provider import (
    answering,
)


async def test_a_bug_becomes_an_error_id_and_nothing_else(harness: RpcHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected exception is INTERNAL with an error id: its text, which can hold a secret, is not sent."""

    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(close_execution, "new_id", broken)
    failure = await harness.fails()
    assert (failure.code, failure.reason, failure.certainty) == (
        grpc.StatusCode.INTERNAL,
        "GATEWAY_ERROR",
        "NOT_SENT",
    )
    assert failure.metadata["error_id"] in failure.message
    assert "secret detail" not in failure.message


async def test_no_secret_is_in_a_failure(harness: RpcHarness) -> None:
    """Where a provider's answer holds the caller's or the configured token, the error does not."""

    async def echo(request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        return web.json_response(
            {"error": 56, "description": f"{body.get('gameId', '')} {body['token']} configured-token"}
        )

    harness.provider.behaviour = echo
    for padding in (0, 190):  # the second where the words are cut
        failure = await harness.fails(token="callers-token", game_id="x" * padding)
        assert failure.reason == "PROVIDER_REFUSED"
        assert "***" in failure.message
        assert "callers" not in repr(failure)
        assert "configured" not in repr(failure)
    await harness.gateway.gateway.close_service.drain()
    for line in await harness.gateway.store.exchanges():
        assert b"***" in line.reply.body
        assert "callers" not in repr(line)
        assert "configured" not in repr(line)


async def test_a_token_in_a_providers_code_is_masked(harness: RpcHarness) -> None:
    """A token in a provider's code is masked in the error's metadata."""

    def echo(_: object, reply: HttpReply) -> Closed:
        answer = ProviderAnswer("E-callers-token", "", reply.status)
        raise ProviderRefused(RefusalKind.REFUSED, answer, "refused callers-token")

    replace_close(harness.gateway, decode=echo)
    failure = await harness.fails(token="callers-token")
    assert failure.metadata["provider_code"] == "E-***"
    assert "callers" not in repr(failure)


async def test_an_undecodable_request_is_refused(harness: RpcHarness) -> None:
    """Bytes that are not the method's message are INVALID_ARGUMENT with details, like other invalid input."""
    method = "/gateway.v1.SessionService/CloseSession"
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = harness.gateway.channel.unary_unary(method)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(b"\xff\xff\xff")
    failure = failure_of(raised.value)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert "DecodeError" not in failure.message


async def test_an_invalid_field_is_reported_with_the_valid_ids(harness: RpcHarness) -> None:
    """An error about a field has the provider and the request_id, the gateway's where the caller gave none."""
    request_id = str(uuid4())
    failure = await harness.fails(request_id=request_id, user_id="")
    assert (failure.metadata["provider"], failure.metadata["request_id"]) == ("lucky", request_id)
    failure = await harness.fails(user_id="")
    assert len(failure.metadata["request_id"]) == 36


async def test_an_http_status_counts_whatever_the_body(harness: RpcHarness) -> None:
    """An overloaded provider's refusal counts also where its body cannot be read."""
    harness.provider.behaviour = answering(429, b"\x1f\x8b", {"Content-Encoding": "gzip"})
    failure = await harness.fails()
    assert (failure.reason, failure.certainty) == ("PROVIDER_FAILED", "REFUSED")


@pytest.mark.parametrize("sent", [False, True])
async def test_an_adapters_bug_is_certain_and_keeps_its_secret(
    harness: RpcHarness, capsys: pytest.CaptureFixture[str], sent: bool
) -> None:
    """A request that cannot be encoded was not sent; a decoder that fails leaves it unknown; no token shows."""

    def unsendable(*_: object) -> HttpRequest:
        return HttpRequest("POST", "/x?y")

    def broken(_: object, reply: HttpReply) -> Closed:
        raise RuntimeError(f"cannot read {json.loads(reply.body)['token']}")

    async def echo(request: web.Request) -> web.StreamResponse:
        return web.Response(body=await request.read())

    harness.provider.behaviour = echo
    replace_close(harness.gateway, **({"decode": broken} if sent else {"encode": unsendable}))
    failure = await harness.fails(token="callers-token")
    assert (failure.reason, failure.certainty) == ("GATEWAY_ERROR", "UNKNOWN" if sent else "NOT_SENT")
    assert len(harness.provider.received) == sent
    logged = capsys.readouterr().out
    assert failure.metadata["error_id"] in logged
    assert "callers-token" not in logged
