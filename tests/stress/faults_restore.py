"""Restore: a gateway is killed under load at a random moment, a backup is restored, and everything is sent again."""

import asyncio
import random
import shutil
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.stress.figures import Figures, at_least, exactly, stated
from tests.stress.ledger import audit, read_ledger
from tests.stress.processes import (
    StressEnvironment,
    kill_process,
    launch,
    open_accounts,
    process_environ,
    running,
)
from tests.stress.sending import Load, Provider, Win, provider

_COMMAND = (sys.executable, "-m", "gateway")


class _Killed(Exception):
    """The gateway was killed."""


@dataclass
class Counts:
    """What happened in all rounds."""

    refused: int = 0
    """Starts with a copy beside the `-wal` of the database before it, which were refused."""
    by_hand: int = 0
    kills: int = 0
    """Restores that were killed."""
    again: int = 0
    """Results that the copy has and that were sent again."""
    paid_again: list[str] = field(default_factory=list)
    """Those that were answered with another transaction than the copy has."""


async def restores(environment: StressEnvironment, *, rounds: int = 20, seed: int = 14) -> Figures:
    """A round each: load, a backup, more load, SIGKILL, restore, start, and every Result once more."""
    url = await environment.database()
    config, path = environment.configure(url), Path(url.removeprefix("sqlite:///"))
    chance, counts = random.Random(seed), Counts()  # noqa: S311 - no secret
    sent: dict[str, Win] = {}
    async with running(config) as gateway:
        await open_accounts(gateway.grpc)
    figures: Figures = ()
    for number in range(rounds):
        copy = path.with_name(f"copy-{number}.db")
        sent |= await _load_and_kill(config, copy, chance, f"round{number}")
        if number % 2 == 0:
            counts.by_hand += 1
            counts.refused += await _refuses_copy_by_hand(config, path, copy)
        counts.kills += await _restore(config, copy, chance)
        before = await read_ledger(f"sqlite:///{copy}")
        async with running(config) as gateway, provider(lambda: [gateway.callbacks]) as sender:
            acknowledged = await _send_all(sender, list(sent.values()))
        counts.again += len(before.entries)
        counts.paid_again += [
            reference for reference, entry in before.entries.items() if acknowledged[reference] != entry.transaction_id
        ]
        figures = await audit(url, sent, acknowledged)
        environment.report(f"{number + 1} of {rounds} rounds, {len(sent)} Results")
        if any(not figure.holds for figure in figures):
            break
    return (
        exactly("restores after a SIGKILL", rounds, number + 1),
        exactly("starts with a copy beside a foreign -wal: refused", counts.by_hand, counts.refused),
        at_least("restores that were killed, and run again", rounds // 5, counts.kills),
        stated("Results in the copies, sent again", counts.again),
        exactly("... credited a second time", [], counts.paid_again[:3]),
        *figures,
    )


async def _load_and_kill(config: Path, copy: Path, chance: random.Random, prefix: str) -> dict[str, Win]:
    """Deliver, back up and kill at moments that chance chooses: what was sent."""
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(running(config))
        sender = await stack.enter_async_context(provider(lambda: [gateway.callbacks], timeout_s=1))
        load = Load(sender, prefix=prefix)
        with suppress(_Killed):
            async with load.running():
                await load.more(chance.randrange(1, 100))
                assert await _run("backup", "--config", str(config), "--to", str(copy)) == 0
                await load.more(chance.randrange(1, 100))
                gateway.kill()
                await gateway.ended()
                raise _Killed  # what is not acknowledged yet is sent again after the restore
    return load.sent


async def _refuses_copy_by_hand(config: Path, path: Path, copy: Path) -> bool:
    """Copy it over the database, and start: whether that is refused."""
    await asyncio.to_thread(shutil.copyfile, copy, path)
    process = await launch(config)
    assert process.stdout is not None
    started = bool(await process.stdout.readline())
    await kill_process(process)
    return not started


async def _restore(config: Path, copy: Path, chance: random.Random) -> int:
    """Restore a copy; at every other time the first command is killed at some moment: how often."""
    kills = 0
    if chance.random() < 0.5:
        process = await _command("restore", "--config", str(config), "--from", str(copy))
        try:
            await asyncio.wait_for(process.wait(), chance.uniform(0.3, 0.7))
        except TimeoutError:
            kills = 1
        await kill_process(process)
    assert await _run("restore", "--config", str(config), "--from", str(copy)) == 0
    return kills


async def _send_all(sender: Provider, wins: Sequence[Win]) -> dict[str, str]:
    """Deliver each until it has its answer: the transactions."""
    answers = {}
    for start in range(0, len(wins), 64):
        part = wins[start : start + 64]
        for win, answer in zip(part, await asyncio.gather(*map(sender.deliver_until_final, part)), strict=True):
            answers[win.reference] = answer.transaction_id
    return answers


async def _command(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *_COMMAND, *arguments, stdout=asyncio.subprocess.DEVNULL, env=process_environ()
    )


async def _run(*arguments: str) -> int:
    return await (await _command(*arguments)).wait()
