"""A provider that requires a client certificate: files are read at the start and at a reload."""

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from gateway.config import ConfigInvalid, load
from gateway.v1.session_service_pb2 import CloseSessionRequest
from tests.gateway.outbound.raw_provider import Peer, answer, raw_provider
from tests.gateway.server.harness import issue
from tests.support.gateway import configuration, family_table, running_gateway

FILES = '{ ca = "ca.pem", cert = "cert.pem", key = "key.pem" }'


def provider_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def table(base_url: str) -> str:
    return family_table("lucky", "luckymonaco", base_url, tls=FILES)


async def test_a_rotated_certificate_is_used_after_a_reload(tmp_path: Path) -> None:
    """New calls present the new certificate, and the connections with the former one end. The same content again
    keeps the client, and files that do not belong together change nothing.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    first = issue(tmp_path, authority)
    presented: asyncio.Queue[int] = asyncio.Queue()
    ended: asyncio.Queue[int] = asyncio.Queue()

    async def provider(peer: Peer) -> None:
        serial = int(peer.writer.get_extra_info("peercert")["serialNumber"], 16)
        try:
            while await peer.request():
                presented.put_nowait(serial)
                await peer.send(answer(b'{"error":0}'))
        finally:
            ended.put_nowait(serial)

    async with (
        asyncio.timeout(60),
        raw_provider(provider, provider_context(authority)) as provided,
        running_gateway(tmp_path, table(provided.base_url)) as gateway,
    ):

        async def reload() -> None:
            await gateway.gateway.reload(load(configuration(tmp_path, table(provided.base_url)), {}))

        async def serial_of_a_call() -> int:
            await gateway.sessions.CloseSession(CloseSessionRequest(provider="lucky", user_id="u"), timeout=30)
            return await presented.get()

        before = gateway.gateway.providers["lucky"]
        assert await serial_of_a_call() == first
        await reload()
        assert gateway.gateway.providers["lucky"] is before
        second = issue(tmp_path, authority)
        assert await serial_of_a_call() == first
        await reload()
        assert await ended.get() == first
        assert await serial_of_a_call() == second
        authority.issue_cert("127.0.0.1").private_key_pem.write_to_path(tmp_path / "key.pem")
        with pytest.raises(ConfigInvalid) as refused:
            await reload()
        assert [problem.path for problem in refused.value.problems] == ["providers.lucky.tls"]
        assert "PRIVATE KEY" not in str(refused.value)
        assert await serial_of_a_call() == second
        assert provided.connections == 2
