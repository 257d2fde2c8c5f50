"""The writer of the log: nothing waits for its reader, and what is lost is counted."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import TextIO

import pytest

from gateway.telemetry import log_writer
from gateway.telemetry.log_writer import LogWriter, write_or_drop

LINE = "x" * 100


def notice(dropped: Mapping[str, int]) -> str:
    return f"dropped {json.dumps(dict(dropped))}"


class Pipe:
    """A pipe, whose reader may not read."""

    def __init__(self) -> None:
        read, write = os.pipe()
        self.reader, self.stream = os.fdopen(read, "rb"), os.fdopen(write, "w")
        self._writers: list[LogWriter] = []

    def writer(self) -> LogWriter:
        """A writer of the pipe."""
        self._writers.append(LogWriter(self.stream, notice))
        return self._writers[-1]

    def close(self) -> None:
        """End the writers, which may wait for the reader, before the pipe's number is another file's."""
        self.reader.close()
        for writer in self._writers:
            assert writer.flush(30)
            writer.close()
        self.stream.close()

    def read(self, size: int) -> bytes:
        """Read this number of bytes."""
        return self.reader.read(size)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def filled(pipe: Pipe) -> LogWriter:
    """A writer whose queue has no more place for lines below errors."""
    writer = pipe.writer()
    while not writer.dropped["info"]:
        writer.put("info", LINE)
    return writer


def test_an_unread_pipe_delays_nobody(pipe: Pipe) -> None:
    """A hundred thousand lines are taken, and those that do not fit are counted."""
    writer = pipe.writer()
    for _ in range(100_000):
        writer.put("info", LINE)
    taken = 100_000 - writer.dropped["info"]
    assert log_writer.QUEUE_SIZE * 3 // 4 - len(LINE) < taken * len(LINE) <= log_writer.QUEUE_SIZE
    assert not writer.flush(0)


def test_errors_are_dropped_last(pipe: Pipe) -> None:
    """When no other line has a place, errors still have one; and their number is limited too."""
    writer = filled(pipe)
    writer.put("warning", LINE)
    writer.put("error", LINE)
    writer.put("critical", LINE)
    assert (writer.dropped["warning"], writer.dropped["error"], writer.dropped["critical"]) == (1, 0, 0)
    while not writer.dropped["error"]:
        writer.put("error", LINE)


def test_a_reader_that_comes_back_learns_what_is_missing(pipe: Pipe) -> None:
    """It reads the lines that were kept, whole and in order, and how many of each level were dropped."""
    writer = filled(pipe)
    for number in range(10):
        writer.put("error", f"error {number}")
    read: list[str] = []
    while not read or read[-1] != "error 9":
        read.append(pipe.reader.readline().decode().rstrip("\n"))
    assert [line for line in read if line != LINE] == [
        'dropped {"info": 1}',
        *(f"error {number}" for number in range(10)),
    ]
    assert writer.flush(30)  # until then its place is taken
    writer.put("info", "after")
    assert pipe.reader.readline() == b"after\n"


def test_what_is_missing_is_reported_without_another_line(pipe: Pipe) -> None:
    """The reader need not wait for the gateway's next line: here all that waited is in the one write that is stuck."""
    writer = pipe.writer()
    readable = select.poll()
    readable.register(pipe.reader.fileno(), select.POLLIN)
    writer.put("info", "x" * (log_writer.QUEUE_SIZE * 3 // 4))
    assert readable.poll(30_000)
    writer.put("info", LINE)
    seen = b""
    while b"dropped" not in seen:
        assert readable.poll(30_000)
        seen = seen[-100:] + os.read(pipe.reader.fileno(), 65536)


def test_lines_that_cannot_be_written_are_counted(pipe: Pipe) -> None:
    """Its reader has ended, or its disk is full: that is counted, and nothing else happens."""
    with Path("/dev/full").open("w") as full:
        for stream in (pipe.stream, full):
            pipe.reader.close()
            writer = LogWriter(stream, notice)
            writer.put("info", LINE)
            assert writer.flush(30)
            assert writer.dropped["info"] == 1


def test_a_closed_stream_ends_nothing() -> None:
    """Lines for it are dropped."""
    stream: TextIO = StringIO()
    stream.close()
    writer = LogWriter(stream, notice)
    for _ in range(2):
        writer.put("error", LINE)
        assert writer.flush(30)
    assert writer.dropped["error"] == 2


def test_a_pipe_that_another_process_made_non_blocking(pipe: Pipe) -> None:
    """Its lines are written whole all the same."""
    os.set_blocking(pipe.stream.fileno(), False)
    writer = pipe.writer()
    for _ in range(2000):
        writer.put("info", LINE)
    assert pipe.read(2000 * 101) == f"{LINE}\n".encode() * 2000


_PROCESS = """
import sys, warnings
import structlog
from gateway.telemetry import logs
from gateway.telemetry.log_writer import write_or_drop

logs.configure("info", ())
{body}
"""


def ended(body: str, *, read: bool) -> tuple[int, bytes]:
    """Run a process that logs to a pipe, which is read only at its end, or not at all."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader:
        command = [sys.executable, "-c", _PROCESS.format(body=body)]
        process = subprocess.Popen(command, stderr=writing)  # noqa: S603 - our own
        os.close(writing)
        said = reader.read() if read else b""
        return process.wait(60), said


def test_the_end_of_a_process_does_not_wait_for_the_reader() -> None:
    """It logs more than a pipe takes, also a last error in plain words, and ends with its own code."""
    body = "for n in range(10000): structlog.get_logger().info('line', n=n)\n"
    body += "write_or_drop(sys.stderr, 'failed\\n' * 20000)\nsys.exit(7)"
    assert ended(body, read=False)[0] == 7


def test_the_last_lines_are_written_at_the_end() -> None:
    """Also Python's own warnings, which are lines of the log."""
    body = "structlog.get_logger().info('line')\nwarnings.simplefilter('always')\nwarnings.warn('old way')"
    code, said = ended(body, read=True)
    events = [json.loads(line)["event"] for line in said.splitlines()]
    assert (code, events[0]) == (0, "line")
    assert "old way" in events[1]


def test_words_for_a_stream_without_a_descriptor_are_written_to_it() -> None:
    """As the tests of commands have it."""
    stream = StringIO()
    write_or_drop(stream, "words\n")
    assert stream.getvalue() == "words\n"
