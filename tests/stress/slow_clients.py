"""Two hundred slow clients on the callbacks: good ones are answered as before, and each slow one is ended in time."""

import statistics
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import count

from bench.load import http
from bench.load.http import request
from bench.load.tally import Tally, percentile
from tests.stress.figures import Figures, at_least, at_most, exactly, none_of, stated, timed
from tests.stress.processes import Served, StressEnvironment, open_accounts, running
from tests.stress.sending import PROVIDER, win
from tests.stress.slowloris import outlived, slow_clients_process
from tests.support.gateway import callback_key

MAX_LIFE_S = 10.0
MIN_LIFE_S = 0.5
"""A client that ends sooner was rejected, and has sent nothing."""
NOTICE_S = 0.25
"""That this process may take to see that a client is gone."""
SLOWER = 1.2
AFTERWARDS_S = 0.6
"""For which good Results are sent when all slow clients are gone."""


async def slow_clients(
    environment: StressEnvironment,
    *,
    number: int = 200,
    pairs: int = 7,
    seconds: float = 3.0,
    rate: float = 1000,
    limit_s: float = MAX_LIFE_S,
    callbacks: str = "",
) -> Figures:
    """Results at a steady rate, without slow clients and among them, in turns; then how long each of them lives.

    `callbacks` is more of that section of the configuration.
    """
    path = environment.configure(await environment.database())
    path.write_text(
        path.read_text().replace("[callbacks]", f"[callbacks]\nmax_connections_per_source = 1000\n{callbacks}")
    )
    async with running(path) as gateway:
        await open_accounts(gateway.grpc)
        results = _results()
        ratios, without, among, wrong = [], [], [], []
        for pair in range(pairs):
            environment.report(f"pair {pair + 1}")
            waits = []
            for with_slow_clients in (False, True):
                async with AsyncExitStack() as stack:
                    if with_slow_clients:
                        await stack.enter_async_context(slow_clients_process(gateway.callbacks, PROVIDER, number))
                    tally = await _drive(gateway, results, rate, seconds)
                waits.append(percentile(tally.latencies, 99))
                wrong += [tally.first_wrong] * bool(tally.wrong)
            without.append(waits[0])
            among.append(waits[1])
            ratios.append(waits[1] / waits[0])
        environment.report("until the last one is gone")
        lives = await outlived(gateway.callbacks, PROVIDER, number, limit_s)
        tally = await _drive(gateway, results, rate, AFTERWARDS_S)
    lasting = [each.kind for each in lives if each.lived_s is None]
    return (
        stated("Results a second", rate),
        none_of("Results answered otherwise than credited", wrong),
        stated("p99 of a Result, without", f"{statistics.median(without) * 1e3:.2f} ms"),
        stated("p99 of a Result, among slow clients", f"{statistics.median(among) * 1e3:.2f} ms"),
        timed(at_most("among by without, median of pairs", SLOWER, statistics.median(ratios))),
        stated("each pair", " ".join(f"{ratio:.2f}" for ratio in ratios)),
        stated("slow clients", number),
        none_of(f"... that live longer than {limit_s:g} s", lasting),
        timed(
            at_most(
                "... the longest life", limit_s + NOTICE_S, max(each.lived_s or limit_s + 1 for each in lives), " s"
            )
        ),
        at_least("... the shortest life", MIN_LIFE_S, min(each.lived_s or limit_s + 1 for each in lives), " s"),
        exactly("Results answered wrongly afterwards", 0, tally.wrong),
        at_least("... and well", 1, tally.answered),
    )


async def _drive(gateway: Served, results: Iterator[bytes], rate: float, seconds: float) -> Tally:
    return await http.drive(
        "127.0.0.1",
        int(gateway.callbacks.rpartition(":")[2]),
        results,
        connections=16,
        rate=rate,
        warm_s=seconds / 5,
        seconds=seconds,
        expected=b'"transactionId"',
    )


def _results() -> Iterator[bytes]:
    path = f"/callbacks/{PROVIDER}/{callback_key(PROVIDER)}/V4/Result"
    for number in count():
        yield request(path, win(number).body())
