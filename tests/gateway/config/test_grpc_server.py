"""`[grpc] server`: which library serves gRPC, and what the native one refuses."""

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
def test_it_is_grpcio_unless_another_is_asked_for(tmp_path: Path, line: str, server: GrpcServerKind) -> None:
    assert loaded(tmp_path, line).grpc.server is server


@pytest.mark.parametrize("value", ['"quick"', '""', "2"])
def test_another_word_is_refused_by_its_path(tmp_path: Path, value: str) -> None:
    """With the words that there are, where it is one."""
    with pytest.raises(ConfigInvalid) as refused:
        loaded(tmp_path, f"server = {value}")
    (problem,) = refused.value.problems
    assert problem.path == "grpc.server"
    assert value != '"quick"' or "grpcio, native" in str(problem)


@pytest.mark.parametrize(
    ("lines", "listen", "path", "remedy"),
    [
        (TLS, "127.0.0.1:0", "grpc.tls", 'server = "grpcio"'),
        (AGE, "127.0.0.1:0", "grpc.max_connection_age_s", 'server = "grpcio"'),
        ("", "0.0.0.0:50051", "grpc.listen", "allow_anyone = true"),
        ("allow_anyone = false", "gateway.internal:50051", "grpc.listen", "127.0.0.1"),
    ],
)
def test_native_refuses_what_it_cannot_do(tmp_path: Path, lines: str, listen: str, path: str, remedy: str) -> None:
    """By the key's path, and with what to write instead; grpcio takes the same."""
    with pytest.raises(ConfigInvalid) as refused:
        loaded(tmp_path, f"{NATIVE}\n{lines}", listen)
    (problem,) = refused.value.problems
    assert problem.path == path
    assert remedy in problem.message
    assert loaded(tmp_path, lines, listen).grpc.server is GrpcServerKind.GRPCIO


def test_native_refuses_all_at_once(tmp_path: Path) -> None:
    """Everything that is wrong is found in one go."""
    with pytest.raises(ConfigInvalid) as refused:
        loaded(tmp_path, f"{NATIVE}\n{TLS}\n{AGE}", "0.0.0.0:50051")
    paths = [problem.path for problem in refused.value.problems]
    assert paths == ["grpc.tls", "grpc.max_connection_age_s", "grpc.listen"]


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.0.0.2:0", "[::1]:0", "localhost:0"])
def test_native_listens_on_loopback(tmp_path: Path, listen: str) -> None:
    assert loaded(tmp_path, NATIVE, listen).grpc.server is GrpcServerKind.NATIVE


def test_native_listens_anywhere_where_that_is_allowed(tmp_path: Path) -> None:
    """`check` still warns, and does not advise tls."""
    settings = loaded(tmp_path, f"{NATIVE}\nallow_anyone = true", "0.0.0.0:50051")
    assert settings.grpc.allow_anyone
    (warning,) = warnings(settings)
    assert warning.path == "grpc.listen"
    assert "grpc.tls" not in warning.message


def test_allow_anyone_is_true_or_false(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        loaded(tmp_path, 'allow_anyone = "yes"')
    assert [problem.path for problem in refused.value.problems] == ["grpc.allow_anyone"]


async def test_where_the_extra_is_not_installed_the_key_and_the_extra_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `check`, and by a gateway before it starts anything; grpcio needs no extra."""
    monkeypatch.setattr(validation, "find_spec", lambda name: None if name == "pygrpc_native" else find_spec(name))
    Gateway(load(configuration(tmp_path), {}), find())
    config = configuration(tmp_path, grpc=NATIVE)
    ended = await run_here("check", "--config", str(config))
    said = (ended.err + ended.out).replace("\n", "")
    assert ended.code != 0
    with pytest.raises(ConfigInvalid) as refused:
        Gateway(load(config, {}), find())
    for text in (said, str(refused.value)):
        assert "grpc.server" in text
        assert "session-gateway[native]" in text
