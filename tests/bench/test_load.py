"""Load generators: each answer is checked, and none is lost."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from itertools import repeat

import pytest

from bench.environment import SQLITE, BenchEnvironment, bench_environment
from bench.inbound import EMPTY, delivering
from bench.load import grpc, http
from bench.load.grpc import Call
from bench.load.http import request
from bench.load.requests import CLOSE_SESSION, closes, results
from bench.load.tally import Tally
from bench.outbound import BASELINE, closing
from bench.processes import Server
from bench.rounds import HOST, Load, Subject, Timing, at_full, at_less, posting
from gateway.v1.session_service_pb2 import CloseSessionRequest

SECONDS = 0.5
SHORT = Timing(rounds=1, seconds=SECONDS, warm_s=0.05)


@pytest.fixture(scope="module")
async def environment() -> AsyncIterator[BenchEnvironment]:
    async with bench_environment((SQLITE,)) as environment:
        yield environment


@pytest.fixture(scope="module")
async def gateway(environment: BenchEnvironment) -> AsyncIterator[Server]:
    async with environment.gateway(SQLITE) as server:
        yield server


@pytest.fixture(scope="module")
async def baseline(environment: BenchEnvironment) -> AsyncIterator[Server]:
    async with environment.serving(BASELINE, "bench.servers.baseline", f"http://{environment.provider}") as server:
        yield server


@pytest.fixture(scope="module")
async def empty(environment: BenchEnvironment) -> AsyncIterator[Server]:
    async with environment.serving(EMPTY, "bench.servers.empty") as server:
        yield server


async def called(server: Server, calls: Iterator[Call], path: str = CLOSE_SESSION, connections: int = 3) -> Tally:
    """Call for a short time."""
    return await grpc.drive(
        HOST, server.port("grpc"), path, calls, in_flight=8, connections=connections, warm_s=0, seconds=SECONDS
    )


async def test_the_baseline_and_the_gateway_answer_the_grpc_load(baseline: Server, gateway: Server) -> None:
    """Both close what they are asked to, at full load, one at a time, and at half load; ratios are by the first one."""
    drive = closing()
    subjects = [Subject(baseline, drive), Subject(gateway, drive)]
    full = await at_full(subjects, 8, SHORT)
    less = await at_less(subjects, full, SHORT)
    assert [row.name for row in full] == [BASELINE, SQLITE]
    assert full[0].ratio == 1
    assert full[1].ratio == pytest.approx(full[1].rate / full[0].rate)
    assert all(row.cpu_us > 0 and 0 < row.p50_ms <= row.p99_ms for row in full + less)
    assert [row.load for row in less[:2]] == [Load(1), Load(1)]
    assert [row.load.rate for row in less[2:]] == [row.rate / 2 for row in full]


async def test_the_empty_handler_and_the_gateway_answer_the_http_load(empty: Server, gateway: Server) -> None:
    """Both accept Results."""
    subjects = [Subject(empty, delivering(b'"error": 0')), Subject(gateway, delivering())]
    full = await at_full(subjects, 8, SHORT)
    less = await at_less(subjects, full, SHORT)
    assert all(row.rate > 0 and row.cpu_us > 0 for row in full + less)


async def test_calls_go_on_beyond_the_first_window(baseline: Server) -> None:
    """A WINDOW_UPDATE of the server lets the load send on."""
    reason = CloseSessionRequest(reason="r" * 1000).SerializeToString()
    longer = (Call(call.message + reason, call.expected) for call in closes())
    tally = await called(baseline, longer, connections=1)
    assert tally.wrong == 0
    assert tally.answered * len(reason) > 65_535


async def test_a_load_at_a_rate_keeps_to_it(empty: Server) -> None:
    """The rate is that of the requests sent, whether or not the server could answer more."""
    drive = posting("callbacks", results(), b'"error": 0')
    tally = await drive(empty, Load(16, rate=200), replace(SHORT, seconds=1.0))
    assert tally.wrong == 0
    assert 0 < tally.answered <= 200 * tally.seconds + 20  # those due just before the time may be answered in it


async def test_an_answer_to_another_call_is_wrong(baseline: Server) -> None:
    """Each answer must be its own call's."""
    pairs = zip(closes(), closes(), strict=False)
    tally = await called(baseline, (Call(mine.message, other.expected) for mine, other in pairs))
    assert tally.answered == 0
    assert tally.wrong > 0


async def test_a_failed_call_is_wrong(gateway: Server) -> None:
    """A status without a message is a wrong answer, and the first one is kept."""
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
    """A server that does not do its work gets no figures."""
    with pytest.raises(AssertionError, match="empty aiohttp answered b'HTTP"):
        await at_full([Subject(empty, delivering(b'"error":54'))], 2, SHORT)


@pytest.mark.parametrize("in_flight", [1, 3])
async def test_a_lost_connection_is_a_wrong_answer(in_flight: int) -> None:
    """Each request on a connection that the server closes counts as wrong."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(hang_up, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    by_http = http.drive(
        HOST, port, repeat(request("/", b"{}")), connections=in_flight, warm_s=0, seconds=SECONDS, expected=b""
    )
    by_grpc = grpc.drive(
        HOST, port, CLOSE_SESSION, closes(), in_flight=in_flight, connections=in_flight, warm_s=0, seconds=SECONDS
    )
    for load in (by_http, by_grpc):
        tally = await load
        assert (tally.answered, tally.wrong) == (0, in_flight)
    server.close()


async def test_the_provider_closes_nothing_but_what_is_a_close(environment: BenchEnvironment) -> None:
    """A server that sent something else would be answered faster than one that does its work."""
    host, _, port = environment.provider.rpartition(":")
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


async def test_processor_time_is_that_of_the_server(baseline: Server) -> None:
    """It grows while the server works, and not while it is idle."""
    before, begun = baseline.processor_s(), time.perf_counter()
    await called(baseline, closes())
    assert 0 < baseline.processor_s() - before < (time.perf_counter() - begun) * 8
