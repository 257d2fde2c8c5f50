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
    """The gateway's certificate is trusted, and never presented; the operator's own is given by options."""
    listen = Listen("127.0.0.1", 1)
    plain = GrpcSettings(listen, TlsFiles(files["cert"], files["key"]))
    mutual = GrpcSettings(listen, TlsFiles(files["cert"], files["key"], files["ca"]))
    options = TlsOptions(files["my-ca"], files["my-cert"], files["my-key"], "name")
    assert resolve_target(plain, "", NOTHING).tls == Tls(b"cert")
    own = TlsOptions(cert=files["my-cert"], key=files["my-key"])
    assert resolve_target(mutual, "", own).tls == Tls(b"cert", b"my-cert", b"my-key")
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
    assert "secret" not in repr(ConnectionTarget("t:1", Tls(b"ca", b"cert", b"secret"), token="secret"))


def test_a_gateway_that_asks_for_certificates_needs_one_or_a_token(files: dict[str, Path]) -> None:
    """The message names the options; its own certificate is not used in their place. A token is enough."""
    mutual = GrpcSettings(Listen("127.0.0.1", 1), TlsFiles(files["cert"], files["key"], files["ca"]))
    with pytest.raises(TargetError, match=r"--cert and --key, or a token by --token-file"):
        resolve_target(mutual, "", NOTHING)
    target = resolve_target(mutual, "", TlsOptions(token_file=files["my-cert"]))
    assert target == ConnectionTarget("127.0.0.1:1", Tls(b"cert"), "my-cert")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "unix:/run/gateway.sock"])
def test_a_token_is_sent_in_plain_text_to_this_machine(files: dict[str, Path], address: str) -> None:
    """To a loopback address or a Unix socket."""
    assert resolve_target(None, address, TlsOptions(token_file=files["key"])).token == "key"


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1:1", "gateway.example.com:1", "[fd00::1]:1", "localhost.example.com:1", "dns:///other:1", "other"],
)
def test_a_token_is_sent_elsewhere_over_tls_only(files: dict[str, Path], address: str) -> None:
    """Without TLS it is refused, and the message names --ca and not the token."""
    with pytest.raises(TargetError, match="--ca") as raised:
        resolve_target(None, address, TlsOptions(token_file=files["my-key"]))
    assert "my-key" not in str(raised.value)
    over_tls = resolve_target(None, address, TlsOptions(ca=files["ca"], token_file=files["my-key"]))
    assert over_tls == ConnectionTarget(address, Tls(b"ca"), "my-key")


@pytest.mark.parametrize("content", ["", "\n", "two tokens", "one\ntwo", "\u00e9", "bell\x07"])
def test_a_file_without_one_token_is_rejected(tmp_path: Path, content: str) -> None:
    """The message names the file, and not what it holds."""
    file = tmp_path / "token"
    file.write_text(content)
    with pytest.raises(TargetError, match="token") as raised:
        resolve_target(None, "127.0.0.1:1", TlsOptions(token_file=file))
    assert str(file) in str(raised.value)
    assert "two" not in str(raised.value)


def test_blanks_around_a_token_are_ignored(tmp_path: Path) -> None:
    """A file that an editor wrote ends in a newline."""
    file = tmp_path / "token"
    file.write_text(" a.b.c \n")
    assert resolve_target(None, "127.0.0.1:1", TlsOptions(token_file=file)).token == "a.b.c"


def test_a_missing_token_file_is_rejected() -> None:
    """It is wrong usage."""
    with pytest.raises(TargetError, match="no/such/file"):
        resolve_target(None, "127.0.0.1:1", TlsOptions(token_file=Path("no/such/file")))
