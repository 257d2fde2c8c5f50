"""SIGHUP does no harm, whenever it comes and whoever gets it; several workers reload together."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from gateway.server.signals import block_sighup, handle_sighup, run_on_event
from gateway.v1.session_service_pb2 import CloseSessionRequest
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from tests.gateway.server.test_supervisor import configured, migrating, started
from tests.support.gateway import configuration, family_table
from tests.support.process import Serving, serving
from tests.support.provider import hanging, scripted_provider
from tests.support.results import result_body
from tests.support.waiting import until

RELOADED = "configuration reloaded"
NOT_RELOADED = "configuration not reloaded: nothing has changed"
ANSWERS = {"serve": RELOADED, "wallet": "SIGHUP changes nothing: a wallet reads its configuration when it starts"}


def events(log: Path) -> list[str]:
    """What was logged so far."""
    return [json.loads(line)["event"] for line in log.read_text().rpartition("\n")[0].splitlines()]


async def line_of(stream: asyncio.StreamReader | None) -> dict[str, Any]:
    assert stream is not None
    async with asyncio.timeout(20):
        line: dict[str, Any] = json.loads(await stream.readline())
        return line


# --- While it starts, and while it stops ------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("serve",), ("serve", "--workers", "2"), ("wallet",)], ids=" ".join)
@pytest.mark.parametrize("whom", [os.kill, os.killpg], ids=["process", "group"])
async def test_a_start_goes_on(
    tmp_path: Path, postgres_url: str, command: tuple[str, ...], whom: Callable[[int, int], None]
) -> None:
    """One that waits for a migration elsewhere serves when that has ended, and does then as it was told. Whoever is
    started meanwhile is not ended by it either.
    """
    async with contextlib.AsyncExitStack() as elsewhere:
        awaited = await elsewhere.enter_async_context(migrating(postgres_url))
        async with started(configured(tmp_path, postgres_url), *command) as process:
            await awaited()
            for _ in range(3):
                whom(process.pid, signal.SIGHUP)
            await elsewhere.aclose()
            said = asyncio.create_task(line_of(process.stdout))
            while not said.done():
                whom(process.pid, signal.SIGHUP)
                await asyncio.wait({said}, timeout=0.005)
            assert said.result()["event"] == "serving"
            assert (await line_of(process.stderr))["event"].startswith((ANSWERS[command[0]], "configuration valid"))
            process.terminate()
            async with asyncio.timeout(20):
                assert await process.wait() == 0


async def test_a_start_that_still_reads_goes_on(tmp_path: Path) -> None:
    """A pipe in a secret's place holds it up before there is a loop: SIGHUP waits, and has it read once more."""
    pipe = tmp_path / "token"
    os.mkfifo(pipe)
    table = family_table("lucky", "luckymonaco", "http://127.0.0.1:1", token='{ file = "token" }')
    async with started(configuration(tmp_path, table), "serve") as process:
        writing = await opened(pipe)
        process.send_signal(signal.SIGHUP)
        os.write(writing, b"a-token")
        os.close(writing)
        assert (await line_of(process.stdout))["event"] == "serving"
        writing = await opened(pipe)
        os.write(writing, b"another-token")
        os.close(writing)
        line = await line_of(process.stderr)
        assert (line["event"], line["changed"]) == (RELOADED, ["providers.lucky.token"])


async def opened(pipe: Path) -> int:
    """A pipe's end to write to, once somebody has it open to read."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(OSError):
                return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            await asyncio.sleep(0.01)


async def test_a_process_that_is_started_with_it_held_back_is_not_ended_by_it(tmp_path: Path) -> None:
    """As a supervisor starts its workers: one that comes in the very first moment changes nothing, for it reads the
    configuration after that.
    """
    with block_sighup():
        running = started(configuration(tmp_path), "serve")
        process = await running.__aenter__()
    try:
        process.send_signal(signal.SIGHUP)
        assert (await line_of(process.stdout))["event"] == "serving"
    finally:
        await running.__aexit__(None, None, None)


async def test_a_stop_goes_on(tmp_path: Path) -> None:
    """Told again and again until it is gone, it finishes what is in flight, exits 0, and reloads nothing."""
    async with scripted_provider() as provider:
        provider.behaviour = hanging
        config = configuration(tmp_path, family_table("lucky", "luckymonaco", provider.base_url))
        async with serving(config) as gateway, grpc.aio.insecure_channel(gateway.said["grpc"]) as channel:
            request = CloseSessionRequest(provider="lucky", user_id="421")
            under_way = SessionServiceStub(channel).CloseSession(request, timeout=1)
            await provider.arrived.wait()
            gateway.process.terminate()
            async with asyncio.timeout(20):
                while gateway.process.returncode is None:
                    gateway.process.send_signal(signal.SIGHUP)
                    await asyncio.sleep(0.001)
            assert gateway.process.returncode == 0
            assert await under_way.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert RELOADED not in events(tmp_path / "gateway.log")


async def test_a_wallet_says_that_it_reloads_nothing(tmp_path: Path) -> None:
    """It serves on."""
    config = configuration(tmp_path)
    async with serving(config, "wallet") as wallet:
        config.write_text("no configuration")
        wallet.process.send_signal(signal.SIGHUP)
        await until(lambda: len(events(tmp_path / "gateway.log")) == 1)
        assert events(tmp_path / "gateway.log")[0].startswith(ANSWERS["wallet"])
        await wallet.open_account()
        await wallet.stop()


async def test_what_is_told_meanwhile_is_done_once_more() -> None:
    """However often it is told while it acts, and one time after the other."""
    told, may_go_on, acts = asyncio.Event(), asyncio.Semaphore(0), 0

    async def act() -> None:
        nonlocal acts
        acts += 1
        await may_go_on.acquire()

    # The loop of this test handles no signal, and would not be woken.
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, told.clear)
    with handle_sighup(told.set):
        acting = asyncio.create_task(run_on_event(told, act))
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: acts == 1)
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
        await until(told.is_set)
        may_go_on.release()
        await until(lambda: acts == 2)
        may_go_on.release()
        await asyncio.sleep(0)
        assert not told.is_set()
        acting.cancel()
    asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR1)
    assert acts == 2


# --- Workers ----------------------------------------------------------------------------------------------------------


def keyed(folder: Path, url: str, key: str) -> Path:
    """A configuration whose provider calls with this key."""
    table = family_table("lucky", "luckymonaco", "http://127.0.0.1:1", callback_keys=f'["{key}"]')
    return configuration(folder, table, store=url)


async def statuses(gateway: Serving, key: str, times: int = 12) -> set[int]:
    """What callbacks with this key are answered, over connections of their own: the system chooses the worker."""
    url = f"http://{gateway.said['callbacks']}/callbacks/lucky/{key}/V4/Result"
    found = set()
    for _ in range(times):
        async with aiohttp.ClientSession() as http, http.post(url, data=result_body()) as answer:
            found.add(answer.status)
    return found


async def test_workers_reload_together(tmp_path: Path, postgres_url: str) -> None:
    """The supervisor passes a good file on to each; a bad one it tells once, and passes on to none. A worker that is
    started again serves by the file as it is.
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
        os.kill(gateway.said["workers"][0]["pid"], signal.SIGKILL)
        await until(lambda: "worker restarted" in events(log))
        assert await statuses(gateway, new) == {200}
        await gateway.stop()
    assert events(log).count(RELOADED) == 3
