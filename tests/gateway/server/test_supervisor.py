"""`serve --workers N`: several processes that share their ports."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.config import load
from gateway.server.supervisor import Supervisor, WorkerFailed
from tests.gateway.server.harness import configured, json_line, migrating, started
from tests.support.process import Serving, run, serving
from tests.support.results import result_body
from tests.support.waiting import until

REFERENCES = 30
DELIVERIES = 4


async def deliver(gateway: Serving, reference: str) -> Any:
    """Deliver once over a new connection, so that the kernel chooses the worker."""
    async with aiohttp.ClientSession() as http:
        return await gateway.deliver(http, result_body(reference))


async def readyz(at: str) -> int:
    """The status of a worker's readiness; 0 where nothing listens."""
    with suppress(aiohttp.ClientError):
        async with aiohttp.ClientSession() as http, http.get(f"http://{at}/readyz") as response:
            return response.status
    return 0


async def test_workers_share_ports_and_money(tmp_path: Path, postgres_url: str) -> None:
    """Connections reach several workers, each reference is credited once, and SIGTERM ends all processes."""
    async with serving(configured(tmp_path, postgres_url), "serve", "--workers", "2") as gateway:
        ready = gateway.ready_message
        pids = [worker["pid"] for worker in ready["workers"]]
        assert len(set(pids)) == 2
        assert [await readyz(worker["admin"]) for worker in ready["workers"]] == [200, 200]
        await gateway.open_account(opening_balance="0")
        references = [f"ref-{number}" for number in range(REFERENCES) for _ in range(DELIVERIES)]
        answers = await asyncio.gather(*(deliver(gateway, reference) for reference in references))
        assert {answer["error"] for answer in answers} == {0}
        by_reference = zip(references, (answer["transactionId"] for answer in answers), strict=True)
        assert len(set(by_reference)) == REFERENCES
        assert await gateway.cash() == REFERENCES * 10
        served = [await served_callbacks(worker["admin"]) for worker in ready["workers"]]
        assert sum(served) == REFERENCES * DELIVERIES
        assert all(served), "one worker had all connections"
        await gateway.stop()
    assert not any(is_running(pid) for pid in pids)
    assert "did not stop in time" not in (tmp_path / "gateway.log").read_text()


async def served_callbacks(admin: str) -> int:
    """The number of callbacks that a worker has answered."""
    async with aiohttp.ClientSession() as http, http.get(f"http://{admin}/metrics") as response:
        lines = (await response.text()).splitlines()
    return int(sum(float(line.split()[-1]) for line in lines if line.startswith("session_gateway_callbacks_total{")))


def is_running(pid: int) -> bool:
    """Whether the process exists."""
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


async def test_workers_are_restarted_and_end_with_their_supervisor(tmp_path: Path, postgres_url: str) -> None:
    """A killed worker is restarted, also where the first start fails; the other serves meanwhile; when the supervisor
    is killed, the workers end.
    """
    log = tmp_path / "gateway.log"

    def lines(event: str = "worker restarted") -> list[dict[str, Any]]:
        return [json.loads(line) for line in log.read_text().splitlines() if event in line]

    config = configured(tmp_path, postgres_url)
    async with serving(config, "serve", "--workers", "2") as gateway:
        first, second = gateway.ready_message["workers"]
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
    """Several workers on SQLite are refused, and the error says what to write instead."""
    ended = await run("serve", "--config", str(configured(tmp_path, "sqlite:///gateway.db")), "--workers", "2")
    assert ended.code == 2
    assert "SQLite serves one process" in ended.err
    assert "postgresql://" in ended.err


async def test_a_start_that_fails_is_reported_once(tmp_path: Path) -> None:
    """Where the database cannot be reached, the start fails with the error of one worker."""
    path = configured(tmp_path, "postgresql://nobody@/none?host=/nonexistent")
    ended = await run("serve", "--config", str(path), "--workers", "3")
    assert ended.code == 1
    assert ended.err.count("The gateway cannot start: database") == 1


async def test_an_invalid_configuration_is_reported_once(tmp_path: Path) -> None:
    """An adapter that does not exist fails the start with a worker's exit code and its error."""
    path = configured(tmp_path, "postgresql://nobody@/none?host=/nonexistent")
    path.write_text(path.read_text().replace("luckymonaco", "luckymonako"))
    ended = await run("serve", "--config", str(path), "--workers", "2")
    assert ended.code == 2
    assert ended.err.count("providers.lucky.adapter:") == 1


async def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """Where a shared port is in use the start fails, and the error names it."""
    path = configured(tmp_path, "postgresql://nobody@/none?host=/nonexistent")
    with socket.create_server(("127.0.0.1", 0)) as in_use:
        at = f"127.0.0.1:{in_use.getsockname()[1]}"
        path.write_text(path.read_text().replace("127.0.0.1:0", at, 1))
        ended = await run("serve", "--config", str(path), "--workers", "2")
    assert ended.code == 1
    assert f"The gateway cannot start: cannot listen on {at}" in ended.err


@pytest.mark.parametrize("command", [("serve",), ("serve", "--workers", "2"), ("wallet",)], ids=" ".join)
@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["process", "group"])
async def test_sigterm_ends_a_start(
    tmp_path: Path, postgres_url: str, command: tuple[str, ...], send: Callable[[int, int], None]
) -> None:
    """A process that waits for a migration by another process exits 0 on SIGTERM, without output."""
    async with (
        migrating(postgres_url) as wait_until_blocking,
        started(configured(tmp_path, postgres_url), *command) as process,
    ):
        await wait_until_blocking()
        send(process.pid, signal.SIGTERM)
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    assert (process.returncode, out, err) == (0, b"", b"")


async def test_workers_import_nothing_from_the_working_folder(tmp_path: Path, postgres_url: str) -> None:
    """A Python file in the working folder is not run."""
    (tmp_path / "gateway.py").write_text("raise SystemExit('a file of the working folder runs')")
    async with started(configured(tmp_path, postgres_url), "serve", "--workers", "2", folder=tmp_path) as process:
        assert (await json_line(process.stdout))["event"] == "serving"


async def test_the_exit_code_of_a_failed_worker_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that closes its output before it exits is waited for, so that its exit code is known."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec 1>&-\nsleep 0.2\nexit 7\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    config = configured(tmp_path, "postgresql://nobody@/none?host=/nonexistent")
    with pytest.raises(WorkerFailed) as failed:
        await Supervisor(config, load(config, {}), 2).run()
    assert failed.value.code == 7
