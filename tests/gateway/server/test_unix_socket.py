"""gRPC on a Unix socket, with both gRPC servers: permissions, left over files, and a gateway that runs already."""

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import pytest
import trustme

from adapters.registry import find
from gateway.cli.admin.target import UNIX_SERVER_NAME
from gateway.config import GrpcServerKind, load
from gateway.rpc.server import CannotListen, RpcServer, TlsFiles
from gateway.rpc.unix_socket import binding
from gateway.server.gateway import CannotStart, Gateway
from gateway.v1.session_service_pb2 import ListProvidersRequest
from gateway.v1.session_service_pb2_grpc import SessionServiceStub
from tests.support.gateway import configuration, family_table
from tests.support.process import run_here, serving

LUCKY = family_table("lucky", "luckymonaco", "http://127.0.0.1:1")
KINDS = list(GrpcServerKind)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: a socket's path has at most 107 bytes."""
    with TemporaryDirectory() as name:
        yield Path(name)


def configured(folder: Path, kind: GrpcServerKind = GrpcServerKind.GRPCIO) -> Path:
    """A configuration with gRPC on `g.sock` beside it."""
    config = configuration(folder, LUCKY, grpc=f'server = "{kind}"')
    config.write_text(config.read_text().replace('"127.0.0.1:0"', '"unix:g.sock"', 1))
    return config


@asynccontextmanager
async def started(config: Path) -> AsyncIterator[Gateway]:
    gateway = Gateway(load(config, {}), find())
    listening = await gateway.start()
    assert listening.grpc == f"unix:{config.parent / 'g.sock'}"
    try:
        yield gateway
    finally:
        await gateway.stop()


async def names(target: str) -> list[str]:
    """Call a gateway. Returns the names of its providers."""
    async with grpc.aio.insecure_channel(target) as channel:
        answer = await SessionServiceStub(channel).ListProviders(ListProvidersRequest(), timeout=30)
    return [provider.name for provider in answer.providers]


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o660), (0o077, 0o600)])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_gateway_serves_on_a_unix_socket(folder: Path, kind: GrpcServerKind, umask: int, mode: int) -> None:
    """User and group may connect, others may not, and the umask removes more; the file is removed when it stops."""
    before = os.umask(umask)
    try:
        async with started(configured(folder, kind)):
            assert stat.S_IMODE((folder / "g.sock").stat().st_mode) == mode
            assert await names(f"unix:{folder / 'g.sock'}") == ["lucky"]
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert not (folder / "g.sock").exists()


@pytest.mark.parametrize("kind", KINDS)
async def test_the_socket_of_a_dead_gateway_is_replaced(folder: Path, kind: GrpcServerKind) -> None:
    """A socket file that nothing listens on."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "g.sock"))
    async with started(configured(folder, kind)):
        assert await names(f"unix:{folder / 'g.sock'}") == ["lucky"]


@pytest.mark.parametrize("kind", KINDS)
async def test_the_socket_of_a_running_gateway_is_kept(folder: Path, kind: GrpcServerKind) -> None:
    """The second gateway does not start, and the first one serves on."""
    (folder / "other").mkdir()
    other = configured(folder / "other", kind)
    other.write_text(other.read_text().replace("unix:g.sock", "unix:../g.sock"))
    async with started(configured(folder, kind)):
        with pytest.raises(CannotStart, match="a running gateway serves there"):
            await Gateway(load(other, {}), find()).start()
        assert await names(f"unix:{folder / 'g.sock'}") == ["lucky"]


@pytest.mark.parametrize("kind", KINDS)
async def test_another_kind_of_file_is_kept(folder: Path, kind: GrpcServerKind) -> None:
    """The gateway does not start, and the file is as before; a link counts as the link."""
    (folder / "g.sock").write_text("content")
    with pytest.raises(CannotStart, match="not a socket"):
        await Gateway(load(configured(folder, kind), {}), find()).start()
    assert (folder / "g.sock").read_text() == "content"


async def test_a_full_backlog_is_a_running_gateway(folder: Path) -> None:
    """A process that does not accept at the moment is not dead."""
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(folder / "g.sock"))
        busy.listen(0)
        waiting.connect(str(folder / "g.sock"))
        with pytest.raises(CannotListen, match="a running gateway serves there"):
            await RpcServer([]).start_on_socket(folder / "g.sock", None)
        assert (folder / "g.sock").is_socket()


async def test_two_gateways_do_not_bind_at_once(folder: Path) -> None:
    """One of them is refused, and a folder that is missing is a clear error."""
    with binding(folder / "g.sock"), pytest.raises(CannotListen, match="another gateway is starting"):
        await RpcServer([]).start_on_socket(folder / "g.sock", None)
    with pytest.raises(CannotListen, match="No such file"):
        await RpcServer([]).start_on_socket(folder / "missing" / "g.sock", None)


async def test_tls_on_a_unix_socket(folder: Path) -> None:
    """It works as on a port: the certificate's name is localhost."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    server, path = RpcServer([]), folder / "g.sock"
    await server.start_on_socket(path, TlsFiles(issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes()))
    credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    options = [("grpc.ssl_target_name_override", UNIX_SERVER_NAME)]
    async with grpc.aio.secure_channel(f"unix:{path}", credentials, options) as channel, asyncio.timeout(30):
        await channel.channel_ready()
    await server.stop(0)


async def test_commands_call_a_gateway_on_its_socket(folder: Path) -> None:
    """By the configuration and by --target; the ready line of both servers has the socket."""
    config = configured(folder)
    async with serving(config) as gateway:
        assert gateway.ready_message["grpc"] == f"unix:{folder / 'g.sock'}"
        for options in (("--config", str(config)), ("--target", f"unix:{folder / 'g.sock'}")):
            ended = await run_here("provider", "list", "--json", *options)
            assert ended.code == 0, ended.err
            assert json.loads(ended.out)["name"] == "lucky"
    async with serving(config, "wallet") as wallet:
        assert wallet.ready_message["grpc"] == f"unix:{folder / 'g.sock'}"


async def test_workers_refuse_a_unix_socket(folder: Path) -> None:
    """The message names the key and the option."""
    config = configured(folder)
    config.write_text(config.read_text().replace(f"sqlite:///{folder / 'gateway.db'}", "postgresql://u@h/d"))
    ended = await run_here("serve", "--config", str(config), "--workers", "2")
    assert ended.code == 2
    assert "[grpc] listen" in ended.err
