"""What this host is short of: files, ports, memory or threads. A provider is not to blame for it."""

import errno
import resource
import socket
from types import MappingProxyType

_BY_ERRNO = MappingProxyType(
    {
        errno.EMFILE: "open files",
        errno.ENFILE: "open files of the whole system",
        errno.EADDRNOTAVAIL: "local ports for this address",
        errno.ENOMEM: "memory",
        errno.ENOBUFS: "memory for sockets",
        errno.EAGAIN: "threads or memory",
    }
)

_ADVICE = MappingProxyType(
    {
        errno.EMFILE: "raise the limit of open files (LimitNOFILE of systemd, ulimit -n)",
        errno.ENFILE: "raise fs.file-max",
        errno.EADDRNOTAVAIL: "widen net.ipv4.ip_local_port_range, or lower limits.max_concurrent_calls",
    }
)


def shortage(error: BaseException) -> str:
    """What this host is short of and what to do, for an error that says so; '' for any other error."""
    if isinstance(error, MemoryError):
        return "memory; give the gateway more, or lower its limits"
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return "threads; raise the limit of processes (TasksMax of systemd, ulimit -u)"
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_MEMORY:
        return "memory; give the gateway more, or lower its limits"
    if not isinstance(error, OSError):
        return ""
    # A resolver says "unknown" where it could open no file, and several addresses have no one errno.
    hidden = isinstance(error, socket.gaierror) or (error.errno is None and not isinstance(error, TimeoutError))
    number = _errno_of_next_file() if hidden else error.errno
    if number is None or number not in _BY_ERRNO:
        return ""
    limit = f" ({resource.getrlimit(resource.RLIMIT_NOFILE)[0]} are allowed)" if number == errno.EMFILE else ""
    return f"{_BY_ERRNO[number]}{limit}; {_ADVICE.get(number, 'give the gateway more, or lower its limits')}"


def refuse_without_files() -> None:
    """Raise OSError where this host has no file for another socket."""
    socket.socket().close()


def _errno_of_next_file() -> int | None:
    """Why another socket cannot be made; None where it can."""
    try:
        refuse_without_files()
    except OSError as error:
        return error.errno
    return None
