"""What a reload keeps: the parts of a provider that have not changed, in a gateway of this process."""

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
from tests.support.actors import ADA
from tests.support.gateway import Running, configuration, failure_of, family_table, locked, running_gateway
from tests.support.provider import scripted_provider
from tests.support.results import result_body

BASE_URL = "http://127.0.0.1:1"
OTHER_URL = "http://127.0.0.1:2"
LIMITED = "[providers.lucky.limits]\nmax_concurrent_calls = 7\n"


def table(base_url: str = BASE_URL, **more: str) -> str:
    return family_table("lucky", "luckymonaco", base_url, **more)


OTHER = family_table("other", "kyren", BASE_URL)


async def reload(gateway: Running, *sections: str) -> Provider:
    """Reload, and return the provider `lucky`."""
    await gateway.gateway.reload(load(configuration(gateway.database.parent, *sections), {}))
    return gateway.gateway.providers["lucky"]


def parts(provider: Provider) -> dict[str, int]:
    """The identities of a provider's stateful parts."""
    return {part: id(getattr(provider, part)) for part in ("client", "admission", "health", "enabled_state")}


async def test_an_unchanged_provider_is_kept(tmp_path: Path) -> None:
    """An unchanged provider stays the same object, also where others change, and its mask knows their secrets."""
    async with running_gateway(tmp_path, table(), OTHER) as gateway:
        lucky, other = (gateway.gateway.providers[name] for name in ("lucky", "other"))
        assert await reload(gateway, table(), OTHER, "[journal]\nbody_retention_days = 3\n") is lucky
        assert gateway.gateway.providers["other"] is other
        assert (
            await reload(gateway, table(), family_table("third", "kyren", BASE_URL, token='"another-token"')) is lucky
        )
        assert lucky.mask.text("another-token") == "***"


@pytest.mark.parametrize(
    ("section", "replaced"),
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
async def test_unchanged_parts_of_a_provider_are_kept(tmp_path: Path, section: str, replaced: set[str]) -> None:
    """Connections are kept for the same endpoint, admission for the same server, health and enabled state always."""
    async with running_gateway(tmp_path, table()) as gateway:
        before = gateway.gateway.providers["lucky"]
        after = await reload(gateway, section)
        assert after is not before
        assert {part for part, one in parts(before).items() if parts(after)[part] != one} == replaced


async def test_the_limits_of_kept_admission_are_replaced(tmp_path: Path) -> None:
    """All its limits are those of the new file."""
    async with running_gateway(tmp_path, table()) as gateway:
        admission = (await reload(gateway, table(retry="{ attempts = 5 }") + LIMITED)).admission
        assert (admission.limits.max_concurrent_calls, admission.retry.attempts) == (7, 5)
        assert (await reload(gateway, table())).admission is admission
        assert (admission.limits.max_concurrent_calls, admission.retry.attempts) == (100, 1)


async def test_health_is_kept_for_another_base_url(tmp_path: Path) -> None:
    """Its health stays until the next call, and its listeners are registered once, however often it is reloaded."""
    async with scripted_provider() as good, running_gateway(tmp_path, table()) as gateway:
        lucky = gateway.gateway.providers["lucky"]
        listeners = len(lucky.health.listeners)
        lucky.health.state = HealthState.FAILING
        for number in range(3):
            lucky = await reload(gateway, table(good.base_url, token=f'"token-{number}"'))
        assert lucky.health.state is HealthState.FAILING
        assert len(lucky.health.listeners) == listeners
        assert not lucky.healthy


async def test_a_disabled_provider_stays_disabled_when_it_is_added_again(tmp_path: Path) -> None:
    """A provider that is removed from the file and added again has its stored state."""
    async with running_gateway(tmp_path, table(), OTHER) as gateway:
        await gateway.gateway.provider_switches.change("lucky", ProviderState.DISABLED, ADA, "ticket 4711")
        await gateway.gateway.reload(load(configuration(tmp_path, OTHER), {}))
        assert "lucky" not in gateway.gateway.providers
        assert (await reload(gateway, table(), OTHER)).enabled_state.disabled is not None


async def test_a_reload_without_a_store_changes_nothing(tmp_path: Path) -> None:
    """A reload that cannot read the store fails and keeps the provider."""
    async with running_gateway(tmp_path, table()) as gateway:
        before = gateway.gateway.providers["lucky"]
        with locked(tmp_path / "gateway.db"), pytest.raises(StoreUnavailable):
            await reload(gateway, table(OTHER_URL))
        assert gateway.gateway.providers["lucky"] is before
        assert await reload(gateway, table(OTHER_URL)) is not before


async def test_limits_of_the_listeners_are_reloaded(tmp_path: Path) -> None:
    """The limits of calls, streams, connections and receiving are those of the new file."""
    async with running_gateway(tmp_path, table()) as gateway:
        config = configuration(tmp_path, table(), grpc="max_calls = 7\nmax_event_streams = 8")
        text = config.read_text().replace(
            "[callbacks]", "[callbacks]\nmax_connections = 9\nreceive_timeout_s = 1.5\nmax_connections_per_source = 4"
        )
        config.write_text(text)
        await gateway.gateway.reload(load(config, {}))
        calls, connections = gateway.gateway.rpc_server.limits, gateway.gateway.callback_server.limits
        assert (calls.calls, calls.event_streams) == (7, 8)
        assert (connections.places.connections, connections.places.per_source) == (9, 4)
        assert connections.receive_s == 1.5


async def test_body_retention_is_reloaded(tmp_path: Path) -> None:
    """Bodies are kept as long as the new file says."""
    async with running_gateway(tmp_path, table()) as gateway:
        await reload(gateway, table(), "[journal]\nbody_retention_days = 3\n")
        assert gateway.gateway.housekeeping.keep_bodies == timedelta(days=3)
        await reload(gateway, table())
        assert gateway.gateway.housekeeping.keep_bodies is None


async def test_callbacks_are_redelivered_under_the_reloaded_configuration(tmp_path: Path) -> None:
    """Callbacks of a removed provider cannot be redelivered; those of one that is added again can."""
    async with running_gateway(tmp_path, table(), OTHER) as gateway:
        await gateway.callback("lucky", "V4/Result", result_body())
        kept = await gateway.reconciliation.ListRefusedCallbacks(ListRefusedCallbacksRequest())
        request = RedeliverCallbackRequest(
            exchange_id=kept.callbacks[0].exchange_id, actor="anna", reason="account opened"
        )
        await gateway.gateway.reload(load(configuration(tmp_path, OTHER), {}))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await gateway.reconciliation.RedeliverCallback(request)
        assert failure_of(refused.value).reason == "NOT_REDELIVERABLE"
        await reload(gateway, table(), OTHER)
        await gateway.wallet.OpenAccount(OpenAccountRequest(user_id="421", currency="USD", opening_balance="1"))
        assert (await gateway.reconciliation.RedeliverCallback(request)).verdict == "CREDITED"


class OneAdapter:
    """A registry of one adapter, which a test can replace."""

    def __init__(self) -> None:
        self.adapter: Adapter[Any] = ADAPTER

    def load(self, name: str) -> Adapter[Any]:
        return self.adapter


def failing_encoder(account: Account[Any], answer: CallbackAnswer) -> HttpReply:
    raise RuntimeError("an adapter's bug")


async def test_an_adapter_that_cannot_encode_changes_nothing(tmp_path: Path) -> None:
    """A reload with an adapter that fails is refused, and the gateway serves as before."""
    registry = OneAdapter()
    async with running_gateway(tmp_path, table(), registry=cast("Registry", registry)) as gateway:
        before = gateway.gateway.providers["lucky"]
        callbacks = {path: replace(each, encode_reply=failing_encoder) for path, each in ADAPTER.callbacks.items()}
        registry.adapter = replace(ADAPTER, callbacks=callbacks)
        assert await log_reload_failure(reload(gateway, table(OTHER_URL))) is None
        assert gateway.gateway.providers["lucky"] is before
        assert (await gateway.callback("lucky", "V4/Result", b"{}"))[0] == 200
        registry.adapter = ADAPTER
        assert await log_reload_failure(reload(gateway, table(OTHER_URL))) is not before
