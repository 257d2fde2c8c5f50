"""SIGHUP at any time: during a start, a stop and a reload, and with several workers."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import aiohttp
import grpc
import pytest

from gateway.server.signals import block_sighup, handle_sighup, run_on_event
from gateway.v1.session_service_pb2 import CloseSessionRequest
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from tests.gateway.server.harness import configured, json_line, log_line, migrating, started
from tests.support.gateway import configuration, family_table
from tests.support.process import Serving, serving
from tests.support.provider import hanging, scripted_provider
from tests.support.results import result_body
from tests.support.waiting import until

RELOADED = "configuration reloaded"
NOT_RELOADED = "configuration not reloaded: nothing has changed"
LOGGED = {"serve": RELOADED, "wallet": "SIGHUP changes nothing: a wallet reads its configuration when it starts"}


def events(log: Path) -> list[str]:
    """The events that were logged so far, but that it has started."""
    logged = [json.loads(line)["event"] for line in log.read_text().rpartition("\n")[0].splitlines()]
    return [event for event in logged if event != "started"]


# --- During a start and a stop ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("serve",), ("serve", "--workers", "2"), ("wallet",)], ids=" ".join)
@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["process", "group"])
async def test_sighup_during_a_start_reloads_after_it(
    tmp_path: Path, postgres_url: str, command: tuple[str, ...], send: Callable[[int, int], None]
) -> None:
    """SIGHUP does not end a process that waits for a migration, nor its workers; once it serves, it reloads."""
    async with contextlib.AsyncExitStack() as migration:
        wait_until_blocking = await migration.enter_async_context(migrating(postgres_url))
        async with started(configured(tmp_path, postgres_url), *command) as process:
            await wait_until_blocking()
            for _ in range(3):
                send(process.pid, signal.SIGHUP)
            await migration.aclose()
            ready = asyncio.create_task(json_line(process.stdout))
            while not ready.done():
                send(process.pid, signal.SIGHUP)
                await asyncio.wait({ready}, timeout=0.005)
            assert ready.result()["event"] == "serving"
            assert (await log_line(process))["event"].startswith((LOGGED[command[0]], "configuration valid"))
            process.terminate()
            async with asyncio.timeout(60):
                assert await process.wait() == 0


async def test_sighup_while_the_configuration_is_read_is_pending(tmp_path: Path) -> None:
    """SIGHUP before the event loop runs stays pending, and reloads the configuration after the start."""
    pipe = tmp_path / "token"
    os.mkfifo(pipe, 0o600)
    table = family_table("lucky", "luckymonaco", "http://127.0.0.1:1", token='{ file = "token" }')
    async with started(configuration(tmp_path, table), "serve") as process:
        writing = await open_for_writing(pipe)
        process.send_signal(signal.SIGHUP)
        os.write(writing, b"a-token")
        os.close(writing)
        assert (await json_line(process.stdout))["event"] == "serving"
        writing = await open_for_writing(pipe)
        os.write(writing, b"another-token")
        os.close(writing)
        line = await log_line(process)
        assert (line["event"], line["changed"]) == (RELOADED, ["providers.lucky.token"])


async def open_for_writing(pipe: Path) -> int:
    """Open a pipe for writing, once it is open for reading."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(OSError):
                return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            await asyncio.sleep(0.01)


async def test_sighup_does_not_end_a_process_that_inherits_the_block(tmp_path: Path) -> None:
    """A worker, which is started with SIGHUP blocked, serves also where SIGHUP arrives before its first line runs."""
    with block_sighup():
        running = started(configuration(tmp_path), "serve")
        process = await running.__aenter__()
    try:
        process.send_signal(signal.SIGHUP)
        assert (await json_line(process.stdout))["event"] == "serving"
    finally:
        await running.__aexit__(None, None, None)


async def test_sighup_during_a_stop_is_ignored(tmp_path: Path) -> None:
    """Repeated SIGHUP does not disturb a stop: calls in flight finish, it exits 0, and nothing is reloaded."""
    async with scripted_provider() as provider:
        provider.behaviour = hanging
        config = configuration(tmp_path, family_table("lucky", "luckymonaco", provider.base_url))
        async with serving(config) as gateway, grpc.aio.insecure_channel(gateway.ready_message["grpc"]) as channel:
            request = CloseSessionRequest(provider="lucky", user_id="421")
            in_flight = SessionServiceStub(channel).CloseSession(request, timeout=3)
            await provider.arrived.wait()
            gateway.process.terminate()
            async with asyncio.timeout(60):
                while gateway.process.returncode is None:
                    # Not process.send_signal: its poll() takes the exit status from asyncio's child watcher.
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(gateway.process.pid, signal.SIGHUP)
                    await asyncio.sleep(0.001)
            assert gateway.process.returncode == 0
            assert await in_flight.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert RELOADED not in events(tmp_path / "gateway.log")


async def test_a_wallet_ignores_sighup(tmp_path: Path) -> None:
    """SIGHUP is logged by a wallet and changes nothing."""
    config = configuration(tmp_path)
    async with serving(config, "wallet") as wallet:
        config.write_text("no configuration")
        wallet.process.send_signal(signal.SIGHUP)
        await until(lambda: len(events(tmp_path / "gateway.log")) == 1)
        assert events(tmp_path / "gateway.log")[0].startswith(LOGGED["wallet"])
        await wallet.open_account()
        await wallet.stop()


async def test_events_during_an_action_lead_to_one_more() -> None:
    """Several SIGHUP during an action lead to one more action, after the first has ended."""
    event, may_end, runs = asyncio.Event(), asyncio.Semaphore(0), 0

    async def action() -> None:
        nonlocal runs
        runs += 1
        await may_end.acquire()

    # Only a loop that handles a signal is woken by one.
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, event.clear)
    with handle_sighup(event.set):
        running = asyncio.create_task(run_on_event(event, action))
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: runs == 1)
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
        await until(event.is_set)
        may_end.release()
        await until(lambda: runs == 2)
        may_end.release()
        await asyncio.sleep(0)
        assert not event.is_set()
        running.cancel()
    asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR1)
    assert runs == 2


# --- Workers ----------------------------------------------------------------------------------------------------------


def keyed(folder: Path, url: str, key: str) -> Path:
    """A configuration whose provider has this callback key."""
    table = family_table("lucky", "luckymonaco", "http://127.0.0.1:1", callback_keys=f'["{key}"]')
    return configuration(folder, table, store=url)


async def statuses(gateway: Serving, key: str, times: int = 12) -> set[int]:
    """The statuses of callbacks with this key, each over a new connection: the kernel chooses the worker."""
    url = f"http://{gateway.ready_message['callbacks']}/callbacks/lucky/{key}/V4/Result"
    found = set()
    for _ in range(times):
        async with aiohttp.ClientSession() as http, http.post(url, data=result_body()) as answer:
            found.add(answer.status)
    return found


async def test_workers_reload_together(tmp_path: Path, postgres_url: str) -> None:
    """All workers reload a valid file. An invalid one is reported once and reloaded by none. A restarted worker uses
    the file as it is then.
    """
    log, old, new = tmp_path / "gateway.log", "o" * 40, "n" * 40
    config = keyed(tmp_path, postgres_url, old)
    async with serving(config, "serve", "--workers", "3") as gateway:
        assert await statuses(gateway, old) == {200}
        config.write_text(config.read_text().replace("luckymonaco", "luckymonako"))
        gateway.process.send_signal(signal.SIGHUP)
        await until(lambda: NOT_RELOADED in events(log))
        keyed(tmp_path, postgres_url, new)
        gateway.process.send_signal(signal.SIGHUP)
        await until(lambda: events(log).count(RELOADED) == 3)
        assert events(log).count(NOT_RELOADED) == 1
        assert await statuses(gateway, new) == {200}
        assert await statuses(gateway, old) == {404}
        config.write_text(config.read_text().replace('"127.0.0.1:0"', '"127.0.0.1:1"', 1))
        gateway.process.send_signal(signal.SIGHUP)
        await until(lambda: events(log).count(NOT_RELOADED) == 2)
        keyed(tmp_path, postgres_url, new)
        os.kill(gateway.ready_message["workers"][0]["pid"], signal.SIGKILL)
        await until(lambda: "worker restarted" in events(log))
        assert await statuses(gateway, new) == {200}
        await gateway.stop()
    assert events(log).count(RELOADED) == 3
