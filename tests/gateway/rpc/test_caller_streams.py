"""Streams end when their caller loses its access: by expiry, by a reload, by a key that is removed."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.config import GrpcServerKind, load
from gateway.rpc.tokens import LEEWAY_S
from gateway.store.models import Event, EventType
from gateway.v1 import session_service_pb2 as pb
from tests.support.callers import EC_KEY, JWT, OTHER_KEY, bearer, public_jwk, token, write_keys
from tests.support.gateway import RpcFailure, Running, configuration, failure_of, family_table, running_gateway
from tests.support.waiting import until

PROVIDER, MORE = (family_table(name, "kyren", "http://127.0.0.1:9") for name in ("kyren", "more"))

READER = '[callers.reader]\njwt_subject = "reader"\nroles = ["reader"]\n'
OTHER = '[callers.other]\njwt_subject = "other"\nroles = ["reader"]\n'


@dataclass(frozen=True)
class Watched:
    """A gateway with the caller `reader`."""

    running: Running
    folder: Path
    server: GrpcServerKind

    async def reload(self, *sections: str) -> None:
        """Apply other callers."""
        path = configuration(self.folder, PROVIDER, *sections, grpc=f'server = "{self.server}"')
        await self.running.gateway.reload(load(path, {}))

    async def watch(self, value: str, provider: str = "kyren") -> Any:
        """An event stream that has begun, with this token."""
        request = pb.WatchEventsRequest(provider=provider)
        stream = self.running.sessions.WatchEvents(request, metadata=bearer(value), timeout=60)
        await stream.initial_metadata()
        assert not stream.done()
        return stream

    @property
    def open_streams(self) -> int:
        """The streams that the gateway keeps."""
        return len(self.running.gateway.rpc_server._interceptor.access._streams)


@pytest.fixture(params=list(GrpcServerKind))
async def watched(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Watched]:
    write_keys(tmp_path, public_jwk(EC_KEY, kid="ec"))
    lines = f'server = "{request.param}"'
    async with running_gateway(tmp_path, PROVIDER, JWT, READER, grpc=lines) as running:
        yield Watched(running, tmp_path, request.param)


async def end_of(stream: Any) -> RpcFailure:
    """How a stream ends without an event."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await anext(aiter(stream))
    return failure_of(raised.value)


async def test_a_stream_ends_with_its_token(watched: Watched) -> None:
    """An idle stream ends as CALLER_UNKNOWN when its token expires; another one of a longer token stays."""
    lasting = await watched.watch(token())
    stream = await watched.watch(token(exp=int(time.time()) - LEEWAY_S + 2))
    failure = await end_of(stream)
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CALLER_UNKNOWN")
    assert "expired" in failure.message
    assert not lasting.done()
    assert watched.open_streams == 1
    lasting.cancel()
    await until(lambda: watched.open_streams == 0 and watched.running.gateway.rpc_server.in_flight == 0)


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ([JWT, READER], None),
        ([JWT, READER + 'providers = ["kyren"]\n'], None),
        ([], None),
        ([JWT, OTHER], "CALLER_UNKNOWN"),
        ([JWT.replace("issuer.example", "other.example"), READER], "CALLER_UNKNOWN"),
        ([JWT, READER.replace('["reader"]', '["closer"]')], "CALLER_NOT_ALLOWED"),
        (
            [JWT, READER + 'providers = ["more"]\n', family_table("more", "kyren", "http://127.0.0.1:9")],
            "CALLER_NOT_ALLOWED",
        ),
    ],
    ids=["same", "its provider", "open", "removed", "issuer", "role", "provider"],
)
async def test_a_stream_ends_when_a_reload_takes_its_access(
    watched: Watched, sections: list[str], reason: str | None
) -> None:
    """After a reload a stream stays where its caller may still watch, and ends with the reason where it may not."""
    stream = await watched.watch(token())
    await watched.reload(*sections)
    if reason is None:
        await watched.watch(token())
        assert not stream.done()
    else:
        assert (await end_of(stream)).reason == reason
        assert watched.open_streams == 0


async def test_a_stream_of_one_who_was_not_identified_ends_with_the_first_callers(watched: Watched) -> None:
    """A stream that began while everything was open ends when callers are configured."""
    await watched.reload()
    stream = await watched.watch("no token")
    await watched.reload(JWT, READER)
    assert (await end_of(stream)).reason == "CALLER_UNKNOWN"


async def test_a_key_that_is_removed_ends_its_streams(watched: Watched) -> None:
    """While both keys are configured tokens of both hold; without the first one its streams end, the others stay."""
    first, second = public_jwk(EC_KEY, kid="ec"), public_jwk(OTHER_KEY, kid="next")
    old = await watched.watch(token())
    write_keys(watched.folder, first, second)
    await watched.reload(JWT, READER)
    new = await watched.watch(token(key=OTHER_KEY, kid="next"))
    write_keys(watched.folder, second)
    await watched.reload(JWT, READER)
    assert (await end_of(old)).reason == "CALLER_UNKNOWN"
    assert not new.done()
    assert watched.open_streams == 1


async def test_a_client_that_does_not_read_cannot_keep_its_stream(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream whose messages nobody reads ends with its token too."""

    async def endless(*_: object) -> AsyncIterator[Event]:
        while True:
            yield Event("1", EventType.SESSION_CLOSED, datetime.now(UTC), "kyren", user_id="x" * 100_000)

    monkeypatch.setattr(watched.running.gateway.event_streams, "events", endless)
    request = pb.WatchEventsRequest(provider="kyren")
    value = token(exp=int(time.time()) - LEEWAY_S + 2)
    stream = watched.running.sessions.WatchEvents(request, metadata=bearer(value), timeout=60)
    await until(lambda: watched.running.gateway.rpc_server.in_flight == 1)
    await until(lambda: watched.running.gateway.rpc_server.in_flight == 0)
    assert watched.open_streams == 0
    stream.cancel()
