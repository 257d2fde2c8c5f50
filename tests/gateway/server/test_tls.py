"""TLS on both listeners, with certificates of a test authority."""

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
from gateway.server.validation import ssl_context
from gateway.v1 import session_service_pb2 as pb
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from tests.gateway.server.harness import MUTUAL_TLS, TLS, add_callback_tls, issue
from tests.support.gateway import callback_key, configuration, family_table


@dataclass(frozen=True)
class Secured:
    """A gateway with TLS, and its authority, which is also that of its callers."""

    listening: Listening
    authority: trustme.CA


@pytest.fixture
async def secured(tmp_path: Path) -> AsyncIterator[Secured]:
    authority = trustme.CA()
    issue(tmp_path, authority)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    path = configuration(
        tmp_path,
        family_table("lucky", "luckymonaco", "http://127.0.0.1:1"),
        grpc=MUTUAL_TLS,
    )
    add_callback_tls(path, TLS)
    gateway = Gateway(load(path, {}))
    try:
        yield Secured(await gateway.start(), authority)
    finally:
        await gateway.stop()


async def listed(secured: Secured, client: trustme.LeafCert | None) -> int:
    """The number of providers that a caller with this certificate receives."""
    credentials = grpc.ssl_channel_credentials(
        root_certificates=secured.authority.cert_pem.bytes(),
        private_key=client.private_key_pem.bytes() if client else None,
        certificate_chain=client.cert_chain_pems[0].bytes() if client else None,
    )
    async with grpc.aio.secure_channel(secured.listening.grpc, credentials) as channel:
        response = await SessionServiceStub(channel).ListProviders(pb.ListProvidersRequest(), timeout=30)
        return len(response.providers)


@pytest.mark.usefixtures("older_tls")
def test_the_callback_listener_takes_tls_1_2_or_newer(tmp_path: Path) -> None:
    """Also where Python's default is older."""
    issue(tmp_path, trustme.CA())
    add_callback_tls(path := configuration(tmp_path), TLS)
    assert (files := load(path, {}).callbacks.tls)
    assert ssl_context(files).minimum_version is ssl.TLSVersion.TLSv1_2


async def test_a_caller_with_a_certificate_is_served(secured: Secured) -> None:
    """With `client_ca`, a caller with a certificate of that authority is served."""
    assert await listed(secured, secured.authority.issue_cert("microservice.example")) == 1


@pytest.mark.parametrize("certificate", [True, False])
async def test_a_caller_without_a_valid_certificate_is_rejected(secured: Secured, certificate: bool) -> None:
    """A caller without a certificate, or with one of another authority, gets no connection."""
    client = trustme.CA().issue_cert("microservice.example") if certificate else None
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await listed(secured, client)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_callbacks_are_served_over_tls(secured: Secured) -> None:
    """Callbacks are served by https with the configured certificate."""
    context = ssl.create_default_context()
    secured.authority.configure_trust(context)
    url = f"https://{secured.listening.callbacks}/callbacks/lucky/{callback_key('lucky')}/V4/SessionExpired"
    body = b'{"providerId":"p","sessionId":"s","userId":"u"}'
    async with aiohttp.ClientSession() as http, http.post(url, data=body, ssl=context) as response:
        assert json.loads(await response.read())["error"] == 0


def test_an_unusable_certificate_is_refused_at_the_start(tmp_path: Path) -> None:
    """A key of another certificate is a problem of the section's tls key."""
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    authority.issue_cert("127.0.0.1").private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    path = configuration(tmp_path, grpc=TLS)
    with pytest.raises(ConfigInvalid) as raised:
        Gateway(load(path, {}))
    assert [problem.path for problem in raised.value.problems] == ["grpc.tls"]
