"""A Unix socket to listen on: left over files, permissions, and a gateway that serves there already."""

import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UMASK = 0o117
"""The socket is 0660 at most: the gateway's user and group may connect. The process's own umask may remove more."""


@contextmanager
def binding(path: Path) -> Iterator[None]:
    """Around the bind of a socket at this path: no other gateway binds it, and its permissions are limited.

    Both gRPC servers would take the address of a running gateway. A socket file that nothing listens on is theirs to
    replace. Raises OSError.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError("another gateway is starting in the same folder: try again") from None
        _refuse_in_use(path)
        before = os.umask(UMASK)
        os.umask(before | UMASK)
        try:
            yield
        finally:
            os.umask(before)
    finally:
        os.close(folder)


def _refuse_in_use(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError("a file that is not a socket is there: remove it, or choose another path")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return
        except BlockingIOError:  # many connections wait to be accepted
            pass
    raise OSError("a running gateway serves there: stop it, or choose another path")
