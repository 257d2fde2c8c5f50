"""Writes the log on a thread: a reader that is slow, or that does not read at all, delays nothing else.

A pipe takes 64 KiB, and a write to a full one waits for its reader. Lines wait in a queue instead. What does not fit is
dropped and counted.
"""

import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from io import UnsupportedOperation
from select import POLLOUT, poll
from time import monotonic
from typing import TextIO

QUEUE_SIZE = 4 * 2**20
"""Characters that may wait. A quarter of them is for errors alone, so that these are dropped last."""

FLUSH_S = 1.0
"""Seconds that the end of the process waits for the last lines."""

GATHER_S = 0.02
"""Seconds for which lines are gathered into one write: a write, and waking a thread, cost more than a line."""

LEVELS = ("debug", "info", "warning", "error", "critical")

_ERRORS = frozenset({"error", "critical"})


class LogWriter:
    """The only writer of a stream. `notice` renders the line that says how many lines of each level were dropped."""

    def __init__(self, stream: TextIO, notice: Callable[[Mapping[str, int]], str]) -> None:
        self._stream = stream
        self._notice = notice
        # Reentrant: garbage collection may run while it is held, and asyncio logs what it finds.
        self._lock = threading.RLock()
        self._settled = threading.Condition(self._lock)
        self._lines: deque[tuple[str, str]] = deque()
        self._size = 0
        self._unreported: Counter[str] = Counter()
        self._wake, self._urgent = threading.Event(), threading.Event()
        self._closed = self._failed = False
        self.dropped = Counter(dict.fromkeys(LEVELS, 0))
        """Lines by level that were not written, since the start."""
        # A daemon: the end of the process does not wait for a reader.
        threading.Thread(target=self._run, name="log-writer", daemon=True).start()

    def put(self, level: str, line: str) -> None:
        """Write a line soon. It is dropped where too many wait."""
        size = len(line)
        limit = QUEUE_SIZE if level in _ERRORS else QUEUE_SIZE * 3 // 4
        with self._lock:
            if self._size + size > limit:
                self._drop(level)
                return
            self._size += size
            self._lines.append((level, line))
            if len(self._lines) == 1:
                self._wake.set()
        if level in _ERRORS:
            self._urgent.set()

    def flush(self, seconds: float = FLUSH_S) -> bool:
        """Wait until all lines are written; False where that takes longer."""
        until = monotonic() + seconds
        self._urgent.set()
        with self._settled:
            while self._size or (self._unreported and not self._failed):
                self._wake.set()
                if not self._settled.wait(max(0.0, until - monotonic())):
                    return False
        return True

    def close(self) -> None:
        """End the thread, once it has written what waits."""
        self._closed = True
        self._wake.set()
        self._urgent.set()

    def _drop(self, level: str) -> None:
        level = level if level in self.dropped else "info"
        self.dropped[level] += 1
        self._unreported[level] += 1

    def _run(self) -> None:
        while not self._closed:
            self._wake.wait()
            self._urgent.wait(GATHER_S)
            self._urgent.clear()
            with self._lock:
                self._wake.clear()
                lines, self._lines = self._lines, deque()
                unreported, self._unreported = self._unreported, Counter()
            if not lines and not unreported:
                continue
            report = [self._notice(unreported)] if unreported else []
            written = self._write("\n".join((*report, *(line for _, line in lines), "")))
            size = sum(len(line) for _, line in lines)
            with self._settled:
                self._size -= size
                self._failed = not written
                if not written:
                    self._unreported += unreported
                    for level, _ in lines:
                        self._drop(level)
                elif self._unreported:
                    self._wake.set()
                self._settled.notify_all()

    def _write(self, text: str) -> bool:
        """Write all of it, however long that takes; False where the stream cannot be written to."""
        try:
            try:
                descriptor = self._stream.fileno()
            except UnsupportedOperation:  # no file: a test's stream
                self._stream.write(text)
                return True
        except ValueError:  # closed
            return False
        # Not the stream itself: its buffer's lock would be held when the process ends.
        return _write_all(descriptor, text.encode("utf-8", "backslashreplace"))


def write_or_drop(stream: TextIO, text: str) -> None:
    """Write to a standard stream; what nobody reads within FLUSH_S is dropped, so that a process can always end."""
    stream.flush()
    try:
        descriptor = stream.fileno()
    except UnsupportedOperation:  # no file: a test's stream
        stream.write(text)
        return
    # A daemon, for the reason above.
    data = text.encode(stream.encoding, "backslashreplace")
    writing = threading.Thread(target=_write_all, args=(descriptor, data), daemon=True)
    writing.start()
    writing.join(FLUSH_S)


def _write_all(descriptor: int, data: bytes) -> bool:
    """Write all of it, however long that takes; False where that fails."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # another process made the shared pipe non-blocking
            waiting = poll()
            waiting.register(descriptor, POLLOUT)
            waiting.poll()
        except OSError:
            return False
    return True
