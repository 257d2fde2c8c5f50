"""What a separate process can ask of a hosted simulator."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from gateway.simulation import SimulatorHost, control_routes
from tests.gateway.simulation.harness import Ear, listening
from tests.gateway.simulation.plain import ACCOUNT, PLAIN, SESSION, State

WIN = {"session_id": "s1", "round_id": "r1", "reference": "ref-1", "currency": "EUR", "amount": "12.50"}


@pytest_asyncio.fixture
async def ear() -> AsyncIterator[Ear]:
    """Where the callbacks go."""
    async with listening() as ear:
        yield ear


@pytest_asyncio.fixture
async def host(ear: Ear) -> AsyncIterator[SimulatorHost[State]]:
    """A plain simulator with its control and one open session."""
    host = SimulatorHost(PLAIN, ACCOUNT, [SESSION], ear.url)
    await host.start(routes=control_routes(host))
    yield host
    await host.stop()


async def ask(base_url: str, method: str, what: str, order: object = None) -> tuple[int, Any]:
    """One request to the control: the status and the JSON."""
    body = order if isinstance(order, bytes) else json.dumps(order).encode()
    async with (
        aiohttp.ClientSession() as client,
        client.request(method, f"{base_url}/_simulator/{what}", data=body) as answer,
    ):
        return answer.status, await answer.json()


async def close(base_url: str) -> str:
    """Close the session as the gateway does."""
    async with aiohttp.ClientSession() as client, client.post(f"{base_url}/close", data="close s1") as answer:
        return f"{answer.status} {await answer.text()}"


async def test_a_win_happens_and_is_delivered_so_often(host: SimulatorHost[State], ear: Ear) -> None:
    """The answer is each exchange, so that a person sees what we replied to each repetition."""
    status, answer = await ask(host.base_url, "POST", "happen", {"win": WIN, "times": 3, "at_once": True})
    assert status == 200
    assert [exchange["reply"]["body"] for exchange in answer["exchanges"]] == ["ok"] * 3
    assert answer["exchanges"][0]["body"] == "won 12.50 EUR"
    assert len(ear.heard) == 3


async def test_only_what_happens_is_delivered(host: SimulatorHost[State], ear: Ear) -> None:
    """What was due before is left to its own next try, however often the new one is sent."""
    ear.replies.append(b"not now")
    assert (await ask(host.base_url, "POST", "happen", {"expire": {"session_id": "s1"}}))[0] == 200
    assert (await ask(host.base_url, "POST", "happen", {"win": WIN, "times": 2}))[0] == 200
    assert [body for _, body, _ in ear.heard] == [b"expired s1", b"won 12.50 EUR", b"won 12.50 EUR"]


async def test_a_fault_is_planned_and_ended(host: SimulatorHost[State]) -> None:
    """The fault befalls the provider's endpoint and never the control."""
    assert await ask(host.base_url, "POST", "fault", {"fault": "status:503"}) == (200, {"fault": "status:503"})
    assert await close(host.base_url) == "503 simulated HTTP status 503"
    assert await ask(host.base_url, "POST", "fault", {"fault": "none"}) == (200, {"fault": "none"})
    assert await close(host.base_url) == "200 closed"


async def test_sessions_are_opened_and_listed(host: SimulatorHost[State]) -> None:
    """A person can let a player begin to play, and see who plays."""
    new = {"session_id": "s9", "user_id": "u9", "game_id": "g9"}
    old = {"session_id": "s1", "user_id": "u1", "game_id": "g1"}
    assert await ask(host.base_url, "POST", "sessions", new) == (200, {"sessions": [old, new]})
    assert await ask(host.base_url, "GET", "sessions") == (200, {"sessions": [old, new]})


async def test_exchanges_are_listed_in_both_directions(host: SimulatorHost[State]) -> None:
    """What the gateway asked and what it was told can be read, without the requests to the control."""
    await close(host.base_url)
    await ask(host.base_url, "POST", "fault", {"fault": "reset:before"})
    with pytest.raises(aiohttp.ClientError):
        await close(host.base_url)
    status, answer = await ask(host.base_url, "GET", "exchanges")
    assert status == 200
    closed, lost = answer["received"]
    assert (closed["method"], closed["path"], closed["body"]) == ("POST", "/close", "close s1")
    assert closed["reply"] == {"status": 200, "headers": [["Content-Type", "text/plain"]], "body": "closed"}
    assert (lost["reply"], lost["note"], answer["sent"]) == (None, "reset:before", [])


@pytest.mark.parametrize(
    ("what", "order", "says"),
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
        ("happen", {"win": {**WIN, "promo": {"amount": "1", "reference": "p"}}}, (422, "no prizes")),
        ("happen", {"expire": {"session_id": "s7"}}, (404, "s7")),
        ("fault", {"fault": "hagn"}, (400, "hang")),
        ("sessions", {"session_id": "s7"}, (400, "user_id")),
        ("sesions", {}, (404, "sessions")),
    ],
)
async def test_what_cannot_be_done_is_told(
    host: SimulatorHost[State], ear: Ear, what: str, order: object, says: tuple[int, str]
) -> None:
    """A wrong order is answered with what is wrong, and nothing happens."""
    status, answer = await ask(host.base_url, "POST", what, order)
    assert status == says[0]
    assert says[1] in answer["error"]
    assert (host.due, ear.heard, host.sessions) == ((), [], (SESSION,))


async def test_what_stands_in_the_way_is_told(host: SimulatorHost[State]) -> None:
    """Nothing happens that could not be delivered."""
    host.callback_url = None
    assert (await ask(host.base_url, "POST", "happen", {"win": WIN}))[0] == 409
    assert host.due == ()


async def test_a_simulator_runs_as_a_process_until_it_is_told_to_stop() -> None:
    """It says on one line where it listens, can be asked there, and ends with success on SIGTERM."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.gateway.simulation.plain", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            listening_at = json.loads(await process.stdout.readline())["listening"]
            assert (await ask(listening_at, "GET", "sessions"))[1]["sessions"][0]["session_id"] == "s1"
            await ask(listening_at, "POST", "fault", {"fault": "hang"})
            process.terminate()
            assert await process.wait() == 0
            assert await process.stdout.read() == b""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
