"""`[grpc] server`: the library that serves gRPC, and the settings that the native one cannot have."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from adapters.registry import find
from gateway.config import ConfigInvalid, GrpcServerKind, Settings, load, warnings
from gateway.server import validation
from gateway.server.gateway import Gateway
from tests.support.gateway import configuration
from tests.support.process import run_here

TLS = 'tls = { cert = "cert.pem", key = "key.pem" }'
AGE = "max_connection_age_s = 60"
NATIVE = 'server = "native"'


def loaded(folder: Path, grpc: str, listen: str = "127.0.0.1:0") -> Settings:
    config = configuration(folder, grpc=grpc)
    config.write_text(config.read_text().replace('[grpc]\nlisten = "127.0.0.1:0"', f'[grpc]\nlisten = "{listen}"'))
    for name in ("cert.pem", "key.pem"):
        (folder / name).write_text("")
    return load(config, {})


@pytest.mark.parametrize(
    ("line", "server"),
    [("", GrpcServerKind.GRPCIO), ('server = "grpcio"', GrpcServerKind.GRPCIO), (NATIVE, GrpcServerKind.NATIVE)],
)
def test_grpcio_is_the_default(tmp_path: Path, line: str, server: GrpcServerKind) -> None:
    """The server is grpcio where the file names no other."""
    assert loaded(tmp_path, line).grpc.server is server


@pytest.mark.parametrize("value", ['"quick"', '""', "2"])
def test_an_unknown_server_is_refused(tmp_path: Path, value: str) -> None:
    """The problem has the key's path, and for a string the known names."""
    with pytest.raises(ConfigInvalid) as refused:
        loaded(tmp_path, f"server = {value}")
    (problem,) = refused.value.problems
    assert problem.path == "grpc.server"
    assert value != '"quick"' or "grpcio, native" in str(problem)


@pytest.mark.parametrize(
    ("lines", "path", "remedy"),
    [
        (TLS, "grpc.tls", 'server = "grpcio"'),
        (AGE, "grpc.max_connection_age_s", 'server = "grpcio"'),
        ("max_connections = 5", "grpc.max_connections", 'server = "grpcio"'),
    ],
)
def test_native_refuses_unsupported_settings(tmp_path: Path, lines: str, path: str, remedy: str) -> None:
    """The problem has the key's path and what to write instead; grpcio accepts the same settings."""
    with pytest.raises(ConfigInvalid) as refused:
        loaded(tmp_path, f"{NATIVE}\n{lines}")
    (problem,) = refused.value.problems
    assert problem.path == path
    assert remedy in problem.message
    assert loaded(tmp_path, lines).grpc.server is GrpcServerKind.GRPCIO


@pytest.mark.parametrize("lines", [NATIVE, "", TLS, "allow_anyone = false"])
@pytest.mark.parametrize("listen", ["0.0.0.0:50051", "gateway.internal:50051", "192.0.2.1:0", "[::]:0"])
def test_a_gateway_without_callers_is_local(tmp_path: Path, lines: str, listen: str) -> None:
    """Without [callers] an address that other machines can reach is refused, with TLS too, unless allow_anyone."""
    with pytest.raises(ConfigInvalid) as refused:
        loaded(tmp_path, lines, listen)
    (problem,) = refused.value.problems
    assert problem.path == "grpc.listen"
    assert "allow_anyone = true" in problem.message
    assert "127.0.0.1" in problem.message
    allowed = lines.replace("allow_anyone = false", "") + "\nallow_anyone = true"
    assert loaded(tmp_path, allowed, listen).grpc.allow_anyone


def test_native_reports_all_problems_at_once(tmp_path: Path) -> None:
    """All settings that the native server cannot have are reported at once."""
    with pytest.raises(ConfigInvalid) as refused:
        loaded(tmp_path, f"{NATIVE}\n{TLS}\n{AGE}", "0.0.0.0:50051")
    paths = [problem.path for problem in refused.value.problems]
    assert paths == ["grpc.tls", "grpc.max_connection_age_s", "grpc.listen"]


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.0.0.2:0", "[::1]:0"])
def test_native_listens_on_loopback(tmp_path: Path, listen: str) -> None:
    """The native server may listen on any loopback address."""
    assert loaded(tmp_path, NATIVE, listen).grpc.server is GrpcServerKind.NATIVE


def test_native_listens_anywhere_with_allow_anyone(tmp_path: Path) -> None:
    """With allow_anyone it may listen on any address; `check` warns, without advising TLS."""
    settings = loaded(tmp_path, f"{NATIVE}\nallow_anyone = true", "0.0.0.0:50051")
    assert settings.grpc.allow_anyone
    (warning,) = warnings(settings)
    assert warning.path == "grpc.listen"
    assert "grpc.tls" not in warning.message


def test_allow_anyone_is_true_or_false(tmp_path: Path) -> None:
    """Any other value of allow_anyone is a problem at its path."""
    with pytest.raises(ConfigInvalid) as refused:
        loaded(tmp_path, 'allow_anyone = "yes"')
    assert [problem.path for problem in refused.value.problems] == ["grpc.allow_anyone"]


async def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra `check` and a gateway refuse the native server before a start; grpcio needs no extra."""
    monkeypatch.setattr(validation, "find_spec", lambda name: None if name == "pygrpc_native" else find_spec(name))
    Gateway(load(configuration(tmp_path), {}), find())
    config = configuration(tmp_path, grpc=NATIVE)
    ended = await run_here("check", "--config", str(config))
    output = (ended.err + ended.out).replace("\n", "")
    assert ended.code != 0
    with pytest.raises(ConfigInvalid) as refused:
        Gateway(load(config, {}), find())
    for text in (output, str(refused.value)):
        assert "grpc.server" in text
        assert "session-gateway[native]" in text
