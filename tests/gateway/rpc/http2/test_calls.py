"""Calls over the second front end, by grpcio's own client."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from gateway.rpc.http2.server import Http2Server
from tests.gateway.rpc.http2.peer import COUNT, ECHO, EVERY, Services, served


@pytest.fixture
async def serving() -> AsyncIterator[tuple[Services, Http2Server, Any]]:
    async with served() as (services, server, port), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield services, server, channel


Serving = tuple[Services, Http2Server, Any]


async def test_a_call_is_answered(serving: Serving) -> None:
    """A message comes back, an empty one too, as often as it is asked for."""
    echo = serving[2].unary_unary(ECHO)
    for request in (b"hello", b"", b"again"):
        assert await echo(request) == request


async def test_calls_do_not_wait_for_one_another(serving: Serving) -> None:
    """A call that waits holds up no other on its connection."""
    services, _, channel = serving
    echo = channel.unary_unary(ECHO)
    waiting = echo(b"wait")
    assert [await echo(b"%d" % number) for number in range(200)] == [b"%d" % number for number in range(200)]
    services.may_end.set()
    assert await waiting == b"wait"


async def test_messages_larger_than_any_window_arrive(serving: Serving) -> None:
    """Flow control holds in both directions: 3 MB arrive whole, several at once."""
    echo = serving[2].unary_unary(ECHO)
    large = bytes(range(256)) * 12_000
    assert await asyncio.gather(*(echo(large) for _ in range(3))) == [large] * 3
    assert await echo(b"large") == b"x" * 3_000_000


async def test_a_message_that_is_too_large_is_refused(serving: Serving) -> None:
    """Over 4 MiB the call ends with RESOURCE_EXHAUSTED, as grpcio has it; the connection goes on."""
    echo = serving[2].unary_unary(ECHO)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await echo(b"x" * (4 * 1024 * 1024 + 1))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await echo(b"hello") == b"hello"


async def test_a_status_arrives_with_its_details(serving: Serving) -> None:
    """Code, message in any script, and trailing metadata."""
    with pytest.raises(grpc.aio.AioRpcError) as told:
        await serving[2].unary_unary(ECHO)(b"abort")
    assert told.value.code() is grpc.StatusCode.NOT_FOUND
    assert told.value.details() == "50 % of ä"
    assert ("why-bin", b"\0\xff") in tuple(told.value.trailing_metadata() or ())


async def test_no_text_of_a_bug_leaves(serving: Serving) -> None:
    """What a handler raises unforeseen is UNKNOWN, with an id and no more."""
    with pytest.raises(grpc.aio.AioRpcError) as told:
        await serving[2].unary_unary(ECHO)(b"bug")
    assert told.value.code() is grpc.StatusCode.UNKNOWN
    assert "secret" not in (told.value.details() or "")


async def test_a_method_that_is_not_there(serving: Serving) -> None:
    """UNIMPLEMENTED."""
    with pytest.raises(grpc.aio.AioRpcError) as told:
        await serving[2].unary_unary("/test.Service/Nothing")(b"")
    assert told.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_metadata_may_say_a_name_more_than_once(serving: Serving) -> None:
    """Each value arrives by itself, as with grpcio, bytes too."""
    metadata = [("x-a", "1"), ("x-a", "2"), ("x-b-bin", b"\0\xff"), ("x-b-bin", b"second"), ("x-e", "")]
    assert await serving[2].unary_unary(ECHO)(b"metadata", metadata=metadata) == repr(metadata).encode()


async def test_a_compressed_request_is_refused_as_such(serving: Serving) -> None:
    """UNIMPLEMENTED, which a client takes for: send it as it is."""
    with pytest.raises(grpc.aio.AioRpcError) as told:
        await serving[2].unary_unary(ECHO)(b"x" * 1000, compression=grpc.Compression.Gzip)
    assert told.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_handler_knows_the_callers_deadline(serving: Serving) -> None:
    """What is left of it, in seconds."""
    assert 7.0 < float(await serving[2].unary_unary(ECHO)(b"time", timeout=8)) <= 8.0


async def test_work_ends_with_the_callers_deadline(serving: Serving) -> None:
    """Its handler is cancelled."""
    services, _, channel = serving
    with pytest.raises(grpc.aio.AioRpcError) as told:
        await channel.unary_unary(ECHO)(b"wait", timeout=0.3)
    assert told.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(10):
        await services.cancelled.wait()


async def test_work_ends_when_the_caller_gives_up(serving: Serving) -> None:
    """Its handler is cancelled, and the connection serves on."""
    services, _, channel = serving
    call = channel.unary_unary(ECHO)(b"wait")
    await services.started.wait()
    call.cancel()
    async with asyncio.timeout(10):
        await services.cancelled.wait()
    assert await channel.unary_unary(ECHO)(b"hello") == b"hello"


async def test_a_stream_arrives_in_order(serving: Serving) -> None:
    """All of it, whatever the windows."""
    seen = [int(message) async for message in serving[2].unary_stream(COUNT)(b"5000")]
    assert seen == list(range(5000))


async def test_a_stream_does_not_run_ahead_of_its_reader(serving: Serving) -> None:
    """A subscriber that does not read holds its handler up; one that leaves ends it."""
    services, _, channel = serving
    call = channel.unary_stream(COUNT)(b"1000000")
    assert int(await call.read()) == 0
    last = -1
    async with asyncio.timeout(20):
        while services.given != last:  # it stands still
            last = services.given
            await asyncio.sleep(0.3)
    assert last < 100_000
    call.cancel()
    async with asyncio.timeout(10):
        await services.cancelled.wait()


async def test_requests_may_be_a_stream(serving: Serving) -> None:
    """Each is answered as it comes, as reflection needs it."""
    call = serving[2].stream_stream(EVERY)()
    for request in (b"one", b"two"):
        await call.write(request)
        assert await call.read() == request
    await call.done_writing()
    assert await call.read() == grpc.aio.EOF


async def test_a_stop_lets_calls_finish(serving: Serving) -> None:
    """What is under way is answered; what comes then finds nobody."""
    services, server, channel = serving
    call = channel.unary_unary(ECHO)(b"wait")
    await services.started.wait()
    stopping = asyncio.create_task(server.stop(10))
    services.may_end.set()
    assert await call == b"wait"
    async with asyncio.timeout(5):
        await stopping
    with pytest.raises(grpc.aio.AioRpcError) as told:
        await channel.unary_unary(ECHO)(b"hello")
    assert told.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_stop_does_not_wait_longer_than_its_grace(serving: Serving) -> None:
    """What is still under way then is cancelled."""
    services, server, channel = serving
    call = channel.unary_unary(ECHO)(b"wait")
    await services.started.wait()
    await server.stop(0.1)
    async with asyncio.timeout(10):
        await services.cancelled.wait()
        with pytest.raises(grpc.aio.AioRpcError):
            await call


@pytest.mark.parametrize("known", [True, False])
async def test_tls_and_the_callers_certificate(tmp_path: Path, *, known: bool) -> None:
    """Over TLS a caller with our authority's certificate is served, and one without is not."""
    authority = trustme.CA()
    own, callers = authority.issue_cert("localhost"), (authority if known else trustme.CA()).issue_cert("caller")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.verify_mode = ssl.CERT_REQUIRED
    own.configure_cert(context)
    authority.configure_trust(context)
    server, services = Http2Server(), Services()
    server.add_registered_method_handlers("test.Service", {"Echo": grpc.unary_unary_rpc_method_handler(services.echo)})
    port = server.bind("127.0.0.1", 0, context)
    await server.start()
    credentials = grpc.ssl_channel_credentials(
        authority.cert_pem.bytes(), callers.private_key_pem.bytes(), callers.cert_chain_pems[0].bytes()
    )
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
        call: Any = channel.unary_unary(ECHO)
        call = call(b"hello", timeout=5)
        if known:
            assert await call == b"hello"
        else:
            with pytest.raises(grpc.aio.AioRpcError):
                await call
    await server.stop(0)


async def test_what_fails_in_the_handshake_takes_no_room() -> None:
    """Whoever speaks no TLS to a port that demands it is not counted, and a stop does not wait for it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    async with served(tls=context) as (_, server, port):
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            async with asyncio.timeout(5):
                await reader.read()  # it is hung up on
            writer.close()
        async with asyncio.timeout(5):
            await server.stop(60)


async def test_metadata_that_is_too_long_is_refused_and_no_other_call(serving: Serving) -> None:
    """With RESOURCE_EXHAUSTED, as grpcio has it; what else is under way on the connection goes on."""
    services, _, channel = serving
    other = channel.unary_unary(ECHO)(b"wait")
    await services.started.wait()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await channel.unary_unary(ECHO)(b"hello", metadata=[("x-a", "1" * 20_000)])
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    services.may_end.set()
    assert await other == b"wait"
