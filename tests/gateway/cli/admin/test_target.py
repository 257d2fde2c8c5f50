"""The address and the TLS settings of the gateway that a command calls."""

from pathlib import Path

import pytest

from gateway.cli.admin.target import ConnectionTarget, TargetError, Tls, TlsOptions, resolve_target
from gateway.config import GrpcSettings, Listen, TlsFiles, UnixSocket

NOTHING = TlsOptions()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """PEM files, each with its name as content."""
    paths = {name: tmp_path / name for name in ("cert", "key", "ca", "my-cert", "my-key", "my-ca")}
    for name, path in paths.items():
        path.write_text(name)
    return paths


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
def test_the_configuration_gives_the_address(listen: Listen, target: str) -> None:
    """A gateway that listens on all interfaces is called on the loopback address."""
    assert resolve_target(GrpcSettings(listen), "", NOTHING) == ConnectionTarget(target)


def test_a_target_overrides_the_configuration(files: dict[str, Path]) -> None:
    """With both, the address is the target's and the TLS settings are the configuration's."""
    grpc = GrpcSettings(Listen("127.0.0.1", 0), TlsFiles(files["cert"], files["key"]))
    assert resolve_target(grpc, "other:1", NOTHING) == ConnectionTarget("other:1", Tls(b"cert"))
    assert resolve_target(None, "other:1", NOTHING) == ConnectionTarget("other:1")


def test_a_unix_socket_can_be_called(files: dict[str, Path]) -> None:
    """By the configuration or --target. Its certificate's name is localhost, or that of --server-name."""
    grpc = GrpcSettings(UnixSocket(Path("/run/g.sock")), TlsFiles(files["cert"], files["key"]))
    assert resolve_target(grpc, "", NOTHING) == ConnectionTarget(
        "unix:/run/g.sock", Tls(b"cert", None, None, "localhost")
    )
    own_name = TlsOptions(ca=files["ca"], server_name="own")
    assert resolve_target(None, "unix:/run/h.sock", own_name).tls == Tls(b"ca", None, None, "own")
    assert resolve_target(None, "unix:/run/h.sock", NOTHING) == ConnectionTarget("unix:/run/h.sock")


def test_a_free_port_cannot_be_called() -> None:
    """Port 0 is another port at each start: the message names --target."""
    with pytest.raises(TargetError, match="--target"):
        resolve_target(GrpcSettings(Listen("127.0.0.1", 0)), "", NOTHING)


def test_no_address_is_rejected() -> None:
    """Without a configuration and a target the message names both options."""
    with pytest.raises(TargetError, match=r"--config FILE.*--target"):
        resolve_target(None, "", NOTHING)


def test_the_configuration_gives_the_tls_settings(files: dict[str, Path]) -> None:
    """The gateway's certificate is trusted, and presented if the gateway requires one; options override both."""
    listen = Listen("127.0.0.1", 1)
    plain = GrpcSettings(listen, TlsFiles(files["cert"], files["key"]))
    mutual = GrpcSettings(listen, TlsFiles(files["cert"], files["key"], files["ca"]))
    options = TlsOptions(files["my-ca"], files["my-cert"], files["my-key"], "name")
    assert resolve_target(plain, "", NOTHING).tls == Tls(b"cert")
    assert resolve_target(mutual, "", NOTHING).tls == Tls(b"cert", b"cert", b"key")
    assert resolve_target(mutual, "", options).tls == Tls(b"my-ca", b"my-cert", b"my-key", "name")
    assert resolve_target(None, "t:1", TlsOptions(ca=files["my-ca"])).tls == Tls(b"my-ca")


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
def test_incomplete_tls_options_are_rejected(options: TlsOptions) -> None:
    """A certificate without its key, either without an authority, and a missing file are wrong usage."""
    with pytest.raises(TargetError):
        resolve_target(None, "t:1", options)


def test_a_key_is_not_in_the_repr() -> None:
    """The repr of a target does not hold the private key."""
    assert "secret" not in repr(ConnectionTarget("t:1", Tls(b"ca", b"cert", b"secret")))
