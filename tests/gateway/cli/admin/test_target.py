"""Which gateway a command calls, and what its connection is secured with."""

from pathlib import Path

import pytest

from gateway.cli.admin.target import ConnectionTarget, TargetError, Tls, TlsOptions, way_to
from gateway.config import GrpcSettings, Listen, TlsFiles

NOTHING = TlsOptions()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """PEM files, each holding its own name."""
    made = {name: tmp_path / name for name in ("cert", "key", "ca", "my-cert", "my-key", "my-ca")}
    for name, path in made.items():
        path.write_text(name)
    return made


@pytest.mark.parametrize(
    ("listen", "target"),
    [
        (Listen("127.0.0.1", 50051), "127.0.0.1:50051"),
        (Listen("gateway.example.com", 1), "gateway.example.com:1"),
        (Listen("0.0.0.0", 2), "127.0.0.1:2"),  # noqa: S104 - what a gateway may listen on
        (Listen("::", 3), "[::1]:3"),
        (Listen("fd00::1", 4), "[fd00::1]:4"),
    ],
)
def test_the_configuration_tells_the_address(listen: Listen, target: str) -> None:
    """A gateway that listens on every address is called on this machine's own."""
    assert way_to(GrpcSettings(listen), "", NOTHING) == ConnectionTarget(target)


def test_a_target_goes_before_the_configuration(files: dict[str, Path]) -> None:
    """With both, the address is the target's and TLS the configuration's."""
    grpc = GrpcSettings(Listen("127.0.0.1", 0), TlsFiles(files["cert"], files["key"]))
    assert way_to(grpc, "other:1", NOTHING) == ConnectionTarget("other:1", Tls(b"cert"))
    assert way_to(None, "other:1", NOTHING) == ConnectionTarget("other:1")


def test_a_port_that_is_taken_at_start_cannot_be_called() -> None:
    """Port 0 is another one each time: the message names the option that says which."""
    with pytest.raises(TargetError, match="--target"):
        way_to(GrpcSettings(Listen("127.0.0.1", 0)), "", NOTHING)


def test_nothing_at_all_is_refused() -> None:
    """Without a configuration and a target nobody knows which gateway is meant."""
    with pytest.raises(TargetError, match=r"--config FILE.*--target"):
        way_to(None, "", NOTHING)


def test_the_configuration_tells_what_tls_needs(files: dict[str, Path]) -> None:
    """The gateway's own certificate is trusted, and shown where the gateway demands one; options go before both."""
    listen = Listen("127.0.0.1", 1)
    plain = GrpcSettings(listen, TlsFiles(files["cert"], files["key"]))
    mutual = GrpcSettings(listen, TlsFiles(files["cert"], files["key"], files["ca"]))
    mine = TlsOptions(files["my-ca"], files["my-cert"], files["my-key"], "name")
    assert way_to(plain, "", NOTHING).tls == Tls(b"cert")
    assert way_to(mutual, "", NOTHING).tls == Tls(b"cert", b"cert", b"key")
    assert way_to(mutual, "", mine).tls == Tls(b"my-ca", b"my-cert", b"my-key", "name")
    assert way_to(None, "t:1", TlsOptions(ca=files["my-ca"])).tls == Tls(b"my-ca")


@pytest.mark.parametrize(
    "options",
    [
        TlsOptions(cert=Path("c")),
        TlsOptions(key=Path("k")),
        TlsOptions(cert=Path("c"), key=Path("k")),
        TlsOptions(server_name="n"),
        TlsOptions(ca=Path("no/such/file")),
    ],
)
def test_half_of_tls_is_refused(options: TlsOptions) -> None:
    """A certificate without its key, either without an authority, and files that are not there are bad usage."""
    with pytest.raises(TargetError):
        way_to(None, "t:1", options)


def test_no_key_shows() -> None:
    """A key is in no repr."""
    assert "secret" not in repr(ConnectionTarget("t:1", Tls(b"ca", b"cert", b"secret")))
