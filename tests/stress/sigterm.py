"""SIGTERM with hanging calls, slow clients and good calls in flight: a quick end, and nothing acknowledged is lost."""

import asyncio
import signal
from collections import Counter
from contextlib import AsyncExitStack, suppress
from time import monotonic

from tests.stress.expected import certainty_figures, observe
from tests.stress.figures import Figures, at_least, at_most, exactly, none_of, stated, timed
from tests.stress.ledger import read_ledger, reading
from tests.stress.processes import StressEnvironment, open_accounts
from tests.stress.providers_harness import SUCCESS, CallResult, ProvidersHarness, new_markers, providers_harness
from tests.stress.sending import PROVIDER, Provider, provider, win
from tests.stress.slowloris import SlowClients
from tests.support.faults import Hang

FAILING, HEALTHY = "kyren", PROVIDER
EXIT_S = 10.0


async def sigterm(
    environment: StressEnvironment,
    *,
    calls: int = 50,
    slow: int = 50,
    working: int = 16,
    for_s: float = 2.0,
    timeout_s: float = 30.0,
    grpc: str = "",
) -> Figures:
    """End a gateway under all that load, and read its ledger."""
    async with AsyncExitStack() as stack:
        harness = await stack.enter_async_context(
            providers_harness(environment, {FAILING: FAILING, HEALTHY: "luckymonaco"}, grpc=grpc)
        )
        await open_accounts(harness.gateway.grpc)
        failing, healthy = harness.providers[FAILING], harness.providers[HEALTHY]
        healthy.stock(new_markers(10))
        failing.stock(markers := new_markers(calls))
        failing.proxy.fault = Hang(executed=True)
        slow_clients = SlowClients(harness.gateway.callbacks, HEALTHY, slow)
        await stack.enter_async_context(slow_clients.running())
        sender = await stack.enter_async_context(provider(lambda: [harness.gateway.callbacks]))
        work = _Work(harness, sender)
        hanging = [asyncio.create_task(harness.close(failing, marker, timeout_s)) for marker in markers]
        others = [asyncio.create_task(each) for _ in range(working // 2) for each in (work.close(), work.win())]
        await asyncio.sleep(for_s)
        slow_then = len(slow_clients.living)
        harness.gateway.process.send_signal(signal.SIGTERM)
        begun = monotonic()
        with suppress(TimeoutError):
            await harness.gateway.ended(3 * EXIT_S)
        seconds = monotonic() - begun
        ended = await asyncio.gather(*hanging)
        work.over = True
        await asyncio.gather(*others)
        observed = await observe(FAILING, failing, ended)
        lost_closes = await _not_in_store(harness, work)
        state = await read_ledger(harness.database)
    return (
        stated("calls hanging", calls),
        at_least("slow clients connected", max(1, slow // 4), slow_then),
        exactly("exit code", 0, harness.gateway.process.returncode),
        timed(at_most("seconds until the exit", EXIT_S, seconds, " s")),
        stated("hanging calls ended", ", ".join(f"{n} x {how}" for how, n in _outcomes(ended).items())),
        exactly("... with certainty UNKNOWN", calls, sum(each.certainty == "UNKNOWN" for each in ended)),
        at_least("closes acknowledged", 1, len(work.closed)),
        none_of("... that are not in the store", lost_closes),
        at_least("Results acknowledged", 1, len(work.credited)),
        none_of("... that are not in the store", work.credited.keys() - state.entries.keys()),
        none_of(
            "... that are there as another transaction",
            (
                reference
                for reference, transaction in work.credited.items()
                if reference in state.entries and state.entries[reference].transaction_id != transaction
            ),
        ),
        *certainty_figures([observed]),
    )


class _Work:
    """Good calls and good Results, one after the other, and what of them was acknowledged."""

    def __init__(self, harness: ProvidersHarness, sender: Provider) -> None:
        self._harness = harness
        self._sender = sender
        self._players = new_markers(10)
        harness.providers[HEALTHY].stock(self._players)
        self._number = 0
        self.over = False
        self.closed: list[str] = []
        """Request ids."""
        self.credited: dict[str, str] = {}
        """Transactions by their reference."""

    async def close(self) -> None:
        while not self.over:
            ended = await self._harness.close(
                self._harness.providers[HEALTHY], self._players[len(self.closed) % 10], 5.0
            )
            if ended.code == SUCCESS:
                self.closed.append(ended.request_id)
            elif self._harness.gateway.process.returncode is not None:
                return

    async def win(self) -> None:
        while not self.over:
            self._number += 1
            sent = win(self._number)
            answer = await self._sender.deliver(sent)
            if answer.code == 0:
                self.credited[sent.reference] = answer.transaction_id
            elif self._harness.gateway.process.returncode is not None:
                return


async def _not_in_store(harness: ProvidersHarness, work: _Work) -> list[str]:
    async with reading(harness.database) as reader:
        kept = {row[0] for row in await reader.rows("SELECT request_id FROM targets WHERE outcome IS NOT NULL")}
    return [request_id for request_id in work.closed if request_id not in kept]


def _outcomes(ended: list[CallResult]) -> Counter[str]:
    return Counter(each.outcome for each in ended)
