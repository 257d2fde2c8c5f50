"""`serve --workers N`: several processes, one gateway."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from gateway.config import load
from gateway.server.supervisor import Supervisor, WorkerFailed
from gateway.store.postgres import migrations
from tests.support.gateway import configuration, family_table
from tests.support.process import COMMAND, Serving, run, serving
from tests.support.results import result_body
from tests.support.waiting import until

REFERENCES = 30
DELIVERIES = 4


def configured(folder: Path, url: str) -> Path:
    """A gateway with a provider that may call, on this database."""
    return configuration(folder, family_table("lucky", "luckymonaco", "http://127.0.0.1:1"), store=url)


async def deliver(gateway: Serving, reference: str) -> Any:
    """Deliver once, over a connection of its own, so that the system chooses the worker."""
    async with aiohttp.ClientSession() as http:
        return await gateway.deliver(http, result_body(reference))


async def readyz(at: str) -> int:
    """The status of a worker's readiness; 0 where nothing listens."""
    with suppress(aiohttp.ClientError):
        async with aiohttp.ClientSession() as http, http.get(f"http://{at}/readyz") as response:
            return response.status
    return 0


async def test_workers_share_ports_and_money(tmp_path: Path, postgres_url: str) -> None:
    """Deliveries over many connections reach several processes; each reference is credited once; SIGTERM ends all."""
    async with serving(configured(tmp_path, postgres_url), "serve", "--workers", "2") as gateway:
        said = gateway.said
        pids = [worker["pid"] for worker in said["workers"]]
        assert len(set(pids)) == 2
        assert [await readyz(worker["admin"]) for worker in said["workers"]] == [200, 200]
        await gateway.open_account(opening_balance="0")
        references = [f"ref-{number}" for number in range(REFERENCES) for _ in range(DELIVERIES)]
        answers = await asyncio.gather(*(deliver(gateway, reference) for reference in references))
        assert {answer["error"] for answer in answers} == {0}
        by_reference = zip(references, (answer["transactionId"] for answer in answers), strict=True)
        assert len(set(by_reference)) == REFERENCES
        assert await gateway.cash() == REFERENCES * 10
        served = [await served_callbacks(worker["admin"]) for worker in said["workers"]]
        assert sum(served) == REFERENCES * DELIVERIES
        assert all(served), "one worker had all of the connections"
        await gateway.stop()
    assert not any(is_running(pid) for pid in pids)
    assert "did not stop in time" not in (tmp_path / "gateway.log").read_text()


async def served_callbacks(admin: str) -> int:
    """How many callbacks a worker has answered."""
    async with aiohttp.ClientSession() as http, http.get(f"http://{admin}/metrics") as response:
        lines = (await response.text()).splitlines()
    return int(sum(float(line.split()[-1]) for line in lines if line.startswith("session_gateway_callbacks_total{")))


def is_running(pid: int) -> bool:
    """Whether the process is there."""
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


async def test_workers_are_kept_running_and_end_with_their_supervisor(tmp_path: Path, postgres_url: str) -> None:
    """After a SIGKILL of one worker the other serves on, and soon there are two again, also where the first try
    to start it fails; without the supervisor, none.
    """
    log = tmp_path / "gateway.log"

    def lines(event: str = "worker restarted") -> list[dict[str, Any]]:
        return [json.loads(line) for line in log.read_text().splitlines() if event in line]

    config = configured(tmp_path, postgres_url)
    async with serving(config, "serve", "--workers", "2") as gateway:
        first, second = gateway.said["workers"]
        away = config.rename(tmp_path / "away")
        os.kill(first["pid"], signal.SIGKILL)
        await until(lambda: not is_running(first["pid"]))
        assert await readyz(second["admin"]) == 200
        await until(lambda: bool(lines("worker did not start")))
        away.rename(config)
        await until(lambda: bool(lines()))
        (again,) = lines()
        assert await readyz(again["admin"]) == 200
        gateway.process.kill()
        await gateway.process.wait()
        await until(lambda: not is_running(again["pid"]) and not is_running(second["pid"]))


async def test_workers_need_postgresql(tmp_path: Path) -> None:
    """On SQLite several processes are refused, with what to write instead."""
    ended = await run("serve", "--config", str(configured(tmp_path, "sqlite:///gateway.db")), "--workers", "2")
    assert ended.code == 2
    assert "SQLite serves one process" in ended.err
    assert "postgresql://" in ended.err


async def test_a_wrong_configuration_is_told_once(tmp_path: Path) -> None:
    """A database that cannot be reached stops all of it, with the worker's own words, told by one worker."""
    path = configured(tmp_path, "postgresql://nobody@/none?host=/nonexistent")
    ended = await run("serve", "--config", str(path), "--workers", "3")
    assert ended.code == 1
    assert ended.err.count("The gateway cannot start: database") == 1


async def test_what_a_worker_refuses_is_refused(tmp_path: Path) -> None:
    """A configuration that only a worker can judge ends all of it with the worker's own code and words."""
    path = configured(tmp_path, "postgresql://nobody@/none?host=/nonexistent")
    path.write_text(path.read_text().replace("luckymonaco", "luckymonako"))
    ended = await run("serve", "--config", str(path), "--workers", "2")
    assert ended.code == 2
    assert ended.err.count("providers.lucky.adapter:") == 1


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    """The supervisor holds the shared ports itself, and says which one it cannot have; no worker is started."""
    path = configured(tmp_path, "postgresql://nobody@/none?host=/nonexistent")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        path.write_text(path.read_text().replace("127.0.0.1:0", at, 1))
        ended = await run("serve", "--config", str(path), "--workers", "2")
    assert ended.code == 1
    assert f"The gateway cannot start: cannot listen on {at}" in ended.err


# --- Starting, and told to stop meanwhile -----------------------------------------------------------------------------


@asynccontextmanager
async def started(
    config: Path, command: str, *more: str, folder: Path | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that may not serve yet; what is left of it, its workers among it, is killed in the end."""
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        command,
        "--config",
        config,
        *more,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@asynccontextmanager
async def migrating(url: str) -> AsyncIterator[Callable[[], Any]]:
    """A gateway elsewhere migrates the database, for long; answers what waits until another one waits for it."""
    db = await asyncpg.connect(url)

    async def awaited() -> None:
        async with asyncio.timeout(20):
            while not await db.fetchval("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async with db.transaction():
        await db.execute("SELECT pg_advisory_xact_lock($1)", migrations._LOCK)
        yield awaited
    await db.close()


@pytest.mark.parametrize("command", [("serve",), ("serve", "--workers", "2"), ("wallet",)], ids=" ".join)
@pytest.mark.parametrize("whom", [os.kill, os.killpg], ids=["process", "group"])
async def test_sigterm_ends_a_start(
    tmp_path: Path, postgres_url: str, command: tuple[str, ...], whom: Callable[[int, int], None]
) -> None:
    """Told to stop while it waits for a migration elsewhere, a process ends at once, with 0 and without a word."""
    async with migrating(postgres_url) as awaited, started(configured(tmp_path, postgres_url), *command) as process:
        await awaited()
        whom(process.pid, signal.SIGTERM)
        async with asyncio.timeout(10):
            out, err = await process.communicate()
    assert (process.returncode, out, err) == (0, b"", b"")


async def test_workers_take_no_module_from_the_working_folder(tmp_path: Path, postgres_url: str) -> None:
    """Whatever stands beside the configuration is data."""
    (tmp_path / "gateway.py").write_text("raise SystemExit('a file of the working folder runs')")
    async with started(configured(tmp_path, postgres_url), "serve", "--workers", "2", folder=tmp_path) as process:
        assert process.stdout is not None
        assert json.loads(await process.stdout.readline())["event"] == "serving"


async def test_a_worker_that_fails_is_asked_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It closes its output before it has ended: its own exit code is told all the same."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec 1>&-\nsleep 0.2\nexit 7\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    config = configured(tmp_path, "postgresql://nobody@/none?host=/nonexistent")
    with pytest.raises(WorkerFailed) as failed:
        await Supervisor(config, load(config, {}), 2).run()
    assert failed.value.code == 7
