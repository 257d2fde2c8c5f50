"""One process per database: a second gateway on the same file would not see the first one's calls and events."""

import fcntl
import os
from pathlib import Path

from gateway.store.base import StoreUnavailable
from gateway.store.sqlite.companions import lock_file, refuse_foreign
from gateway.store.sqlite.file_modes import PRIVATE


class FileLock:
    """Two locks, held while a gateway has the database open. The system releases them with the process.

    The file next to the database holds while the database is replaced; the database itself holds under another name of
    it (a link, a mount), and where somebody deleted the other file.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._held: list[int] = []

    def acquire(self, *, restoring: bool = False) -> None:
        """Lock the files, and create them where they are missing.

        `restoring` accepts foreign files beside the database, and that there is none.

        Raises StoreUnavailable where another process has the database open, where a file beside it is foreign, and
        where its folder cannot be used.
        """
        try:
            self._lock(lock_file(self._path), os.O_RDWR | os.O_CREAT)
            if not restoring:
                refuse_foreign(self._path)
            if not restoring or self._path.exists():
                self._lock(self._path, os.O_RDONLY | os.O_CREAT)
        except StoreUnavailable:
            self.release()
            raise
        except BlockingIOError as error:
            self.release()
            raise StoreUnavailable(
                f"database {self._path}: another gateway has it open; SQLite serves one process, so stop that one first"
            ) from error
        except OSError as error:
            self.release()
            raise StoreUnavailable(
                f"database {self._path}: it cannot be opened: {error.strerror}; its folder must exist, and let the "
                "gateway's user write"
            ) from error

    def release(self) -> None:
        """Release the locks. The file stays: removing it could remove another process's lock."""
        while self._held:
            os.close(self._held.pop())

    def _lock(self, file: Path, flags: int) -> None:
        # Without O_NONBLOCK it would wait where a pipe has the name.
        self._held.append(os.open(file, flags | os.O_NONBLOCK, PRIVATE))
        fcntl.flock(self._held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
