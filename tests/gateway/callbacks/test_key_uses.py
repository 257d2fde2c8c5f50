"""The uses of callback keys are counted by position."""

from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from adapters.contract import Secret
from gateway.callbacks.key_uses import KeyUses
from gateway.config import load
from gateway.v1.session_service_pb2 import ListProvidersRequest, Provider
from tests.support.gateway import configuration, family_table, running_gateway
from tests.support.results import result_body

OLD, NEW, NEWEST = (Secret(letter * 40) for letter in "onw")
AT = datetime(2026, 1, 2, tzinfo=UTC)


def test_a_key_keeps_its_uses_at_another_position() -> None:
    """A reload that removes the old key moves the new one with its uses, and a key that is new has none."""
    uses = KeyUses({"one": (OLD, NEW), "two": ()})
    uses.record("one", 2, AT)
    uses.record("one", 2, AT)
    assert list(uses.samples()) == [(("one", "1"), 0), (("one", "2"), 2)]
    assert uses.last_uses("one") == (None, AT)
    uses.replace({"one": (NEW, NEWEST)})
    assert list(uses.samples()) == [(("one", "1"), 2), (("one", "2"), 0)]
    assert uses.last_uses("one") == (AT, None)
    assert uses.last_uses("two") == ()


def keyed(*keys: Secret) -> str:
    return family_table("lucky", "luckymonaco", "http://127.0.0.1:9", callback_keys=str([key.reveal() for key in keys]))


async def test_a_rotation_can_be_watched(tmp_path: Path) -> None:
    """ListProviders and the metric show which key was used, they follow a reload, and neither shows a key."""
    async with running_gateway(tmp_path, keyed(OLD, NEW)) as gateway, aiohttp.ClientSession() as http:

        async def provider() -> Provider:
            (listed,) = (await gateway.sessions.ListProviders(ListProvidersRequest())).providers
            assert not any(key.reveal() in str(listed) for key in (OLD, NEW))
            return listed

        async def used() -> list[tuple[int, bool]]:
            return [(key.position, key.HasField("last_use_time")) for key in (await provider()).callback_keys]

        assert await used() == [(1, False), (2, False)]
        for key, status in ((NEW, 200), (NEWEST, 404)):
            url = f"http://{gateway.listening.callbacks}/callbacks/lucky/{key.reveal()}/V4/Result"
            async with http.post(url, data=result_body()) as reply:
                assert reply.status == status
        assert await used() == [(1, False), (2, True)]
        async with http.get(f"http://{gateway.listening.admin}/metrics") as reply:
            text = await reply.text()
        assert 'session_gateway_callback_key_uses_total{position="1",provider="lucky"} 0.0' in text
        assert 'session_gateway_callback_key_uses_total{position="2",provider="lucky"} 1.0' in text
        await gateway.gateway.reload(load(configuration(tmp_path, keyed(NEW)), {}))
        assert await used() == [(1, True)]
