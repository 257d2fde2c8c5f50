"""How long a connection lasts, and an answer that nobody takes."""

import asyncio

from gateway.rpc.http2 import frames
from gateway.rpc.http2.frames import ErrorCode, Setting, frame
from gateway.rpc.http2.limits import Limits
from gateway.rpc.http2.patience import AGE_JITTER, Due, Patience
from tests.gateway.rpc.http2.peer import REQUEST, call, connected, served

WAIT = b"\0\0\0\0\x04wait"


async def test_what_is_under_way_on_an_old_connection_is_answered() -> None:
    """It is told to open no more, and closed once the last call has ended."""
    async with served(Limits(age_s=0.2)) as (services, _, port), connected(port) as peer:
        peer.writer.write(call(1, WAIT))
        _, _, payload = await peer.until(frames.GOAWAY)
        assert payload[4:8] == ErrorCode.NO_ERROR.to_bytes(4, "big")
        _, _, asked = await peer.until(frames.PING)
        peer.writer.write(call(3) + frame(frames.PING, frames.ACK, 0, asked))  # one more, from before it read that
        assert (await peer.until(frames.DATA))[1] == 3
        services.may_end.set()
        assert (await peer.until(frames.DATA))[1] == 1
        await peer.hung_up()


async def test_what_does_not_end_is_cut_off_after_the_grace() -> None:
    """Its work is cancelled; neither the call nor a peer that takes no notice keeps the connection."""
    async with served(Limits(age_s=0.2, age_grace_s=0.2)) as (services, _, port), connected(port) as peer:
        peer.writer.write(call(1, WAIT))
        await peer.hung_up()
        async with asyncio.timeout(5):
            await services.cancelled.wait()


async def test_connections_that_were_begun_together_do_not_end_together() -> None:
    """Each has an age of its own, no more than a tenth from what is said."""
    ages = set()
    for _ in range(100):
        patience = Patience(Limits(age_s=1000, silence_s=9999), 0)
        ages.add(next(age for age in range(2000) if patience.due(age, begun=True) is Due.DRAIN))
    assert min(ages) >= 1000 * (1 - AGE_JITTER)
    assert max(ages) <= 1000 * (1 + AGE_JITTER) + 1
    assert len(ages) > 20


async def test_without_an_age_a_connection_lasts() -> None:
    """It is asked whether it is there, and no more."""
    patience = Patience(Limits(silence_s=1e12), 0)
    assert patience.due(1e9, begun=True) is Due.NOTHING


async def test_an_answer_that_is_not_taken_is_let_go() -> None:
    """Its caller set no deadline, and opens no window: the call ends as a request that is late does."""
    opening = frames.PREFACE + frames.settings({Setting.INITIAL_WINDOW_SIZE: 0})
    async with served(Limits(request_s=0.3)) as (_, _, port), connected(port, opening) as peer:
        peer.writer.write(call(1))
        _, stream, code = await peer.until(frames.RST_STREAM)
        assert (stream, code) == (1, ErrorCode.CANCEL.to_bytes(4, "big"))
        peer.writer.write(frames.settings({Setting.INITIAL_WINDOW_SIZE: 1000}) + call(3))
        assert (await peer.until(frames.DATA))[1:] == (3, REQUEST)
