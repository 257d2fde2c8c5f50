"""SIGTERM with calls hanging, drippers dripping and good work under way: a quick end, and nothing acknowledged lost."""

import asyncio
import signal
from collections import Counter
from contextlib import AsyncExitStack, suppress
from time import monotonic

from tests.stress.books import read_books, reading
from tests.stress.expected import told, truths
from tests.stress.figures import Figures, at_least, at_most, exactly, none_of, stated
from tests.stress.money_harness import SUCCESS, Ended, Farm, farm, new_markers
from tests.stress.resilience_harness import Stage, open_accounts
from tests.stress.sending import PROVIDER, Provider, provider, win
from tests.stress.slowloris import Drippers
from tests.support.faults import Hang

SICK, WELL = "kyren", PROVIDER
EXIT_S = 10.0


async def sigterm(
    stage: Stage,
    *,
    calls: int = 50,
    dripping: int = 50,
    working: int = 16,
    for_s: float = 2.0,
    patience_s: float = 30.0,
    grpc: str = "",
) -> Figures:
    """Ends a gateway in the middle of it all, and reads its books."""
    async with AsyncExitStack() as stack:
        scene = await stack.enter_async_context(farm(stage, {SICK: SICK, WELL: "luckymonaco"}, grpc=grpc))
        await open_accounts(scene.gateway.grpc)
        sick, well = scene.providers[SICK], scene.providers[WELL]
        well.stock(new_markers(10))
        sick.stock(markers := new_markers(calls))
        sick.proxy.fault = Hang(carried_out=True)
        drippers = Drippers(scene.gateway.callbacks, WELL, dripping)
        await stack.enter_async_context(drippers.dripping())
        sender = await stack.enter_async_context(provider(lambda: [scene.gateway.callbacks]))
        work = _Work(scene, sender)
        hanging = [asyncio.create_task(scene.close(sick, marker, patience_s)) for marker in markers]
        others = [asyncio.create_task(each) for _ in range(working // 2) for each in (work.close(), work.win())]
        await asyncio.sleep(for_s)
        dripping_then = len(drippers.living)
        scene.gateway.process.send_signal(signal.SIGTERM)
        begun = monotonic()
        with suppress(TimeoutError):
            await scene.gateway.ended(3 * EXIT_S)
        seconds = monotonic() - begun
        ended = await asyncio.gather(*hanging)
        work.over = True
        await asyncio.gather(*others)
        what_was_told = await told(SICK, sick, ended)
        lost_closes = await _not_in_store(scene, work)
        books = await read_books(scene.database)
    return (
        stated("calls hanging", calls),
        at_least("drippers dripping", max(1, dripping // 4), dripping_then),
        exactly("exit code", 0, scene.gateway.process.returncode),
        at_most("seconds until the exit", EXIT_S, seconds, " s"),
        stated("hanging calls ended", ", ".join(f"{n} x {how}" for how, n in _outcomes(ended).items())),
        exactly("... told that it is not known", calls, sum(each.certainty == "UNKNOWN" for each in ended)),
        at_least("closes acknowledged", 1, len(work.closed)),
        none_of("... that are not in the store", lost_closes),
        at_least("Results acknowledged", 1, len(work.credited)),
        none_of("... that are not in the store", work.credited.keys() - books.entries.keys()),
        none_of(
            "... that are there as another transaction",
            (
                reference
                for reference, transaction in work.credited.items()
                if reference in books.entries and books.entries[reference].transaction_id != transaction
            ),
        ),
        *truths([what_was_told]),
    )


class _Work:
    """Good calls and good Results, one after the other, and what of them was acknowledged."""

    def __init__(self, scene: Farm, sender: Provider) -> None:
        self._scene = scene
        self._sender = sender
        self._players = new_markers(10)
        scene.providers[WELL].stock(self._players)
        self._number = 0
        self.over = False
        self.closed: list[str] = []
        """Request ids."""
        self.credited: dict[str, str] = {}
        """Transactions by their reference."""

    async def close(self) -> None:
        while not self.over:
            ended = await self._scene.close(self._scene.providers[WELL], self._players[len(self.closed) % 10], 5.0)
            if ended.code == SUCCESS:
                self.closed.append(ended.request_id)
            elif self._scene.gateway.process.returncode is not None:
                return

    async def win(self) -> None:
        while not self.over:
            self._number += 1
            sent = win(self._number)
            answer = await self._sender.deliver(sent)
            if answer.code == 0:
                self.credited[sent.reference] = answer.transaction_id
            elif self._scene.gateway.process.returncode is not None:
                return


async def _not_in_store(scene: Farm, work: _Work) -> list[str]:
    async with reading(scene.database) as reader:
        kept = {row[0] for row in await reader.rows("SELECT request_id FROM targets WHERE outcome IS NOT NULL")}
    return [request_id for request_id in work.closed if request_id not in kept]


def _outcomes(ended: list[Ended]) -> Counter[str]:
    return Counter(each.outcome for each in ended)
