"""Control of a simulator by another process."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from gateway.simulation import SimulatorHost
from gateway.simulation.control import control_routes
from tests.gateway.simulation.harness import CallbackReceiver
from tests.gateway.simulation.plain_dialect import ACCOUNT, PLAIN, SESSION, State

WIN = {"session_id": "s1", "round_id": "r1", "reference": "ref-1", "currency": "EUR", "amount": "12.50"}


@pytest.fixture
async def host(receiver: CallbackReceiver) -> AsyncIterator[SimulatorHost[State]]:
    """A simulator with its control and one open session."""
    host = SimulatorHost(PLAIN, ACCOUNT, [SESSION], receiver.url)
    await host.start(routes=control_routes(host))
    yield host
    await host.stop()


async def send_order(base_url: str, method: str, order_name: str, order: object = None) -> tuple[int, Any]:
    """Send one request to the control. Returns the status and the JSON."""
    body = order if isinstance(order, bytes) else json.dumps(order).encode()
    async with (
        aiohttp.ClientSession() as client,
        client.request(method, f"{base_url}/_simulator/{order_name}", data=body) as answer,
    ):
        return answer.status, await answer.json()


async def close(base_url: str) -> str:
    """Close the session as the gateway does. Returns status and body."""
    async with aiohttp.ClientSession() as client, client.post(f"{base_url}/close", data="close s1") as answer:
        return f"{answer.status} {await answer.text()}"


async def test_a_win_is_delivered_several_times(host: SimulatorHost[State], receiver: CallbackReceiver) -> None:
    """The answer holds the exchange of each delivery."""
    status, answer = await send_order(host.base_url, "POST", "happen", {"win": WIN, "times": 3, "at_once": True})
    assert status == 200
    assert [exchange["reply"]["body"] for exchange in answer["exchanges"]] == ["ok"] * 3
    assert answer["exchanges"][0]["body"] == "won 12.50 EUR"
    assert len(receiver.received) == 3


async def test_only_the_new_event_is_delivered(host: SimulatorHost[State], receiver: CallbackReceiver) -> None:
    """A callback that was pending before is not delivered with the new one."""
    receiver.replies.append(b"not now")
    assert (await send_order(host.base_url, "POST", "happen", {"expire": {"session_id": "s1"}}))[0] == 200
    assert (await send_order(host.base_url, "POST", "happen", {"win": WIN, "times": 2}))[0] == 200
    assert [body for _, body, _ in receiver.received] == [b"expired s1", b"won 12.50 EUR", b"won 12.50 EUR"]


async def test_a_fault_is_planned_and_removed(host: SimulatorHost[State]) -> None:
    """The fault applies to the provider's endpoint and not to the control."""
    assert await send_order(host.base_url, "POST", "fault", {"fault": "status:503"}) == (200, {"fault": "status:503"})
    assert await close(host.base_url) == "503 simulated HTTP status 503"
    assert await send_order(host.base_url, "POST", "fault", {"fault": "none"}) == (200, {"fault": "none"})
    assert await close(host.base_url) == "200 closed"


async def test_sessions_are_opened_and_listed(host: SimulatorHost[State]) -> None:
    """A session can be opened, and the open sessions listed."""
    new = {"session_id": "s9", "user_id": "u9", "game_id": "g9"}
    old = {"session_id": "s1", "user_id": "u1", "game_id": "g1"}
    assert await send_order(host.base_url, "POST", "sessions", new) == (200, {"sessions": [old, new]})
    assert await send_order(host.base_url, "GET", "sessions") == (200, {"sessions": [old, new]})


async def test_exchanges_are_listed_in_both_directions(host: SimulatorHost[State]) -> None:
    """The received and the sent exchanges are listed, without the requests to the control."""
    await close(host.base_url)
    await send_order(host.base_url, "POST", "fault", {"fault": "reset:before"})
    with pytest.raises(aiohttp.ClientError):
        await close(host.base_url)
    status, answer = await send_order(host.base_url, "GET", "exchanges")
    assert status == 200
    closed, lost = answer["received"]
    assert (closed["method"], closed["path"], closed["body"]) == ("POST", "/close", "close s1")
    assert closed["reply"] == {"status": 200, "headers": [["Content-Type", "text/plain"]], "body": "closed"}
    assert (lost["reply"], lost["note"], answer["sent"]) == (None, "reset:before", [])


@pytest.mark.parametrize(
    ("order_name", "order", "expected"),
    [
        ("happen", b"{", (400, "body")),
        ("happen", b"\xff", (400, "body")),
        ("fault", b'{"fault": "\xff"}', (400, "body")),
        ("happen", {}, (400, "exactly one")),
        ("happen", {"win": WIN, "expire": {"session_id": "s1"}}, (400, "exactly one")),
        ("happen", {"win": WIN, "tmies": 5}, (400, "tmies")),
        ("happen", {"win": WIN, "times": 0}, (400, "times")),
        ("happen", {"win": {**WIN, "amount": "1e5"}}, (400, "amount")),
        ("happen", {"win": {**WIN, "amount": 12.5}}, (400, "amount")),
        ("happen", {"win": {**WIN, "promo": {"amount": "1", "reference": "p"}}}, (422, "has no prizes")),
        ("happen", {"expire": {"session_id": "s7"}}, (404, "s7")),
        ("fault", {"fault": "hagn"}, (400, "hang")),
        ("sessions", {"session_id": "s7"}, (400, "user_id")),
        ("sesions", {}, (404, "sessions")),
    ],
)
async def test_an_invalid_order_is_rejected(
    host: SimulatorHost[State], receiver: CallbackReceiver, order_name: str, order: object, expected: tuple[int, str]
) -> None:
    """The error says what is wrong, and nothing is changed."""
    status, answer = await send_order(host.base_url, "POST", order_name, order)
    assert status == expected[0]
    assert expected[1] in answer["error"]
    assert (host.pending, receiver.received, host.sessions) == ((), [], (SESSION,))


async def test_an_event_needs_a_callback_url(host: SimulatorHost[State]) -> None:
    """Without a callback URL an event is rejected with 409 and not queued."""
    host.callback_url = None
    assert (await send_order(host.base_url, "POST", "happen", {"win": WIN}))[0] == 409
    assert host.pending == ()


async def test_a_simulator_runs_as_a_process_until_sigterm() -> None:
    """It prints one line with its address, serves its control there, and exits 0 on SIGTERM."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.gateway.simulation.plain_dialect", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            base_url = json.loads(await process.stdout.readline())["listening"]
            assert (await send_order(base_url, "GET", "sessions"))[1]["sessions"][0]["session_id"] == "s1"
            await send_order(base_url, "POST", "fault", {"fault": "hang"})
            process.terminate()
            assert await process.wait() == 0
            assert await process.stdout.read() == b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
