"""`[grpc] listen = "unix:…"`: paths, and what it is compared with."""

from pathlib import Path

import pytest

from gateway.config import ConfigInvalid, GrpcSettings, Listen, Settings, UnixSocket, changes, load, warnings
from gateway.config import WalletSettings as Wallet
from gateway.server.wallets import calls_itself


def loaded(folder: Path, listen: str, *lines: str) -> Settings:
    path = folder / "gateway.toml"
    path.write_text("\n".join((f'[grpc]\nlisten = "{listen}"', *lines)))
    return load(path, {})


@pytest.mark.parametrize("listen", ["unix:run/g.sock", "unix:{folder}/run/g.sock", "unix://{folder}/run/g.sock"])
def test_a_path_is_absolute_or_relative_to_the_configuration(tmp_path: Path, listen: str) -> None:
    """It is shown as gRPC's target, counts as local, and needs no warning; the native server may use it too."""
    for server in ("grpcio", "native"):
        settings = loaded(tmp_path, listen.format(folder=tmp_path), f'server = "{server}"')
        assert settings.grpc.listen == UnixSocket(tmp_path / "run/g.sock")
        assert str(settings.grpc.listen) == f"unix:{tmp_path}/run/g.sock"
        assert settings.grpc.listen.is_loopback
        assert not warnings(settings)


@pytest.mark.parametrize(
    ("listen", "says"),
    [
        ("unix:", "names no file"),
        ("unix:.", "names no file"),
        ("unix:/", "names no file"),
        ("unix:a b", "letters"),
        ("unix:%2e", "letters"),
        ("unix:é", "letters"),
        ("unix:/{}", "107"),
    ],
)
def test_an_unusable_path_is_refused(tmp_path: Path, listen: str, says: str) -> None:
    """The problem has the key's path, and says what a path may be."""
    with pytest.raises(ConfigInvalid) as refused:
        loaded(tmp_path, listen.format("x" * 107))
    (problem,) = refused.value.problems
    assert problem.path == "grpc.listen"
    assert says in problem.message


def test_the_longest_path_is_accepted(tmp_path: Path) -> None:
    """A path of 107 bytes."""
    assert str(loaded(tmp_path, f"unix:/{'x' * 106}").grpc.listen) == f"unix:/{'x' * 106}"


@pytest.mark.parametrize("section", ["callbacks", "admin"])
def test_other_listeners_take_no_unix_socket(tmp_path: Path, section: str) -> None:
    """Only gRPC listens on one."""
    with pytest.raises(ConfigInvalid) as refused:
        loaded(tmp_path, "127.0.0.1:0", f'[{section}]\nlisten = "unix:/run/g.sock"')
    assert [problem.path for problem in refused.value.problems] == [f"{section}.listen"]


@pytest.mark.parametrize("after", [UnixSocket(Path("/run/b")), Listen("127.0.0.1", 1)])
def test_another_address_is_one_changed_key(after: UnixSocket | Listen) -> None:
    """A socket's path is a part of the key."""
    before = Settings(grpc=GrpcSettings(UnixSocket(Path("/run/a"))))
    assert changes(before, Settings(grpc=GrpcSettings(after))).changed == ("grpc.listen",)


@pytest.mark.parametrize(
    ("target", "itself"), [("unix:/run/a", True), ("unix:///run/a", True), ("unix:/run/b", False), ("a:1", False)]
)
def test_a_gateway_is_not_its_own_wallet(target: str, itself: bool) -> None:
    """A wallet's target that is the gateway's socket is refused."""
    settings = Settings(grpc=GrpcSettings(UnixSocket(Path("/run/a"))), wallet=Wallet(target))
    assert [problem.path for problem in calls_itself(settings)] == ["wallet.target"] * itself
