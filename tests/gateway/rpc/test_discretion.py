"""Bugs and malformed input: what a caller learns, and what neither a caller nor the log may hold."""

import json
from dataclasses import replace
from typing import Any
from uuid import uuid4

import grpc
import pytest
from aiohttp import web

from adapters.contract import Closed, HttpReply, HttpRequest, ProviderAnswer, ProviderRefused, RefusalKind
from tests.gateway.rpc.harness import Scene
from tests.support.gateway import told
from tests.support.provider import (
    answering,
)


async def test_a_bug_becomes_an_error_id_and_nothing_else(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected exception is INTERNAL with an error id: its text, which can hold a secret, is not sent."""

    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(scene.gateway.gateway.close_service._carrying, "_clock", broken)
    failure = await scene.fails()
    assert (failure.code, failure.reason, failure.certainty) == (
        grpc.StatusCode.INTERNAL,
        "GATEWAY_ERROR",
        "NOT_SENT",
    )
    assert failure.metadata["error_id"] in failure.message
    assert "secret detail" not in failure.message


async def test_no_secret_is_in_a_failure(scene: Scene) -> None:
    """Where a provider's answer holds the caller's or the configured token, the error does not."""

    async def echo(request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        return web.json_response(
            {"error": 56, "description": f"{body.get('gameId', '')} {body['token']} configured-token"}
        )

    scene.provider.behaviour = echo
    for padding in (0, 190):  # the second where the words are cut
        failure = await scene.fails(token="callers-token", game_id="x" * padding)
        assert failure.reason == "PROVIDER_REFUSED"
        assert "***" in failure.message
        assert "callers" not in repr(failure)
        assert "configured" not in repr(failure)
    await scene.gateway.gateway.close_service.drain()
    for line in await scene.gateway.store.exchanges():
        assert b"***" in line.reply.body
        assert "callers" not in repr(line)
        assert "configured" not in repr(line)


async def test_a_token_in_a_providers_code_is_masked(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token in a provider's code is masked in the error's metadata."""

    def echo(_: object, reply: HttpReply) -> Closed:
        answer = ProviderAnswer("E-callers-token", "", reply.status)
        raise ProviderRefused(RefusalKind.REFUSED, answer, "refused callers-token")

    replace_close(scene, monkeypatch, decode=echo)
    failure = await scene.fails(token="callers-token")
    assert failure.metadata["provider_code"] == "E-***"
    assert "callers" not in repr(failure)


def replace_close(scene: Scene, monkeypatch: pytest.MonkeyPatch, **functions: Any) -> None:
    """Replace the encoder or the decoder of the provider's adapter."""
    providers = scene.gateway.gateway.providers
    call = providers["lucky"].adapter.close_session
    assert call is not None
    adapter = replace(providers["lucky"].adapter, close_session=replace(call, **functions))
    monkeypatch.setitem(providers._served, "lucky", replace(providers["lucky"], adapter=adapter))


async def test_an_undecodable_request_is_refused(scene: Scene) -> None:
    """Bytes that are not the method's message are INVALID_ARGUMENT with details, like other invalid input."""
    method = "/gateway.v1.SessionService/CloseSession"
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = scene.gateway.channel.unary_unary(method)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(b"\xff\xff\xff")
    failure = told(raised.value)
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert "DecodeError" not in failure.message


async def test_an_invalid_field_is_reported_with_the_valid_ids(scene: Scene) -> None:
    """An error about a field has the provider and the request_id, the gateway's where the caller gave none."""
    request_id = str(uuid4())
    failure = await scene.fails(request_id=request_id, user_id="")
    assert (failure.metadata["provider"], failure.metadata["request_id"]) == ("lucky", request_id)
    failure = await scene.fails(user_id="")
    assert len(failure.metadata["request_id"]) == 36


async def test_an_http_status_counts_whatever_the_body(scene: Scene) -> None:
    """An overloaded provider's refusal counts also where its body cannot be read."""
    scene.provider.behaviour = answering(429, b"\x1f\x8b", {"Content-Encoding": "gzip"})
    failure = await scene.fails()
    assert (failure.reason, failure.certainty) == ("PROVIDER_FAILED", "REFUSED")


@pytest.mark.parametrize("sent", [False, True])
async def test_an_adapters_bug_is_certain_and_keeps_its_secret(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sent: bool
) -> None:
    """A request that cannot be encoded was not sent; a decoder that fails leaves it unknown; no token shows."""

    def unsendable(*_: object) -> HttpRequest:
        return HttpRequest("POST", "/x?y")

    def broken(_: object, reply: HttpReply) -> Closed:
        raise RuntimeError(f"cannot read {json.loads(reply.body)['token']}")

    async def echo(request: web.Request) -> web.StreamResponse:
        return web.Response(body=await request.read())

    scene.provider.behaviour = echo
    replace_close(scene, monkeypatch, **({"decode": broken} if sent else {"encode": unsendable}))
    failure = await scene.fails(token="callers-token")
    assert (failure.reason, failure.certainty) == ("GATEWAY_ERROR", "UNKNOWN" if sent else "NOT_SENT")
    assert len(scene.provider.received) == sent
    logged = capsys.readouterr().out
    assert failure.metadata["error_id"] in logged
    assert "callers-token" not in logged
