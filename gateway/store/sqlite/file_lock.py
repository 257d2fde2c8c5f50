"""One process per database: a second gateway on the same file would not see the first one's calls and events."""

import fcntl
import os
from functools import partial
from pathlib import Path
from typing import IO

from gateway.store.base import StoreUnavailable
from gateway.store.sqlite.file_modes import PRIVATE


class FileLock:
    """A lock file next to the database, held while a gateway has it open. The system releases it with the process."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def acquire(self) -> None:
        """Raise StoreUnavailable where another process has the database open, or where its folder cannot be used."""
        try:
            lock = Path(f"{self._path}.lock")
            file = open(lock, "ab", opener=partial(os.open, mode=PRIVATE))  # noqa: SIM115 - held until `release`
        except OSError as error:
            raise StoreUnavailable(
                f"database {self._path}: {error.strerror}; its folder must exist, and let the gateway's user write"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise StoreUnavailable(
                f"database {self._path}: another gateway has it open; SQLite serves one process, so stop that one first"
            ) from error
        self._file = file

    def release(self) -> None:
        """Release the lock. The file stays: removing it could remove another process's lock."""
        if self._file is not None:
            self._file.close()
            self._file = None
