"""What a peer may not do, how it is told, and that others are served on."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.rpc.http2 import frames, server
from gateway.rpc.http2.frames import ErrorCode, Setting, frame
from gateway.rpc.http2.limits import Limits
from tests.gateway.rpc.http2.peer import COUNT, EVERY, REQUEST, call, connected, head, served

OPEN = frames.PREFACE + frames.settings({})
HEAD = frame(frames.HEADERS, frames.END_HEADERS, 1, head())
PART = frame(frames.HEADERS, 0, 1, head()[:5])


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(frame(frames.DATA, 0, 1, b"x"), ErrorCode.PROTOCOL_ERROR, id="data of no stream"),
        pytest.param(frame(frames.HEADERS, 4, 2, head()), ErrorCode.PROTOCOL_ERROR, id="an even stream"),
        pytest.param(frame(frames.DATA, 0, 1, b"x" * 16385), ErrorCode.FRAME_SIZE_ERROR, id="a long frame"),
        pytest.param(PART + HEAD, ErrorCode.PROTOCOL_ERROR, id="a head within a head"),
        pytest.param(PART + frame(frames.PING, 0, 0, b"12345678"), ErrorCode.PROTOCOL_ERROR, id="a head interrupted"),
        pytest.param(PART + frame(frames.CONTINUATION, 4, 3), ErrorCode.PROTOCOL_ERROR, id="another's continuation"),
        pytest.param(frame(frames.CONTINUATION, 4, 1), ErrorCode.PROTOCOL_ERROR, id="a continuation of nothing"),
        pytest.param(frame(frames.HEADERS, 4, 1, b"\xff\xff\xff\xff"), ErrorCode.COMPRESSION_ERROR, id="no head"),
        pytest.param(frame(frames.HEADERS, 12, 1, b"\x09x"), ErrorCode.PROTOCOL_ERROR, id="padding without end"),
        pytest.param(HEAD + frame(frames.DATA, 8, 1, b""), ErrorCode.PROTOCOL_ERROR, id="padding of nothing"),
        pytest.param(frame(frames.HEADERS, 36, 1, b"\0\0\0\1\0"), ErrorCode.PROTOCOL_ERROR, id="its own parent"),
        pytest.param(frame(frames.PUSH_PROMISE, 0, 1), ErrorCode.PROTOCOL_ERROR, id="a push"),
        pytest.param(frame(frames.PING, 0, 0, b"short"), ErrorCode.FRAME_SIZE_ERROR, id="a short ping"),
        pytest.param(frame(frames.PING, 0, 1, b"12345678"), ErrorCode.PROTOCOL_ERROR, id="a stream's ping"),
        pytest.param(frame(frames.SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR, id="a stream's settings"),
        pytest.param(frame(frames.SETTINGS, 0, 0, b"x"), ErrorCode.FRAME_SIZE_ERROR, id="settings cut short"),
        pytest.param(frame(frames.SETTINGS, 1, 0, b"123456"), ErrorCode.FRAME_SIZE_ERROR, id="a talkative ack"),
        pytest.param(
            frames.settings({Setting.INITIAL_WINDOW_SIZE: 2**31}), ErrorCode.FLOW_CONTROL_ERROR, id="a vast window"
        ),
        pytest.param(frames.settings({Setting.MAX_FRAME_SIZE: 1}), ErrorCode.PROTOCOL_ERROR, id="a tiny frame"),
        pytest.param(frames.settings({Setting.ENABLE_PUSH: 2}), ErrorCode.PROTOCOL_ERROR, id="half a push"),
        pytest.param(frames.window_update(0, 0), ErrorCode.PROTOCOL_ERROR, id="an update by nothing"),
        pytest.param(frames.window_update(0, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR, id="a window over the largest"),
        pytest.param(frames.window_update(9, 1), ErrorCode.PROTOCOL_ERROR, id="a window of no stream"),
        pytest.param(frame(frames.WINDOW_UPDATE, 0, 0, b"x"), ErrorCode.FRAME_SIZE_ERROR, id="an update cut short"),
        pytest.param(frame(frames.RST_STREAM, 0, 1, b"\0\0\0\x08"), ErrorCode.PROTOCOL_ERROR, id="a reset of nothing"),
        pytest.param(frame(frames.RST_STREAM, 0, 1, b"x"), ErrorCode.FRAME_SIZE_ERROR, id="a reset cut short"),
    ],
)
async def test_what_no_peer_may_do_ends_its_connection(sent: bytes, code: ErrorCode) -> None:
    """With the reason that the protocol has for it; another's connection goes on."""
    async with served() as (_, _, port), connected(port) as other, connected(port) as peer:
        peer.writer.write(sent)
        assert await peer.ended() is code
        other.writer.write(call(1))
        assert (await other.until(frames.DATA))[2] == REQUEST


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r" + b"x" * 20])
async def test_what_is_no_http2_is_hung_up_on(sent: bytes) -> None:
    """At the first byte that differs."""
    async with served() as (_, _, port), connected(port, sent) as peer:
        assert await peer.ended() is ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(frame(frames.PING, 0, 0, b"12345678"), id="pings"),
        pytest.param(frames.settings({}), id="settings"),
        pytest.param(frame(frames.PRIORITY, 0, 1, b"\0\0\0\3\0"), id="priorities"),
        pytest.param(frames.window_update(0, 1), id="windows"),
        pytest.param(frame(0, 0, 1), id="empty pieces"),
    ],
)
async def test_a_flood_of_what_carries_nothing_ends_its_connection(flood: bytes) -> None:
    """ENHANCE_YOUR_CALM."""
    async with served(Limits(idle_frames=100)) as (_, _, port), connected(port) as peer:
        peer.writer.write(HEAD + flood * 200)
        assert await peer.ended() is ErrorCode.ENHANCE_YOUR_CALM


async def test_calls_that_are_opened_and_reset_at_once_end_their_connection() -> None:
    """Rapid reset: what is given up is counted."""
    async with served(Limits(idle_frames=100)) as (_, _, port), connected(port) as peer:
        peer.writer.write(
            b"".join(call(stream) + frames.reset(stream, ErrorCode.CANCEL) for stream in range(1, 221, 2))
        )
        assert await peer.ended() is ErrorCode.ENHANCE_YOUR_CALM


async def test_a_call_that_is_given_up_before_it_begins_takes_no_room() -> None:
    """Its call and its reset may arrive as one."""
    async with served(Limits(calls=1)) as (_, _, port), connected(port) as peer:
        for stream in range(1, 21, 2):
            peer.writer.write(call(stream) + frames.reset(stream, ErrorCode.CANCEL))
        peer.writer.write(call(21))
        assert (await peer.until(frames.DATA))[1] == 21


async def test_connections_over_the_limit_are_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those before it are served."""
    monkeypatch.setattr(server, "CONNECTIONS", 1)
    async with served() as (_, _, port), connected(port) as first:
        await first.until(frames.SETTINGS)
        async with connected(port, b"") as second:
            await second.hung_up()
        first.writer.write(call(1))
        assert (await first.until(frames.DATA))[2] == REQUEST


async def test_no_frame_is_longer_than_the_peer_takes() -> None:
    """However wide its windows are."""
    opening = frames.PREFACE + frames.settings({Setting.INITIAL_WINDOW_SIZE: 2**30}) + frames.window_update(0, 2**30)
    async with served() as (_, _, port), connected(port, opening) as peer:
        peer.writer.write(call(1, b"\0\0\0\0\x05large"))
        got = 0
        while got < 3_000_005:
            length = len((await peer.until(frames.DATA))[2])
            assert length <= 16_384
            got += length


async def test_calls_over_the_limit_are_refused_and_may_be_sent_again() -> None:
    """REFUSED_STREAM, which says that nothing was done; those before it go on."""
    async with served(Limits(calls=2)) as (services, _, port), connected(port) as peer:
        wait = b"\0\0\0\0\x04wait"
        peer.writer.write(call(1, wait) + call(3, wait) + call(5))
        _, stream, payload = await peer.until(frames.RST_STREAM)
        assert (stream, payload) == (5, ErrorCode.REFUSED_STREAM.to_bytes(4, "big"))
        services.may_end.set()
        assert {(await peer.until(frames.DATA))[1] for _ in range(2)} == {1, 3}


async def test_a_head_may_go_on_but_not_for_ever() -> None:
    """In CONTINUATION frames, up to the limit of a head."""
    block = head()
    async with served() as (_, _, port), connected(port) as peer:
        peer.writer.write(frame(frames.HEADERS, 0, 1, block[:1]))
        for place in range(1, len(block)):
            flags = frames.END_HEADERS if place == len(block) - 1 else 0
            peer.writer.write(frame(frames.CONTINUATION, flags, 1, block[place : place + 1]))
        peer.writer.write(frame(frames.DATA, frames.END_STREAM, 1, REQUEST))
        assert (await peer.until(frames.DATA))[2] == REQUEST
        peer.writer.write(frame(frames.HEADERS, 0, 3, block))
        peer.writer.write(frame(frames.CONTINUATION, 0, 3, b"x" * 16_000) * 5)
        assert await peer.ended() is ErrorCode.ENHANCE_YOUR_CALM


async def test_more_than_a_window_is_not_taken() -> None:
    """A stream's: the stream ends, and the connection goes on."""
    large = call(1, b"\0\0\0\x40\0" + b"x" * 16_000)
    async with served(Limits(stream_window=10_000)) as (_, _, port), connected(port) as peer:
        peer.writer.write(large)
        assert (await peer.until(frames.RST_STREAM))[2] == ErrorCode.FLOW_CONTROL_ERROR.to_bytes(4, "big")
        peer.writer.write(call(3))
        assert (await peer.until(frames.DATA))[2] == REQUEST


async def test_requests_that_are_not_whole_may_hold_so_much_and_no_more() -> None:
    """Over all calls of a connection; then one is refused, and what it held is free again."""
    half = frame(frames.DATA, 0, 1, b"\0\0\0\x80\0" + b"x" * 15_000)
    async with served(Limits(held_bytes=20_000)) as (_, _, port), connected(port) as peer:
        peer.writer.write(HEAD + half + frame(frames.DATA, 0, 1, b"x" * 15_000))
        _, stream, block = await peer.until(frames.HEADERS)
        assert stream == 1
        assert b"grpc-status\x018" in block
        peer.writer.write(call(3, b"\0\0\0\x3a\x98" + b"y" * 15_000))
        assert (await peer.until(frames.DATA))[1] == 3


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", b"12"),
        (b"\0\0\0", b"12"),
        (REQUEST + REQUEST, b"12"),
        (b"\0\0\0\0\x09short", b"12"),
        (b"\1\0\0\0\x02hi", b"12"),
        (b"\0\xff\xff\xff\xff", b"8"),
    ],
)
async def test_what_is_not_one_message_is_told_so(sent: bytes, status: bytes) -> None:
    """The call ends with a status, and the connection goes on."""
    async with served() as (_, _, port), connected(port) as peer:
        peer.writer.write(call(1, sent))
        _, stream, block = await peer.until(frames.HEADERS)
        assert stream == 1
        assert b"grpc-status" + bytes((len(status),)) + status in block
        peer.writer.write(call(3))
        assert (await peer.until(frames.DATA))[2] == REQUEST


@pytest.mark.parametrize(("more", "status"), [({"content_type": "text/html"}, b"415"), ({":method": "GET"}, b"405")])
async def test_what_is_no_grpc_is_answered_in_http(more: dict[str, str], status: bytes) -> None:
    """With HTTP's own status."""
    async with served() as (_, _, port), connected(port) as peer:
        peer.writer.write(frame(frames.HEADERS, 5, 1, head(**more)))
        assert status in (await peer.until(frames.HEADERS))[2]


async def test_requests_are_read_however_they_are_cut() -> None:
    """One byte at a time gives what one piece gives."""
    sent = OPEN + call(1) + call(3)
    async with served() as (_, _, port), connected(port, b"") as peer:
        for place in range(len(sent)):
            peer.writer.write(sent[place : place + 1])
            await peer.writer.drain()
            await asyncio.sleep(0)
        assert [(await peer.until(frames.DATA))[2] for _ in range(2)] == [REQUEST] * 2


async def test_a_peer_that_reads_nothing_holds_up_only_itself() -> None:
    """What it is sent is bounded by its windows; its stream goes on when it widens them, to the byte."""
    async with served() as (services, _, port), connected(port) as peer:
        peer.writer.write(call(1, b"\0\0\0\0\x03200", COUNT))
        got = 0
        while got < 65_535:
            got += len((await peer.until(frames.DATA))[2])
        assert got == 65_535
        peer.writer.write(frame(frames.PING, 0, 0, b"12345678"))
        assert (await peer.until(frames.PING))[2] == b"12345678"  # and nothing came before it
        assert services.given < 90  # so much more as may wait without its handler
        peer.writer.write(frames.window_update(0, 200_000) + frames.window_update(1, 200_000))
        while got < 200 * 1005:
            got += len((await peer.until(frames.DATA))[2])
        assert got == 200 * 1005


async def test_settings_are_acknowledged_before_anything_makes_use_of_them() -> None:
    """A peer counts by its old windows until then: grpcio's ends a stream that is ahead of it."""
    opening = frames.PREFACE + frames.settings({Setting.INITIAL_WINDOW_SIZE: 0})
    async with served() as (_, _, port), connected(port, opening) as peer:
        assert (await peer.until(frames.SETTINGS))[0] == 0
        assert (await peer.until(frames.SETTINGS))[0] == frames.ACK
        peer.writer.write(call(1))
        await peer.until(frames.HEADERS)
        peer.writer.write(frames.settings({Setting.INITIAL_WINDOW_SIZE: 1000}))
        kinds = [(await peer.frame())[:2] for _ in range(2)]
        assert kinds == [(frames.SETTINGS, frames.ACK), (frames.DATA, 0)]


async def test_the_connections_window_holds_for_all_streams_together() -> None:
    """However wide each stream's own is; what waits for it goes on when it is widened."""
    opening = frames.PREFACE + frames.settings({Setting.INITIAL_WINDOW_SIZE: 1_000_000})
    async with served() as (_, _, port), connected(port, opening) as peer:
        peer.writer.write(call(1, b"\0\0\0\0\x0240", COUNT) + call(3, b"\0\0\0\0\x0240", COUNT))
        got = 0
        while got < 65_535:
            got += len((await peer.until(frames.DATA))[2])
        assert got == 65_535
        peer.writer.write(frame(frames.PING, 0, 0, b"12345678"))
        while (came := (await peer.frame())[0]) != frames.PING:
            assert came != frames.DATA
        peer.writer.write(frames.window_update(0, 200_000))
        while got < 80 * 1005:
            got += len((await peer.until(frames.DATA))[2])
        assert got == 80 * 1005


async def test_empty_messages_take_room_too() -> None:
    """A stream of requests that nobody takes out is bounded, however little is in them."""
    async with served(Limits(held_bytes=20_000)) as (_, _, port), connected(port) as peer:
        peer.writer.write(frame(frames.HEADERS, frames.END_HEADERS, 1, head(EVERY)))
        peer.writer.write(frame(frames.DATA, 0, 1, b"\0\0\0\0\0" * 1000))
        assert b"grpc-status\x018" in (await peer.until(frames.HEADERS))[2]
        peer.writer.write(frame(frames.HEADERS, frames.END_HEADERS, 3, head(EVERY)))
        for _ in range(1000):  # as many, but each is taken out before the next
            peer.writer.write(frame(frames.DATA, 0, 3, REQUEST))
            assert (await peer.until(frames.DATA))[2] == REQUEST


async def test_a_smaller_window_is_kept_to() -> None:
    """A window may shrink below nothing while a stream is open: nothing is sent until it is above."""
    async with served() as (_, _, port):
        opening = frames.PREFACE + frames.settings({Setting.INITIAL_WINDOW_SIZE: 10})
        async with connected(port, opening) as peer:
            peer.writer.write(call(1, b"\0\0\0\0\x011", COUNT))
            assert len((await peer.until(frames.DATA))[2]) == 10
            peer.writer.write(frames.settings({Setting.INITIAL_WINDOW_SIZE: 0}) + frames.window_update(1, 10))
            peer.writer.write(frame(frames.PING, 0, 0, b"12345678"))
            while (came := (await peer.frame())[0]) != frames.PING:
                assert came == frames.SETTINGS
            peer.writer.write(frames.window_update(1, 5))
            assert len((await peer.until(frames.DATA))[2]) == 5


async def test_a_deadline_holds_also_where_the_caller_does_not_end_the_call() -> None:
    """The handler is cancelled, the caller is told so, and what it held is free."""
    async with served(Limits(calls=1)) as (services, _, port), connected(port) as peer:
        peer.writer.write(frame(frames.HEADERS, frames.END_HEADERS, 1, head(grpc_timeout="100m")))
        peer.writer.write(frame(frames.DATA, frames.END_STREAM, 1, b"\0\0\0\0\x04wait"))
        assert b"grpc-status\x014" in (await peer.until(frames.HEADERS))[2]
        assert services.cancelled.is_set()
        peer.writer.write(call(3))
        assert (await peer.until(frames.DATA))[1] == 3


async def test_a_request_that_does_not_arrive_whole_is_not_waited_for() -> None:
    """Where the caller has set no deadline; a call that is under way has none then."""
    async with served(Limits(request_s=0.3)) as (services, _, port), connected(port) as peer:
        peer.writer.write(call(1, b"\0\0\0\0\x04wait") + frame(frames.HEADERS, frames.END_HEADERS, 3, head()))
        _, stream, block = await peer.until(frames.HEADERS)
        assert stream == 3
        assert b"grpc-status\x014" in block
        services.may_end.set()
        assert (await peer.until(frames.DATA))[1] == 1


async def test_silent_peers_are_asked_and_let_go() -> None:
    """One that answers stays; one that does not is hung up on, and so is one that never begins."""
    limits = Limits(silence_s=0.3, answer_s=0.6, preface_s=0.3)
    async with served(limits) as (_, _, port), connected(port) as lively, connected(port) as dead:
        async with connected(port, b"") as mute:
            await mute.hung_up()
        for _ in range(3):
            _, _, payload = await lively.until(frames.PING)
            lively.writer.write(frame(frames.PING, frames.ACK, 0, payload))
        await dead.hung_up()
        lively.writer.write(call(1))
        assert (await lively.until(frames.DATA))[2] == REQUEST


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.builds(
            frame,
            st.integers(0, 10),
            st.integers(0, 255),
            st.integers(0, 7),
            st.binary(max_size=40) | st.just(head()) | st.just(REQUEST),
        ),
        max_size=12,
    )
)
async def test_whatever_frames_come_others_are_served(sent: list[bytes]) -> None:
    """Nothing that one peer says is felt by another."""
    async with served() as (_, _, port), connected(port) as peer:
        peer.writer.write(b"".join(sent))
        async with connected(port) as other:
            other.writer.write(call(1))
            assert (await other.until(frames.DATA))[2] == REQUEST


async def test_work_that_is_ended_may_clean_up_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is cancelled once, however often there is reason to: it is late, given up, and its connection ends."""
    monkeypatch.setattr(server, "TICK_S", 0.001)
    async with served() as (services, _, port):
        async with connected(port) as peer:
            late = frame(frames.HEADERS, frames.END_HEADERS, 1, head(grpc_timeout="1m"))
            peer.writer.write(late + frame(frames.DATA, frames.END_STREAM, 1, b"\0\0\0\0\x05clean"))
            async with asyncio.timeout(5):
                await services.cancelled.wait()
            peer.writer.write(frames.reset(1, ErrorCode.CANCEL) + frame(frames.PING, 0, 0, b"12345678"))
            await peer.until(frames.PING)
        await asyncio.sleep(0.05)  # many looks at the time
        services.may_end.set()
        async with asyncio.timeout(5):
            await services.cleaned.wait()
