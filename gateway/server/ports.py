"""The ports of workers: those of gRPC and of callbacks are shared, each worker has its own admin port."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from msgspec import structs

from gateway.config import AdminSettings, CallbackSettings, GrpcSettings, Listen, Settings, UnixSocket

SectionT = TypeVar("SectionT", GrpcSettings, CallbackSettings, AdminSettings)

NO_WORKERS = "a Unix socket serves one process: set [grpc] listen to host:port, or omit --workers"
"""Workers share a port, which the kernel offers for no Unix socket."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of one worker, and which one it is."""

    worker: int
    grpc: int
    callbacks: int
    admin: int

    def applied_to(self, settings: Settings) -> Settings:
        """The settings of the worker that listens there."""
        return structs.replace(
            settings,
            grpc=_with_port(settings.grpc, self.grpc),
            callbacks=_with_port(settings.callbacks, self.callbacks),
            admin=_with_port(settings.admin, self.admin),
        )

    def as_option(self) -> str:
        """The value of `--worker`."""
        return f"{self.worker},{self.grpc},{self.callbacks},{self.admin}"

    @classmethod
    def from_option(cls, text: str) -> "Ports":
        """What `as_option` wrote. Raises ValueError."""
        worker, grpc, callbacks, admin = map(int, text.split(","))
        return cls(worker, grpc, callbacks, admin)


def _with_port(section: SectionT, port: int) -> SectionT:
    return structs.replace(section, listen=structs.replace(section.listen, port=port))


def admin_ports(first: int, workers: int) -> list[int]:
    """The configured port and those after it; 0 (any free one) for all where that is configured."""
    return [first + index if first else 0 for index in range(workers)]


@contextmanager
def reserve(address: Listen | UnixSocket) -> Iterator[Listen]:
    """Bind a port without listening on it: workers can share it, and no other process can take it. Raises OSError."""
    if isinstance(address, UnixSocket):
        raise OSError(NO_WORKERS)
    with socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_STREAM) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            bound.bind((address.host, address.port))
        except OSError as error:
            raise OSError(f"cannot listen on {address}: {error.strerror}") from error
        yield structs.replace(address, port=bound.getsockname()[1])
