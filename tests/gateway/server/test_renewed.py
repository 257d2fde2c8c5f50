"""What a reload leaves as it is, in a gateway of this process: the parts of a provider that have not changed."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from adapters.contract import Account, Adapter, CallbackAnswer, HttpReply
from adapters.luckymonaco import ADAPTER
from adapters.registry import Registry
from gateway.config import load
from gateway.server.reload import log_reload_failure
from gateway.sessions.provider import HealthState, Provider
from gateway.store.base import StoreUnavailable
from gateway.store.models import ProviderState
from gateway.v1.reconciliation_service_pb2 import ListRefusedCallbacksRequest, RedeliverCallbackRequest
from gateway.v1.wallet_service_pb2 import OpenAccountRequest
from tests.support.gateway import Running, configuration, family_table, locked, running_gateway, told
from tests.support.provider import scripted_provider
from tests.support.results import result_body

BASE_URL = "http://127.0.0.1:1"
OTHER_URL = "http://127.0.0.1:2"
LIMITED = "[providers.lucky.limits]\nmax_concurrent_calls = 7\n"


def table(base_url: str = BASE_URL, **more: str) -> str:
    return family_table("lucky", "luckymonaco", base_url, **more)


OTHER = family_table("other", "kyren", BASE_URL)


async def reload(gateway: Running, *sections: str) -> Provider:
    """Reload, and answer the provider `lucky`."""
    await gateway.gateway.reload(load(configuration(gateway.database.parent, *sections), {}))
    return gateway.gateway.providers["lucky"]


def parts(provider: Provider) -> dict[str, int]:
    """What a provider holds that lives, by identity."""
    return {part: id(getattr(provider, part)) for part in ("client", "admission", "health", "enabled_state")}


async def test_who_has_not_changed_is_the_very_same(tmp_path: Path) -> None:
    """Whatever happens to others, to limits of the gateway, and to secrets that its mask knows too."""
    async with running_gateway(tmp_path, table(), OTHER) as gateway:
        lucky, other = (gateway.gateway.providers[name] for name in ("lucky", "other"))
        assert await reload(gateway, table(), OTHER, "[journal]\nbody_retention_days = 3\n") is lucky
        assert gateway.gateway.providers["other"] is other
        assert (
            await reload(gateway, table(), family_table("third", "kyren", BASE_URL, token='"another-token"')) is lucky
        )
        assert lucky.mask.text("another-token") == "***"


@pytest.mark.parametrize(
    ("section", "renewed"),
    [
        (table(token='"another-token"'), set()),
        (table(callback_keys='["another-key"]'), set()),
        (table(secure_login='"partner-2"'), set()),
        (table() + "[providers.lucky.breaker]\nopen_s = 1\n", set()),
        (table() + LIMITED, {"client"}),
        (table(allow_private_addresses="false"), {"client"}),
        (table(OTHER_URL), {"client", "admission"}),
    ],
    ids=["token", "key", "login", "breaker", "limits", "addresses", "base_url"],
)
async def test_what_has_not_changed_of_a_provider_is_the_very_same(
    tmp_path: Path, section: str, renewed: set[str]
) -> None:
    """Connections where it is reached as before, gate where it is the same server, health and switch always."""
    async with running_gateway(tmp_path, table()) as gateway:
        before = gateway.gateway.providers["lucky"]
        after = await reload(gateway, section)
        assert after is not before
        assert {part for part, one in parts(before).items() if parts(after)[part] != one} == renewed


async def test_a_gate_is_told_its_limits(tmp_path: Path) -> None:
    """All of them, where it is kept; those of the file before are not in force any more."""
    async with running_gateway(tmp_path, table()) as gateway:
        gate = (await reload(gateway, table(retry="{ attempts = 5 }") + LIMITED)).admission
        assert (gate.limits.max_concurrent_calls, gate.retry.attempts) == (7, 5)
        assert (await reload(gateway, table())).admission is gate
        assert (gate.limits.max_concurrent_calls, gate.retry.attempts) == (100, 1)


async def test_health_follows_a_provider_that_moves(tmp_path: Path) -> None:
    """What is known of it stays until it is asked again, and its listeners hear of it once, however often it moves."""
    async with scripted_provider() as good, running_gateway(tmp_path, table()) as gateway:
        lucky = gateway.gateway.providers["lucky"]
        heard = len(lucky.health.listeners)
        lucky.health.state = HealthState.FAILING
        for number in range(3):
            lucky = await reload(gateway, table(good.base_url, token=f'"token-{number}"'))
        assert lucky.health.state is HealthState.FAILING
        assert len(lucky.health.listeners) == heard
        assert not lucky.healthy


async def test_a_switched_off_provider_that_comes_back_is_off(tmp_path: Path) -> None:
    """It may be taken out of the file meanwhile: whoever switched it off has not switched it on."""
    async with running_gateway(tmp_path, table(), OTHER) as gateway:
        await gateway.gateway.provider_switches.change("lucky", ProviderState.DISABLED, "anna", "ticket 4711")
        await gateway.gateway.reload(load(configuration(tmp_path, OTHER), {}))
        assert "lucky" not in gateway.gateway.providers
        assert (await reload(gateway, table(), OTHER)).enabled_state.disabled is not None


async def test_a_store_that_does_not_answer_changes_nothing(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, table()) as gateway:
        before = gateway.gateway.providers["lucky"]
        with locked(tmp_path / "gateway.db"), pytest.raises(StoreUnavailable):
            await reload(gateway, table(OTHER_URL))
        assert gateway.gateway.providers["lucky"] is before
        assert await reload(gateway, table(OTHER_URL)) is not before


async def test_limits_of_the_listeners_are_taken_on(tmp_path: Path) -> None:
    """For the next call and the next connection."""
    async with running_gateway(tmp_path, table()) as gateway:
        config = configuration(tmp_path, table(), grpc="max_calls = 7\nmax_event_streams = 8")
        text = config.read_text().replace("[callbacks]", "[callbacks]\nmax_connections = 9\nreceive_timeout_s = 1.5")
        config.write_text(text)
        await gateway.gateway.reload(load(config, {}))
        calls, connections = gateway.gateway.rpc_server.limits, gateway.gateway.callback_server.limits
        assert (calls.calls, calls.event_streams) == (7, 8)
        assert (connections.connections, connections.receive_s) == (9, 1.5)


async def test_bodies_are_kept_as_long_as_the_file_says(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, table()) as gateway:
        await reload(gateway, table(), "[journal]\nbody_retention_days = 3\n")
        assert gateway.gateway.housekeeping.keep_bodies == timedelta(days=3)
        await reload(gateway, table())
        assert gateway.gateway.housekeeping.keep_bodies is None


async def test_callbacks_are_redelivered_by_what_is_served(tmp_path: Path) -> None:
    """Of who is gone none is; by who comes back they are judged under its present configuration."""
    async with running_gateway(tmp_path, table(), OTHER) as gateway:
        await gateway.callback("lucky", "V4/Result", result_body())
        kept = await gateway.reconciliation.ListRefusedCallbacks(ListRefusedCallbacksRequest())
        request = RedeliverCallbackRequest(
            exchange_id=kept.callbacks[0].exchange_id, redelivered_by="anna", reason="account opened"
        )
        await gateway.gateway.reload(load(configuration(tmp_path, OTHER), {}))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await gateway.reconciliation.RedeliverCallback(request)
        assert told(refused.value).reason == "NOT_REDELIVERABLE"
        await reload(gateway, table(), OTHER)
        await gateway.wallet.OpenAccount(OpenAccountRequest(user_id="421", currency="USD", opening_balance="1"))
        assert (await gateway.reconciliation.RedeliverCallback(request)).verdict == "CREDITED"


class OneAdapter:
    """A registry of one adapter, which may be exchanged."""

    def __init__(self) -> None:
        self.adapter: Adapter[Any] = ADAPTER

    def load(self, name: str) -> Adapter[Any]:
        return self.adapter


def speechless(account: Account[Any], answer: CallbackAnswer) -> HttpReply:
    raise RuntimeError("an adapter's bug")


async def test_an_adapter_that_cannot_say_a_word_changes_nothing(tmp_path: Path) -> None:
    """Its bug is reported, and what was served before is served on."""
    registry = OneAdapter()
    async with running_gateway(tmp_path, table(), registry=cast("Registry", registry)) as gateway:
        before = gateway.gateway.providers["lucky"]
        callbacks = {path: replace(each, encode_reply=speechless) for path, each in ADAPTER.callbacks.items()}
        registry.adapter = replace(ADAPTER, callbacks=callbacks)
        assert await log_reload_failure(reload(gateway, table(OTHER_URL))) is None
        assert gateway.gateway.providers["lucky"] is before
        assert (await gateway.callback("lucky", "V4/Result", b"{}"))[0] == 200
        registry.adapter = ADAPTER
        assert await log_reload_failure(reload(gateway, table(OTHER_URL))) is not before
