"""One provider hangs at full load: calls of the others take no longer than before."""

import asyncio
import statistics
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import count, cycle
from uuid import uuid4

from bench.load import grpc
from bench.load.grpc import Call
from bench.load.requests import CLOSE_SESSION
from bench.load.tally import Tally, percentile
from bench.processes import serving
from gateway.v1.session_service_pb2 import OUTCOME_CLOSED, CloseSessionRequest, CloseSessionResponse
from tests.stress.figures import Figures, at_least, at_most, stated, timed
from tests.stress.processes import Served, StressEnvironment, running
from tests.stress.providers_harness import DEFAULTS, Tables, limits_toml
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.faults import Hang
from tests.support.gateway import family_table

FAILING = "failing"
HEALTHY = ("well-1", "well-2")
HOST = "127.0.0.1"
SLOWER = 1.2
SHARE = 0.25
"""The failing provider's part of the gateway's full load."""

NEVER_OPENS: Tables = {"breaker": {"min_requests": 1_000_000}}


async def hung(environment: StressEnvironment, *, pairs: int = 7, seconds: float = 2.5, in_flight: int = 32) -> Figures:
    """Without a breaker, so that calls go on hanging, then as it is by default."""
    return (
        *await hung_with(environment, "bulkhead alone", NEVER_OPENS, pairs, seconds, in_flight),
        *await hung_with(environment, "breaker too", DEFAULTS, pairs, seconds, in_flight),
    )


async def hung_with(
    environment: StressEnvironment,
    name: str,
    tables: Tables,
    pairs: int,
    seconds: float,
    in_flight: int,
) -> Figures:
    """Turns without and with the fault, and the ratio of the others' p99."""
    async with _harness(environment, tables) as (gateway, proxy):
        warm_s = seconds / 5
        full = await _drive(gateway, (*HEALTHY, FAILING), seconds, warm_s, in_flight=in_flight)
        rate = SHARE * full.answered / full.seconds
        ratios, p99s, hanging = [], [], []
        for number in range(pairs):
            waits = []
            for fault in (None, Hang()):
                environment.report(f"{name}, pair {number + 1}, {fault or 'healthy'}")
                proxy.fault = fault
                healthy, failing = await asyncio.gather(
                    _drive(gateway, HEALTHY, seconds, warm_s, in_flight=in_flight),
                    _drive_failing(gateway, proxy, rate, seconds, warm_s),
                )
                assert not healthy.wrong, healthy.first_wrong
                waits.append(percentile(healthy.latencies, 99))
                hanging.append(failing.wrong)
            ratios.append(waits[1] / waits[0])
            p99s.append(waits)
    return (
        stated(f"{name}: full load", f"{full.answered / full.seconds:.0f} calls a second, {rate:.0f} of them to it"),
        at_least("... its calls that went wrong while it hung, in a round", 1, min(hanging[1::2])),
        stated("... p99 of the others, without", f"{statistics.median(each[0] for each in p99s) * 1e3:.1f} ms"),
        stated("... p99 of the others, with", f"{statistics.median(each[1] for each in p99s) * 1e3:.1f} ms"),
        timed(at_most("... with by without, median of pairs", SLOWER, statistics.median(ratios))),
        stated("... each pair", " ".join(f"{ratio:.2f}" for ratio in ratios)),
    )


@asynccontextmanager
async def _harness(environment: StressEnvironment, tables: Tables) -> AsyncIterator[tuple[Served, FaultProxy]]:
    async with (
        serving("provider", environment.folder, "bench.servers.provider") as provider,
        fault_proxy(f"http://{provider.said['http']}") as proxy,
    ):
        path = environment.configure(await environment.database())
        sections = [family_table(name, "luckymonaco", f"http://{provider.said['http']}") for name in HEALTHY]
        sections += [family_table(FAILING, "luckymonaco", proxy.base_url), limits_toml(FAILING, tables)]
        path.write_text("\n".join([path.read_text(), *sections]))
        async with running(path) as gateway:
            yield gateway, proxy


async def _drive(
    gateway: Served,
    providers: Sequence[str],
    seconds: float,
    warm_s: float,
    *,
    in_flight: int,
    rate: float | None = None,
) -> Tally:
    port = int(gateway.grpc.rpartition(":")[2])
    return await grpc.drive(
        HOST,
        port,
        CLOSE_SESSION,
        _closes(providers),
        in_flight=in_flight,
        connections=4,
        rate=rate,
        warm_s=warm_s,
        seconds=seconds,
    )


async def _drive_failing(gateway: Served, proxy: FaultProxy, rate: float, seconds: float, warm_s: float) -> Tally:
    """Its calls hang past the end of the round; then they are let go."""
    driving = asyncio.create_task(_drive(gateway, (FAILING,), seconds, warm_s, in_flight=4, rate=rate))
    await asyncio.wait({driving}, timeout=warm_s + seconds)
    proxy.fault = None
    proxy.cut()
    return await driving


def _closes(providers: Sequence[str]) -> Iterator[Call]:
    names, numbers = cycle(providers), count()
    for name in names:
        request_id = str(uuid4())
        request = CloseSessionRequest(
            request_id=request_id, provider=name, user_id=f"player-{next(numbers)}", reason="self-exclusion"
        )
        answer = CloseSessionResponse(request_id=request_id, outcome=OUTCOME_CLOSED)
        yield Call(request.SerializeToString(), answer.SerializeToString())
