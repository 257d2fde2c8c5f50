"""A benchmark that counts wrong answers, or loses some, measures nothing: what must hold of the loads."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from itertools import repeat

import pytest

from bench.environment import SQLITE, Ground, ground
from bench.inbound import EMPTY, delivering
from bench.load import grpc, http
from bench.load.grpc import Call
from bench.load.http import request
from bench.load.requests import CLOSE_SESSION, closes, results
from bench.load.tally import Tally
from bench.outbound import FLOOR, closing
from bench.processes import Server
from bench.rounds import HOST, Load, Pace, Subject, at_full, at_less, posting
from gateway.v1.session_service_pb2 import CloseSessionRequest

SECONDS = 0.3
SHORT = Pace(rounds=1, seconds=SECONDS, warm_s=0.05)


@pytest.fixture(scope="module")
async def on() -> AsyncIterator[Ground]:
    async with ground((SQLITE,)) as laid:
        yield laid


@pytest.fixture(scope="module")
async def gateway(on: Ground) -> AsyncIterator[Server]:
    async with on.gateway(SQLITE) as server:
        yield server


@pytest.fixture(scope="module")
async def floor(on: Ground) -> AsyncIterator[Server]:
    async with on.serving(FLOOR, "bench.servers.baseline", f"http://{on.provider}") as server:
        yield server


@pytest.fixture(scope="module")
async def empty(on: Ground) -> AsyncIterator[Server]:
    async with on.serving(EMPTY, "bench.servers.empty") as server:
        yield server


async def called(server: Server, calls: Iterator[Call], path: str = CLOSE_SESSION, connections: int = 3) -> Tally:
    """A moment's calls."""
    return await grpc.drive(
        HOST, server.port("grpc"), path, calls, under_way=8, connections=connections, warm_s=0, seconds=SECONDS
    )


async def test_the_floor_and_the_gateway_answer_the_grpc_load(floor: Server, gateway: Server) -> None:
    """Both close what they are asked to, at full, one at a time, and at half; the first measures both."""
    drive = closing()
    subjects = [Subject(floor, drive), Subject(gateway, drive)]
    full = await at_full(subjects, 8, SHORT)
    less = await at_less(subjects, full, SHORT)
    assert [row.name for row in full] == [FLOOR, SQLITE]
    assert full[0].ratio == 1
    assert full[1].ratio == pytest.approx(full[1].rate / full[0].rate)
    assert all(row.cpu_us > 0 and 0 < row.p50_ms <= row.p99_ms for row in full + less)
    assert [row.load for row in less[:2]] == [Load(1), Load(1)]
    assert [row.load.rate for row in less[2:]] == [row.rate / 2 for row in full]


async def test_the_empty_handler_and_the_gateway_answer_the_http_load(empty: Server, gateway: Server) -> None:
    """Both take Results."""
    subjects = [Subject(empty, delivering(b'"error": 0')), Subject(gateway, delivering())]
    full = await at_full(subjects, 8, SHORT)
    less = await at_less(subjects, full, SHORT)
    assert all(row.rate > 0 and row.cpu_us > 0 for row in full + less)


async def test_calls_go_on_beyond_the_first_window(floor: Server) -> None:
    """What the server has taken in may be sent again: a load does not run dry."""
    reason = CloseSessionRequest(reason="r" * 1000).SerializeToString()
    longer = (Call(call.message + reason, call.expected) for call in closes())
    tally = await called(floor, longer, connections=1)
    assert tally.wrong == 0
    assert tally.answered * len(reason) > 65_535


async def test_a_load_at_a_rate_keeps_to_it(empty: Server) -> None:
    """So many a second are sent, whether or not more could be answered."""
    drive = posting("callbacks", results(), b'"error": 0')
    tally = await drive(empty, Load(16, rate=200), replace(SHORT, seconds=1.0))
    assert tally.wrong == 0
    assert tally.answered / tally.seconds == pytest.approx(200, rel=0.2)


async def test_an_answer_to_another_call_is_wrong(floor: Server) -> None:
    """Each answer must be its own call's."""
    pairs = zip(closes(), closes(), strict=False)
    tally = await called(floor, (Call(mine.message, other.expected) for mine, other in pairs))
    assert tally.answered == 0
    assert tally.wrong > 0


async def test_a_failed_call_is_wrong(gateway: Server) -> None:
    """A status without a message is no answer, and is told."""
    tally = await called(gateway, closes(), "/gateway.v1.SessionService/NoSuchMethod")
    assert tally.answered == 0
    assert tally.wrong > 0
    assert tally.first_wrong


async def test_another_answer_over_http_is_wrong(empty: Server) -> None:
    """An answer must hold what is expected."""
    drive = posting("callbacks", results(), b'"error":54')
    tally = await drive(empty, Load(2), SHORT)
    assert tally.answered == 0
    assert tally.wrong > 0


async def test_a_server_that_answers_something_else_ends_the_measurement(empty: Server) -> None:
    """Nothing is told of a server that does not do its work."""
    with pytest.raises(AssertionError, match="empty aiohttp answered b'HTTP"):
        await at_full([Subject(empty, delivering(b'"error":54'))], 2, SHORT)


@pytest.mark.parametrize("under_way", [1, 3])
async def test_a_connection_that_is_lost_is_told(under_way: int) -> None:
    """A server that hangs up has not answered."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(hang_up, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    by_http = http.drive(
        HOST, port, repeat(request("/", b"{}")), connections=under_way, warm_s=0, seconds=SECONDS, expected=b""
    )
    by_grpc = grpc.drive(
        HOST, port, CLOSE_SESSION, closes(), under_way=under_way, connections=under_way, warm_s=0, seconds=SECONDS
    )
    for load in (by_http, by_grpc):
        tally = await load
        assert (tally.answered, tally.wrong) == (0, under_way)
    server.close()


async def test_the_provider_closes_nothing_but_what_is_a_close(on: Ground) -> None:
    """A server that sent something else would be answered faster than one that does its work."""
    host, _, port = on.provider.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for path, body, status in (
        ("/V4/CloseSession", b'{"secureLogin":"x","userId":"player-1"}', b"200"),
        ("/V4/CloseSession", b'{"secureLogin":"x"}', b"400"),
        ("/V4/Other", b'{"secureLogin":"x","userId":"player-1"}', b"400"),
    ):
        writer.write(request(path, body))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.split()[1] == status
        if status == b"200":
            await reader.readexactly(35)
    writer.close()


async def test_processor_time_is_that_of_the_server(floor: Server) -> None:
    """It grows while the server works, by no more than all processors have had."""
    before, begun = floor.processor_s(), time.perf_counter()
    await called(floor, closes())
    assert 0 < floor.processor_s() - before < (time.perf_counter() - begun) * 8
