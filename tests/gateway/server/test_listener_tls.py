"""TLS on both listeners, with certificates of an authority made for the test."""

import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import grpc
import pytest
import trustme

from gateway.config import ConfigInvalid, load
from gateway.server.gateway import Gateway, Listening
from gateway.v1 import session_service_pb2 as pb
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from tests.support.gateway import callback_key, configuration, family_table


@dataclass(frozen=True)
class Secured:
    """A gateway behind TLS, and who vouches for whom."""

    listening: Listening
    authority: trustme.CA


@pytest.fixture
async def secured(tmp_path: Path) -> AsyncIterator[Secured]:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    path = configuration(
        tmp_path,
        family_table("lucky", "luckymonaco", "http://127.0.0.1:1"),
        grpc='tls = { cert = "cert.pem", key = "key.pem", client_ca = "ca.pem" }',
    )
    tls = '[callbacks]\ntls = { cert = "cert.pem", key = "key.pem" }'
    path.write_text(path.read_text().replace("[callbacks]", tls))
    gateway = Gateway(load(path, {}))
    try:
        yield Secured(await gateway.start(), authority)
    finally:
        await gateway.stop()


async def listed(secured: Secured, client: trustme.LeafCert | None) -> int:
    """How many providers a caller with this certificate is told of."""
    credentials = grpc.ssl_channel_credentials(
        root_certificates=secured.authority.cert_pem.bytes(),
        private_key=client.private_key_pem.bytes() if client else None,
        certificate_chain=client.cert_chain_pems[0].bytes() if client else None,
    )
    async with grpc.aio.secure_channel(secured.listening.grpc, credentials) as channel:
        response = await SessionServiceStub(channel).ListProviders(pb.ListProvidersRequest(), timeout=5)
        return len(response.providers)


async def test_a_caller_with_a_certificate_is_served(secured: Secured) -> None:
    """With `client_ca`, a caller whose certificate that authority signed is answered."""
    assert await listed(secured, secured.authority.issue_cert("microservice.example")) == 1


@pytest.mark.parametrize("stranger", [True, False])
async def test_a_caller_without_a_good_certificate_is_not(secured: Secured, stranger: bool) -> None:
    """Without a certificate, or with another authority's, there is no connection."""
    client = trustme.CA().issue_cert("microservice.example") if stranger else None
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await listed(secured, client)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_callbacks_travel_over_tls(secured: Secured) -> None:
    """A provider reaches its callbacks by https, under the certificate of the configuration."""
    context = ssl.create_default_context()
    secured.authority.configure_trust(context)
    url = f"https://{secured.listening.callbacks}/callbacks/lucky/{callback_key('lucky')}/V4/SessionExpired"
    body = b'{"providerId":"p","sessionId":"s","userId":"u"}'
    async with aiohttp.ClientSession() as http, http.post(url, data=body, ssl=context) as response:
        assert json.loads(await response.read())["error"] == 0


def test_a_certificate_that_cannot_be_used_is_refused_at_start(tmp_path: Path) -> None:
    """A key that is not the certificate's is a problem of the configuration, named by its section."""
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    authority.issue_cert("127.0.0.1").private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    path = configuration(tmp_path, grpc='tls = { cert = "cert.pem", key = "key.pem" }')
    with pytest.raises(ConfigInvalid) as raised:
        Gateway(load(path, {}))
    assert [problem.path for problem in raised.value.problems] == ["grpc.tls"]
