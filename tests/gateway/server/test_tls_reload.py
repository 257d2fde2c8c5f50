"""SIGHUP: certificates are read again for new connections; open ones stay, and an invalid file changes nothing."""

import asyncio
import socket
import ssl
from pathlib import Path

import grpc
import trustme

from gateway.v1.session_service_pb2 import ListProvidersRequest
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from tests.gateway.server.harness import MUTUAL_TLS, TLS, add_callback_tls, issue
from tests.support.gateway import configuration
from tests.support.process import serving
from tests.support.reloadable import Reloadable


async def serial_number(at: str, authority: trustme.CA, *protocols: str) -> int:
    """The serial number of a listener's certificate."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    host, _, port = at.partition(":")

    def connect() -> int:
        with (
            socket.create_connection((host, int(port)), timeout=30) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            certificate = connection.getpeercert()
            assert connection.selected_alpn_protocol() == (protocols[0] if protocols else None)
        assert certificate is not None
        return int(str(certificate["serialNumber"]), 16)

    return await asyncio.to_thread(connect)


async def test_certificates_are_reloaded(tmp_path: Path) -> None:
    """After a reload both listeners use the new certificate for new connections; an invalid one is refused."""
    authority = trustme.CA()
    config = configuration(tmp_path, grpc=TLS)
    add_callback_tls(config, TLS)
    first = issue(tmp_path, authority)
    trusted = grpc.ssl_channel_credentials(root_certificates=authority.cert_pem.bytes())
    async with serving(config) as process, grpc.aio.secure_channel(process.ready_message["grpc"], trusted) as channel:
        gateway = Reloadable(config, process, channel)

        async def both() -> list[int]:
            return [
                await serial_number(process.ready_message["grpc"], authority, "h2"),
                await serial_number(process.ready_message["callbacks"], authority),
            ]

        async def listed() -> int:
            answer = await SessionServiceStub(channel).ListProviders(ListProvidersRequest(), timeout=30)
            return len(answer.providers)

        assert await listed() == 0
        assert await both() == [first, first]
        second = issue(tmp_path, authority)
        assert await both() == [first, first]
        (line,) = await gateway.send_sighup()
        assert line["event"] == "configuration reloaded"
        assert await both() == [second, second]
        (tmp_path / "key.pem").write_text("no key")
        (line,) = await gateway.send_sighup()
        assert [problem["path"] for problem in line["problems"]] == ["grpc.tls", "callbacks.tls"]
        assert await both() == [second, second]
        assert await listed() == 0
        third = issue(tmp_path, authority)
        await gateway.send_sighup()
        assert await both() == [third, third]


async def test_client_authorities_are_reloaded(tmp_path: Path) -> None:
    """After a reload only callers with a certificate of the new authority are accepted."""
    authority, before, after = trustme.CA(), trustme.CA(), trustme.CA()
    issue(tmp_path, authority)
    before.cert_pem.write_to_path(tmp_path / "ca.pem")
    config = configuration(tmp_path, grpc=MUTUAL_TLS)

    async def served(at: str, issuer: trustme.CA) -> bool:
        own = issuer.issue_cert("microservice.example")
        credentials = grpc.ssl_channel_credentials(
            authority.cert_pem.bytes(), own.private_key_pem.bytes(), own.cert_chain_pems[0].bytes()
        )
        async with grpc.aio.secure_channel(at, credentials) as channel:
            try:
                await SessionServiceStub(channel).ListProviders(ListProvidersRequest(), timeout=30)
            except grpc.aio.AioRpcError as error:
                return error.code() is not grpc.StatusCode.UNAVAILABLE
            return True

    async with serving(config) as process:
        at = process.ready_message["grpc"]
        async with grpc.aio.insecure_channel(at) as unused:
            gateway = Reloadable(config, process, unused)
            assert [await served(at, issuer) for issuer in (before, after)] == [True, False]
            after.cert_pem.write_to_path(tmp_path / "ca.pem")
            await gateway.send_sighup()
            assert [await served(at, issuer) for issuer in (before, after)] == [False, True]
