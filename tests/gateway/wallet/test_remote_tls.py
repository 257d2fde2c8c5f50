"""TLS to the operator's wallet, with certificates of authorities made for the test."""

from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import structlog
import trustme

from gateway.store.models import Applied
from gateway.wallet.base import WalletUnavailable
from gateway.wallet.channel import ClientPem
from tests.gateway.wallet.harness import SHORT_TIMEOUTS, remote_wallet
from tests.support.wallet import scripted_wallet

AUTHORITY, OTHER_AUTHORITY = trustme.CA(), trustme.CA()
CA = AUTHORITY.cert_pem.bytes()


def serving(host: str = "127.0.0.1", *, client_ca: bytes | None = None) -> grpc.ServerCredentials:
    certificate = AUTHORITY.issue_cert(host)
    return grpc.ssl_server_credentials(
        [(certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes())],
        root_certificates=client_ca,
        require_client_auth=client_ca is not None,
    )


def ours(authority: trustme.CA) -> ClientPem:
    """What a gateway shows that this authority vouches for."""
    certificate = authority.issue_cert("gateway.example.com")
    return ClientPem(CA, certificate.cert_chain_pems[0].bytes(), certificate.private_key_pem.bytes())


@dataclass(frozen=True)
class Mismatch:
    """A wallet and a gateway whose ideas of TLS do not fit."""

    theirs: grpc.ServerCredentials | None
    ours: ClientPem | None


MISMATCHES = {
    "another authority's": Mismatch(serving(), ClientPem(OTHER_AUTHORITY.cert_pem.bytes())),
    "an authority that the system does not know": Mismatch(serving(), ClientPem()),
    "another host's": Mismatch(serving("wallet.example.com"), ClientPem(CA)),
    "no client certificate": Mismatch(serving(client_ca=CA), ClientPem(CA)),
    "another authority's client certificate": Mismatch(serving(client_ca=CA), ours(OTHER_AUTHORITY)),
    "plain to TLS": Mismatch(serving(), None),
    "TLS to plain": Mismatch(None, ClientPem(CA)),
}


@pytest.mark.parametrize("demanding", [False, True])
async def test_the_wallet_is_asked_over_tls(tmp_path: Path, demanding: bool) -> None:
    """With the wallet's authority, and our certificate where the wallet demands one, the credit is returned."""
    theirs, tls = (serving(client_ca=CA), ours(AUTHORITY)) if demanding else (serving(), ClientPem(CA))
    async with scripted_wallet(credentials=theirs) as wallet, remote_wallet(tmp_path, wallet.target, tls) as gateway:
        assert isinstance(await gateway.credit(), Applied)
        await gateway.wallet.ready()


@pytest.mark.parametrize("as_folder", [False, True])
async def test_without_an_authority_of_its_own_the_systems_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_folder: bool
) -> None:
    """Without `ca` the wallet's certificate may be of any authority that this machine trusts, by file or by folder."""
    authorities = tmp_path / "authorities"
    authorities.mkdir()
    (authorities / "0a1b2c3d.0").write_bytes(CA)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none" if as_folder else authorities / "0a1b2c3d.0"))
    monkeypatch.setenv("SSL_CERT_DIR", str(authorities if as_folder else tmp_path / "none"))
    async with (
        scripted_wallet(credentials=serving()) as wallet,
        remote_wallet(tmp_path, wallet.target, ClientPem()) as gateway,
    ):
        assert isinstance(await gateway.credit(), Applied)


@pytest.mark.parametrize("mismatch", MISMATCHES.values(), ids=MISMATCHES)
async def test_a_mismatch_is_logged_with_its_remedy(tmp_path: Path, mismatch: Mismatch) -> None:
    """No wallet is asked over a connection that is not as configured; the log says what to fix, and nothing secret."""
    async with (
        scripted_wallet(credentials=mismatch.theirs) as wallet,
        remote_wallet(tmp_path, wallet.target, mismatch.ours, **SHORT_TIMEOUTS) as gateway,
    ):
        with structlog.testing.capture_logs() as logged:
            said = await gateway.fails()
        assert not wallet.received
        (line,) = logged
        assert line["log_level"] == "error"
        assert "check wallet.tls: ca must be" in line["error"]
        assert "check wallet.tls" in said
        assert "PRIVATE KEY" not in repr(logged) + said
        with pytest.raises(WalletUnavailable, match=r"check wallet\.target and wallet\.tls"):
            await gateway.wallet.ready()


def test_our_key_shows_in_no_repr() -> None:
    """What holds a private key does not show it."""
    assert repr(ours(AUTHORITY)) == "ClientPem(***)"
