"""Backups taken under load, restored and verified: what was acknowledged before one began is in it."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.postgres import PostgresServer
from tests.support.process import Serving, run, run_here, serving
from tests.support.results import result_body
from tests.upgrades.operating import configured

CALLERS = 16


@dataclass
class Load:
    """Results that are delivered one after another by several callers."""

    answered: dict[str, Any] = field(default_factory=dict)
    """What was acknowledged, by reference."""
    _answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, http: aiohttp.ClientSession, gateway: Serving, caller: int) -> None:
        """Deliver until cancelled."""
        for number in count():
            reference = f"{caller}-{number}"
            answer = await gateway.deliver(http, result_body(reference))
            assert answer["error"] == 0
            self.answered[reference] = answer
            self._answer.set()

    async def grown(self, by: int) -> None:
        """Wait until that many more are acknowledged."""
        until = len(self.answered) + by
        async with asyncio.timeout(60):
            while len(self.answered) < until:
                self._answer.clear()
                await self._answer.wait()


@asynccontextmanager
async def crediting(gateway: Serving) -> AsyncIterator[Load]:
    """Load on a gateway, until the block ends."""
    load = Load()
    async with aiohttp.ClientSession() as http:
        callers = [asyncio.create_task(load.call(http, gateway, caller)) for caller in range(CALLERS)]
        try:
            yield load
        finally:
            for each in callers:
                each.cancel()
            ends = await asyncio.gather(*callers, return_exceptions=True)
            assert all(isinstance(end, asyncio.CancelledError) for end in ends)


async def everything_is_there(config: Path, before: dict[str, Any]) -> None:
    """A gateway on the restored database knows every reference, pays none again, and its ledger adds up."""
    ended = await run("verify", "--config", str(config))
    assert ended.code == 0, ended.err
    credited = int(ended.out.split(": ")[1].split()[2])
    assert credited >= len(before)
    async with serving(config) as gateway, aiohttp.ClientSession() as http:
        held = await gateway.cash()
        assert held == 1 + 10 * credited
        again = await asyncio.gather(*(gateway.deliver(http, result_body(reference)) for reference in before))
        first = [answer["transactionId"] for answer in before.values()]
        assert [answer["transactionId"] for answer in again] == first
        assert await gateway.cash() == held
        await gateway.stop()


def named_so(folder: Path, start: str) -> list[str]:
    """The files of a folder whose names begin so."""
    return sorted(each.name for each in folder.iterdir() if each.name.startswith(start))


async def test_a_backup_of_sqlite_while_a_gateway_credits(tmp_path: Path) -> None:
    """The command waits for nothing and stops nobody; restored, the copy has all that was acknowledged before it."""
    config = configured(tmp_path)
    copy = tmp_path / "copy" / "gateway.db"
    copy.parent.mkdir()
    async with serving(config) as gateway:
        await gateway.open_account()
        async with crediting(gateway) as load:
            await load.grown(150)
            before = dict(load.answered)
            ended = await run("backup", "--config", str(config), "--to", str(copy))
            assert ended.code == 0, ended.err
            await load.grown(50)
        await gateway.stop()
    assert "the ledger balances: 1 accounts" in ended.out
    assert named_so(copy.parent, "") == ["gateway.db"]
    assert copy.stat().st_mode & 0o777 == 0o600

    ended = await run("restore", "--config", str(config), "--from", str(copy))
    assert ended.code == 0, ended.err
    assert named_so(tmp_path, "gateway.db.replaced-")
    await everything_is_there(config, before)


async def test_a_backup_of_postgresql_with_its_own_programs(
    tmp_path: Path, postgres: PostgresServer, postgres_url: str
) -> None:
    """What `backup` says of PostgreSQL works: pg_dump while a gateway credits, pg_restore into a new database."""
    config = configured(tmp_path, store=postgres_url)
    dump = postgres.folder / "gateway.dump"
    async with serving(config) as gateway:
        await gateway.open_account()
        async with crediting(gateway) as load:
            await load.grown(150)
            before = dict(load.answered)
            name = postgres_url.partition("@/")[2].partition("?")[0]
            await asyncio.to_thread(postgres.run, "pg_dump", "--format=custom", f"--file={dump}", name)
            await load.grown(50)
        await gateway.stop()
    new = await postgres.create()
    options = ("--exit-on-error", "--single-transaction")
    await asyncio.to_thread(postgres.run, "pg_restore", f"--dbname={new}", *options, str(dump))
    await everything_is_there(configured(tmp_path, store=postgres.url(new)), before)


# --- What is refused --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def three_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a gateway that has credited three Results, and is stopped."""
    folder = tmp_path_factory.mktemp("three-results")
    async with serving(configured(folder)) as gateway, aiohttp.ClientSession() as http:
        await gateway.open_account()
        for number in range(3):
            await gateway.deliver(http, result_body(f"r{number}"))
        await gateway.stop()
    return folder / "gateway.db"


@pytest.fixture
def kept(three_results: Path, tmp_path: Path) -> Path:
    """The configuration of a gateway that has credited three Results, with a separate copy of them."""
    shutil.copy(three_results, tmp_path)
    return configured(tmp_path)


def tampered(config: Path, statement: str) -> None:
    with closing(sqlite3.connect(config.with_name("gateway.db"))) as db, db:
        db.execute(statement)


async def test_verify_names_the_field_that_differs(kept: Path) -> None:
    """Each difference is a line that says what is and what should be, and the exit code is 1."""
    tampered(kept, "UPDATE accounts SET cash = '30.5'")
    tampered(kept, "DELETE FROM events WHERE reference = 'r1'")
    ended = await run_here("verify", "--config", str(kept))
    assert ended.code == 1
    assert ended.out == ""
    assert ended.err.splitlines() == [
        "account '421' in USD: cash is 30.5, and should be 31",
        "transaction lucky 'r1': events is 0, and should be 1",
    ]


async def test_a_backup_of_an_unsound_ledger_says_so(kept: Path, tmp_path: Path) -> None:
    """It is what the database holds, and is kept; but it is not reported as sound."""
    tampered(kept, "UPDATE accounts SET cash = '30.5'")
    ended = await run_here("backup", "--config", str(kept), "--to", str(tmp_path / "copy.db"))
    assert ended.code == 1
    assert "cash is 30.5, and should be 31" in ended.err
    assert (tmp_path / "copy.db").exists()


async def test_an_unsound_copy_is_not_restored(kept: Path, tmp_path: Path) -> None:
    """Each difference is printed, the exit code is 1, and the database stays."""
    assert (await run_here("backup", "--config", str(kept), "--to", str(tmp_path / "copy.db"))).code == 0
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy, copy:
        copy.execute("UPDATE accounts SET cash = '30.5'")
    ended = await run_here("restore", "--config", str(kept), "--from", str(tmp_path / "copy.db"))
    assert ended.code == 1
    assert "Nothing was restored" in ended.err
    assert "cash is 30.5, and should be 31" in ended.err
    assert (await run_here("verify", "--config", str(kept))).code == 0


async def test_a_damaged_database_gives_no_backup(kept: Path, tmp_path: Path) -> None:
    """A page that is not what SQLite wrote is found, and no file is left that could be taken for a backup."""
    tampered(kept, "PRAGMA journal_mode = DELETE")
    path = tmp_path / "gateway.db"
    with closing(sqlite3.connect(path)) as db:
        (size,) = db.execute("PRAGMA page_size").fetchone()
        (page,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'events_of_user'").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size + size - 40)
        file.write(b"\x07" * 40)
    ended = await run_here("backup", "--config", str(kept), "--to", str(tmp_path / "copy.db"))
    assert ended.code == 3
    assert "damaged" in ended.err
    assert named_so(tmp_path, "copy.db") == []


async def test_a_name_that_no_file_can_have_is_reported(kept: Path, tmp_path: Path) -> None:
    """The system's error is printed in words."""
    ended = await run_here("backup", "--config", str(kept), "--to", str(tmp_path / ("x" * 300)))
    assert ended.code == 3
    assert "File name too long; name a file" in ended.err
    assert "Traceback" not in ended.err


async def test_a_backup_overwrites_nothing(kept: Path, tmp_path: Path) -> None:
    """A file that is there stays as it is, and so does one that another backup is writing."""
    copy, draft = tmp_path / "copy.db", tmp_path / "other.db.incomplete"
    copy.write_text("an older backup")
    draft.write_text("half of another")
    ended = await run_here("backup", "--config", str(kept), "--to", str(copy))
    assert (ended.code, copy.read_text()) == (3, "an older backup")
    assert "exists already" in ended.err
    ended = await run_here("backup", "--config", str(kept), "--to", str(tmp_path / "other.db"))
    assert (ended.code, draft.read_text()) == (3, "half of another")
    assert "another backup" in ended.err


async def test_a_folder_that_is_not_there_is_named(kept: Path, tmp_path: Path) -> None:
    """Where the copy cannot be made the message names it."""
    to = tmp_path / "missing" / "copy.db"
    ended = await run_here("backup", "--config", str(kept), "--to", str(to))
    assert ended.code == 3
    assert str(to) in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("command", ["backup", "verify"])
async def test_where_no_gateway_has_been_there_is_nothing_to_look_at(tmp_path: Path, command: str) -> None:
    """No database is made by looking for one, and an empty one is not called sound."""
    config = configured(tmp_path)
    more = ("--to", str(tmp_path / "copy.db")) if command == "backup" else ()
    ended = await run_here(command, "--config", str(config), *more)
    assert ended.code == 3
    assert "there is no such file" in ended.err
    assert not (tmp_path / "gateway.db").exists()
    with closing(sqlite3.connect(tmp_path / "gateway.db")) as db:
        db.execute("CREATE TABLE notes (one TEXT)")
    ended = await run_here(command, "--config", str(config), *more)
    assert ended.code == 3
    assert "no gateway has written to it" in ended.err
    assert not (tmp_path / "copy.db").exists()


async def test_backup_and_restore_say_how_postgresql_makes_its_own(tmp_path: Path, postgres_url: str) -> None:
    """They refuse, and name the commands; `verify` reads the database there."""
    config = configured(tmp_path, store=postgres_url)
    for command, option in (("backup", "--to"), ("restore", "--from")):
        ended = await run_here(command, "--config", str(config), option, str(tmp_path / "copy.db"))
        assert ended.code == 3
        for program in ("pg_dump", "pg_restore", "pg_basebackup"):
            assert program in ended.err
    ended = await run_here("verify", "--config", str(config))
    assert (ended.code, ended.out) == (0, "the ledger balances: 0 accounts, 0 transactions\n")
