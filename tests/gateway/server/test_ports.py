"""The ports of workers."""

import pytest

from gateway.config import AdminSettings, Listen, Settings
from gateway.server.ports import Ports, admin_ports


@pytest.mark.parametrize(("first", "ports"), [(9090, [9090, 9091, 9092]), (0, [0, 0, 0])])
def test_each_worker_has_an_admin_port(first: int, ports: list[int]) -> None:
    """Workers take the configured admin port and those after it, or any free ones where 0 is configured."""
    assert admin_ports(first, 3) == ports


def test_a_worker_listens_on_the_ports_of_its_option() -> None:
    """Ports survive the command line and replace those of the settings; hosts and other settings stay."""
    settings = Settings(admin=AdminSettings(Listen("::1", 9090)))
    changed = Ports.from_option(Ports(0, 1, 2, 3).as_option()).applied_to(settings)
    assert [changed.grpc.listen, changed.callbacks.listen.port] == [Listen("127.0.0.1", 1), 2]
    assert changed.admin.listen == Listen("::1", 3)
    assert changed.store == settings.store
