"""A gateway and the operator's wallet, each a separate process; either may be killed, and nothing is paid twice."""

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.store.factory import open_store
from gateway.store.models import EventFilter
from gateway.v1 import wallet_service_pb2 as pb
from gateway.v1.wallet_service_pb2_grpc import WalletServiceStub
from tests.support.gateway import configuration, family_table, locked
from tests.support.ports import held_port
from tests.support.process import Serving, run, serving
from tests.support.results import result_body
from tests.support.wallet import hanging, scripted_wallet

HANGS_S = 60.0
"""Without an answer by then the gateway has no timeout."""

SEND_AGAIN = {"error": 998, "description": "Internal error, send again"}


def of_wallet(folder: Path, *, port: int = 0, store: str = "") -> Path:
    """The configuration of a wallet; its provider is none of its business."""
    own = folder / "wallet"
    own.mkdir(exist_ok=True)
    path = configuration(own, family_table("other", "kyren", "http://127.0.0.1:9"), store=store)
    path.write_text(path.read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}", 1))
    return path


def of_gateway(folder: Path, target: str, *, store: str = "") -> Path:
    wallet = f'[wallet]\ntarget = "dns:///{target}"\n'
    return configuration(folder, family_table("lucky", "luckymonaco", "http://127.0.0.1:9"), wallet, store=store)


@dataclass(frozen=True)
class Player:
    """The outside: delivers to the gateway, and reads the wallet's state."""

    http: aiohttp.ClientSession

    async def deliver(self, gateway: Serving, reference: str) -> Any:
        return await gateway.deliver(self.http, result_body(reference))

    async def credited(self, gateway: Serving, reference: str) -> Any:
        """Deliver as a provider does: again until it is answered with an outcome."""
        async with asyncio.timeout(HANGS_S):
            while (answer := await self.deliver(gateway, reference)) == SEND_AGAIN:
                pass
        return answer

    async def ready(self, gateway: Serving) -> tuple[int, str]:
        async with self.http.get(f"http://{gateway.ready_message['admin']}/readyz") as response:
            return response.status, await response.text()


@pytest.fixture
async def player() -> AsyncIterator[Player]:
    async with aiohttp.ClientSession() as http:
        yield Player(http)


async def stored_events(url: str, events: int) -> list[tuple[str, str]]:
    """Type and reference of each event in a store that no gateway uses any more; there should be that many."""
    store = open_store(url)
    await store.open()
    try:
        seen = -1
        async with asyncio.timeout(60):
            while len(kept := await store.events_after("", EventFilter(), 10_000)) < events:
                seen = await store.events_committed(seen)
        return sorted((event.type, event.reference) for event in kept)
    finally:
        await store.close()


async def test_a_storm_is_credited_once(tmp_path: Path, player: Player, store_url: str) -> None:
    """Each of 40 references, delivered 8 times at once, is credited once, with one transaction and one event."""
    references = [f"reference-{number:02}" for number in range(40)]
    async with serving(of_wallet(tmp_path), "wallet") as wallet:
        await wallet.open_account(opening_balance="100")
        async with serving(of_gateway(tmp_path, wallet.ready_message["grpc"], store=store_url)) as gateway:
            said = await asyncio.gather(*(player.deliver(gateway, name) for name in references for _ in range(8)))
            await gateway.stop()
        assert {answer["error"] for answer in said} == {0}
        transactions = [{answer["transactionId"] for answer in said[first : first + 8]} for first in range(0, 320, 8)]
        assert all(len(ids) == 1 for ids in transactions)
        assert len(set().union(*transactions)) == 40
        assert await wallet.cash() == 500
        await wallet.stop()
    assert await stored_events(store_url, 40) == [("RESULT_CREDITED", name) for name in references]


@pytest.mark.parametrize("moment", ["the answer is on its way", "the line is on its way"])
async def test_a_gateway_killed_after_the_credit_returns_it_next_time(
    tmp_path: Path, player: Player, moment: str
) -> None:
    """Killed between the wallet's commit and its own, a gateway answers the next delivery as the first would have been:
    one transaction, one event.
    """
    url = f"sqlite:///{tmp_path / 'gateway.db'}"
    committed = asyncio.Event()
    answers: list[pb.ApplyResultResponse] = []
    async with (
        serving(of_wallet(tmp_path), "wallet") as wallet,
        grpc.aio.insecure_channel(wallet.ready_message["grpc"]) as to,
    ):
        await wallet.open_account(opening_balance="100")

        async def passing_on(request: pb.ApplyResultRequest, context: Any) -> pb.ApplyResultResponse | bytes:
            answers.append(await WalletServiceStub(to).ApplyResult(request))
            committed.set()
            return await hanging(request, context) if moment == "the answer is on its way" else answers[-1]

        async with scripted_wallet() as between:
            between.behaviour = passing_on
            async with serving(of_gateway(tmp_path, f"127.0.0.1:{between.port}")) as gateway:
                with locked(tmp_path / "gateway.db"):
                    delivery = asyncio.create_task(player.deliver(gateway, "r"))
                    await committed.wait()
                    gateway.process.kill()
                    await gateway.process.wait()
                with pytest.raises(aiohttp.ClientError):
                    await delivery
        async with serving(of_gateway(tmp_path, wallet.ready_message["grpc"])) as gateway:
            again = await player.deliver(gateway, "r")
            assert (again["error"], again["cash"]) == (0, 110)
            assert again["transactionId"] == answers[0].transaction_id
            assert await player.deliver(gateway, "r") == again
            await gateway.stop()
        assert await wallet.cash() == 110
    assert await stored_events(url, 1) == [("RESULT_CREDITED", "r")]


async def test_a_wallet_killed_and_restarted_is_found_again(tmp_path: Path, player: Player) -> None:
    """While the wallet is gone the gateway is not ready and answers 998; when it is back it credits, once."""
    async with serving(of_wallet(tmp_path), "wallet") as wallet:
        await wallet.open_account(opening_balance="100")
        port = int(wallet.ready_message["grpc"].rpartition(":")[2])
        async with serving(of_gateway(tmp_path, wallet.ready_message["grpc"])) as gateway:
            assert await player.ready(gateway) == (200, "ready\n")
            first = await player.deliver(gateway, "before")
            assert first["error"] == 0
            in_flight = [asyncio.create_task(player.deliver(gateway, "during")) for _ in range(8)]
            wallet.process.kill()
            await wallet.process.wait()
            assert {answer["error"] for answer in await asyncio.gather(*in_flight)} <= {0, 998}
            with held_port(port):
                async with asyncio.timeout(HANGS_S):
                    assert await player.deliver(gateway, "while it is gone") == SEND_AGAIN
                status, words = await player.ready(gateway)
            assert status == 503
            assert f"the operator's wallet at dns:///127.0.0.1:{port} cannot be reached" in words
            async with serving(of_wallet(tmp_path, port=port), "wallet") as back:
                for reference in ("before", "during", "while it is gone"):
                    assert (await player.credited(gateway, reference))["error"] == 0
                assert (await player.credited(gateway, "before"))["transactionId"] == first["transactionId"]
                assert await back.cash() == 130
                assert (await player.ready(gateway))[0] == 200


async def test_a_wallet_that_is_stopped_is_998(tmp_path: Path, player: Player) -> None:
    """A wallet that keeps its connection and does not answer costs 998; what it did then is paid once."""
    async with serving(of_wallet(tmp_path), "wallet") as wallet:
        await wallet.open_account(opening_balance="100")
        async with serving(of_gateway(tmp_path, wallet.ready_message["grpc"])) as gateway:
            assert (await player.deliver(gateway, "first"))["error"] == 0
            wallet.process.send_signal(signal.SIGSTOP)
            async with asyncio.timeout(HANGS_S):
                said = await asyncio.gather(*(player.deliver(gateway, "second") for _ in range(20)))
            assert said == [SEND_AGAIN] * 20
            wallet.process.send_signal(signal.SIGCONT)
            assert (await player.credited(gateway, "second"))["cash"] == 120
            assert await wallet.cash() == 120


async def test_a_gateway_with_an_operators_wallet_serves_none(tmp_path: Path) -> None:
    """Where balances are elsewhere the gateway has no WalletService: an account opened here would never be credited."""
    async with serving(of_gateway(tmp_path, "127.0.0.1:9")) as gateway:
        async with grpc.aio.insecure_channel(gateway.ready_message["grpc"]) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await WalletServiceStub(channel).GetBalance(pb.GetBalanceRequest(user_id="421", currency="USD"))
            assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
        await gateway.stop()


async def test_the_wallet_command_serves_the_ledger_alone(tmp_path: Path, store_url: str) -> None:
    """It prints one line, is healthy, serves nothing but the WalletService, keeps its books, and exits 0 on SIGTERM."""
    credit = pb.ApplyResultRequest(provider="p", reference="r", user_id="421", currency="USD", amount="10")
    for _ in range(2):
        async with serving(of_wallet(tmp_path, store=store_url), "wallet") as wallet:
            assert wallet.ready_message.keys() == {"event", "grpc"}
            assert wallet.ready_message["event"] == "serving"
            async with grpc.aio.insecure_channel(wallet.ready_message["grpc"]) as channel:
                health = health_pb2_grpc.HealthStub(channel)
                answer = await health.Check(health_pb2.HealthCheckRequest(service="gateway.v1.WalletService"))
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await health.Check(health_pb2.HealthCheckRequest(service="gateway.v1.SessionService"))
                assert raised.value.code() is grpc.StatusCode.NOT_FOUND
                await wallet.open_account(opening_balance="100")
                assert (await WalletServiceStub(channel).ApplyResult(credit)).cash == "110"
            await wallet.stop()


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ('[wallet]\ntarget = "dns:///127.0.0.1:9"', "wallet.target"),
        ('[grpc]\nlisten = "127.0.0.1:0"\ntls = { cert = "gateway.toml", key = "gateway.toml" }', "grpc.tls"),
    ],
)
async def test_the_wallet_command_refuses_what_it_cannot_serve(tmp_path: Path, section: str, path: str) -> None:
    """A configuration that names another wallet, or TLS that cannot be had, is refused with the key's path."""
    config = of_wallet(tmp_path)
    text = config.read_text()
    config.write_text(
        section + text.replace('[grpc]\nlisten = "127.0.0.1:0"', "") if "grpc" in path else text + section
    )
    refused = await run("wallet", "--config", str(config))
    assert refused.code == 2
    assert f"{path}:" in refused.err
    assert "Traceback" not in refused.err


async def test_the_wallet_command_says_why_it_cannot_start(tmp_path: Path) -> None:
    """An address that is taken, or a store in use, ends it with a sentence."""
    async with serving(of_wallet(tmp_path), "wallet") as wallet:
        port = int(wallet.ready_message["grpc"].rpartition(":")[2])
        refused = await run("wallet", "--config", str(of_wallet(tmp_path)))
        assert refused.code == 1
        assert refused.err.startswith("The wallet cannot start: ")
        other = configuration(tmp_path)
        other.write_text(other.read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}", 1))
        refused = await run("wallet", "--config", str(other))
        assert refused.code == 1
        assert f"127.0.0.1:{port}" in refused.err
