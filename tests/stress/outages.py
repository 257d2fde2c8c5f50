"""Outages: the wallet or the database is down or hangs. Each delivery is answered 998 in time, memory stays flat."""

import asyncio
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from enum import StrEnum, unique
from pathlib import Path
from time import monotonic

from tests.stress.figures import Figures, at_most, exactly, none_of, stated, timed
from tests.stress.ledger import audit
from tests.stress.processes import (
    WALLET,
    Engine,
    Served,
    StressEnvironment,
    free_port,
    kill_process,
    launch,
    open_accounts,
    resident_mib,
    running,
    serving,
)
from tests.stress.sending import SEND_AGAIN, Load, Provider, Win, provider, win

ANSWER_TIMEOUT_S = 4.0
DRIFT_MIB = 16.0
"""What the memory may grow by over the last two thirds."""


@unique
class Outage(StrEnum):
    """What does not work, and how."""

    DATABASE_DOWN = "database down"
    DATABASE_HUNG = "database hung"
    WALLET_DOWN = "wallet down"
    WALLET_HUNG = "wallet hung"

    @property
    def of_wallet(self) -> bool:
        return self in {Outage.WALLET_DOWN, Outage.WALLET_HUNG}


def outages_of(engine: Engine) -> tuple[Outage, ...]:
    """A file is never down by itself."""
    return tuple(each for each in Outage if not (engine is Engine.SQLITE and each is Outage.DATABASE_DOWN))


@dataclass
class Drive:
    """Deliveries while something does not work, and the gateway's memory then."""

    answers: list[tuple[int | None, float]] = field(default_factory=list)
    early_mib: float = 0.0
    late_mib: float = 0.0


async def outage(
    environment: StressEnvironment, what: Outage, *, deliveries: int = 2000, at_once: int = 128
) -> Figures:
    """Deliver while it lasts, then until all is acknowledged."""
    url = await environment.database()
    ledger = await environment.database() if what.of_wallet else ""
    async with AsyncExitStack() as stack:
        wallet = await stack.enter_async_context(_wallet(environment, ledger)) if ledger else None
        gateway = await stack.enter_async_context(
            running(environment.configure(url, wallet=wallet.at if wallet else ""))
        )
        await open_accounts(wallet.served.grpc if wallet else gateway.grpc)
        sender = await stack.enter_async_context(provider(lambda: [gateway.callbacks], 2 * ANSWER_TIMEOUT_S))
        load = Load(sender)
        async with load.running():
            await load.more(at_once)
        wins = [win(number, prefix="outage") for number in range(deliveries)]
        async with _lasting(environment, what, url, wallet):
            drive = await _drive(sender, gateway, wins, at_once)
        ended_at = monotonic()
        acknowledged = dict(load.acknowledged)
        first = await sender.deliver_until_final(wins[0])
        recovered_s = monotonic() - ended_at
        acknowledged |= {wins[0].reference: first.transaction_id, **await _send_all(sender, wins[1:], at_once)}
    codes = Counter(code for code, _ in drive.answers)
    sent = load.sent | {each.reference: each for each in wins}
    return (
        exactly("deliveries answered 998", deliveries, codes[SEND_AGAIN]),
        none_of("answered otherwise, or not", (code for code, _ in drive.answers if code != SEND_AGAIN)),
        timed(at_most("slowest answer", ANSWER_TIMEOUT_S, max(seconds for _, seconds in drive.answers), " s")),
        at_most("drift of the gateway's memory", DRIFT_MIB, drive.late_mib - drive.early_mib, " MiB"),
        stated("the gateway's memory", f"{drive.late_mib:.0f} MiB"),
        stated("first acknowledgement after the outage", f"{recovered_s:.2f} s"),
        *await audit(url, sent, acknowledged, ledger=ledger),
    )


async def _drive(sender: Provider, gateway: Served, wins: list[Win], at_once: int) -> Drive:
    drive, left = Drive(), iter(wins)

    async def deliver() -> None:
        for sent in left:
            answer = await sender.deliver(sent)
            drive.answers.append((answer.code, answer.seconds))
            if len(drive.answers) == len(wins) // 3:
                drive.early_mib = resident_mib(gateway.pid)

    await asyncio.gather(*(deliver() for _ in range(at_once)))
    drive.late_mib = resident_mib(gateway.pid)
    return drive


async def _send_all(sender: Provider, wins: list[Win], at_once: int) -> dict[str, str]:
    """Deliver until all are acknowledged: the transaction ids by the reference."""
    left, acknowledged = iter(wins), {}

    async def deliver() -> None:
        for sent in left:
            answer = await sender.deliver_until_final(sent)
            if answer.code == 0:
                acknowledged[sent.reference] = answer.transaction_id

    await asyncio.gather(*(deliver() for _ in range(at_once)))
    return acknowledged


# --- What does not work -----------------------------------------------------------------------------------------------


@dataclass
class Wallet:
    """The operator's wallet as a process that can end and come back at the same address."""

    at: str
    config: Path
    served: Served

    async def end(self) -> None:
        self.served.kill()
        await self.served.ended()

    async def come_back(self) -> None:
        self.served = await serving(await launch(self.config, WALLET), self.config)


@asynccontextmanager
async def _wallet(environment: StressEnvironment, ledger: str) -> AsyncIterator[Wallet]:
    at = f"127.0.0.1:{free_port()}"
    config = environment.configure(ledger, grpc=at)
    wallet = Wallet(at, config, await serving(await launch(config, WALLET), config))
    try:
        yield wallet
        await wallet.served.stop()
    finally:
        await kill_process(wallet.served.process)


@asynccontextmanager
async def _lasting(
    environment: StressEnvironment, what: Outage, url: str, wallet: Wallet | None
) -> AsyncIterator[None]:
    """The outage, for as long as the block lasts."""
    if wallet is not None:
        async with _ended(wallet) if what is Outage.WALLET_DOWN else _frozen([wallet.served.pid]):
            yield
    elif environment.engine is Engine.SQLITE:
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield
    elif what is Outage.DATABASE_DOWN:
        await asyncio.to_thread(environment.postgres.stop, "immediate")
        yield
        await asyncio.to_thread(environment.postgres.start)
    else:
        postmaster = environment.postgres.pid()
        async with _frozen([postmaster, *_children(postmaster)]):
            yield


@asynccontextmanager
async def _ended(wallet: Wallet) -> AsyncIterator[None]:
    await wallet.end()
    yield
    await wallet.come_back()


@asynccontextmanager
async def _frozen(pids: list[int]) -> AsyncIterator[None]:
    """Processes that are there, and do nothing."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _children(parent: int) -> list[int]:
    """Ids of the processes that a process has started."""
    stats = (process / "stat" for process in Path("/proc").iterdir() if process.name.isdigit())
    texts = [stat.read_text() for stat in stats if stat.exists()]
    return [int(text.split()[0]) for text in texts if int(text.rsplit(")", 1)[1].split()[1]) == parent]
