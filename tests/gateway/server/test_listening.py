"""An address means the same on every listener, and one that cannot be bound is named with its key."""

import asyncio
import errno
import os
import socket
from pathlib import Path

import pytest

from gateway.config import ConfigInvalid, GrpcServerKind, Listen, load
from gateway.server.gateway import CannotStart, Gateway
from gateway.server.listening import listening_sockets
from tests.support.gateway import configuration

_ANY_IPV4 = "0.0.0.0"  # noqa: S104 - on a free port, for a moment

WITH_IPV6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this host has no IPv6")


def reaches(host: str, address: str) -> bool:
    """Whether something accepts connections at this host, on an address's port."""
    try:
        socket.create_connection((host, int(address.rpartition(":")[2])), timeout=30).close()
    except OSError:
        return False
    return True


def settings_on(folder: Path, host: str, server: GrpcServerKind) -> Path:
    """A configuration whose three listeners have this host, on free ports."""
    config = configuration(folder)
    text = config.read_text().replace("127.0.0.1:0", f"{host}:0")
    config.write_text(text.replace("[grpc]", f'[grpc]\nserver = "{server}"\nallow_anyone = true', 1))
    return config


@WITH_IPV6
@pytest.mark.parametrize("server", list(GrpcServerKind))
@pytest.mark.parametrize(
    ("host", "ipv4", "ipv6"),
    [("[::]", True, True), (_ANY_IPV4, True, False), ("localhost", True, True), ("[::1]", False, True)],
)
async def test_an_address_means_the_same_on_every_listener(
    tmp_path: Path, host: str, ipv4: bool, ipv6: bool, server: GrpcServerKind
) -> None:
    """gRPC by either server, callbacks and admin: `[::]` is both families, 0.0.0.0 IPv4 alone, localhost both."""
    config = settings_on(tmp_path, host, server)
    if host == "localhost" and server is GrpcServerKind.NATIVE:
        with pytest.raises(ConfigInvalid, match="two addresses"):
            load(config, {})
        return
    gateway = Gateway(load(config, {}))
    listening = await gateway.start()
    try:
        for address in (listening.grpc, listening.callbacks, listening.admin):
            assert await asyncio.to_thread(reaches, "127.0.0.1", address) is ipv4, address
            assert await asyncio.to_thread(reaches, "::1", address) is ipv6, address
    finally:
        await gateway.stop()


@pytest.mark.parametrize("section", ["grpc", "callbacks", "admin"])
async def test_a_port_in_use_names_its_key(tmp_path: Path, section: str) -> None:
    """The error says which listener, at which address, and what to do; nothing stays open."""
    config = configuration(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config.write_text(
            config.read_text().replace(
                f'[{section}]\nlisten = "127.0.0.1:0"', f'[{section}]\nlisten = "127.0.0.1:{port}"', 1
            )
        )
        with pytest.raises(
            CannotStart, match=rf"^\[{section}\] listen: cannot listen on 127.0.0.1:{port}: .*stop it, or choose"
        ):
            await Gateway(load(config, {})).start()


@pytest.mark.parametrize(
    ("host", "says"),
    [("192.0.2.1", "this host has no such address"), ("nowhere.invalid", "check the address")],
)
async def test_an_address_that_cannot_be_bound_says_why(host: str, says: str) -> None:
    """One of another host, and a name that nobody knows."""
    with pytest.raises(OSError, match=rf"\[admin\] listen: cannot listen on {host}:0: .*{says}"):
        await listening_sockets(Listen(host, 0), "admin")


async def test_a_privileged_port_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port below 1024 needs a right, which the user of the tests may have."""

    def refused(*_: object, **__: object) -> socket.socket:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(socket, "create_server", refused)
    with pytest.raises(OSError, match=r"\[admin\] listen: .*Permission denied; .*choose a higher port"):
        await listening_sockets(Listen("127.0.0.1", 80), "admin")
