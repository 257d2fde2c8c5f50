"""Sync, small, and its reader of traces."""

from pathlib import Path

import pytest

from tests.stress.figures import failures
from tests.stress.processes import Engine, StressEnvironment
from tests.stress.sync import STRACE, read_trace, sync, writer_settings

LOG = "/data/gateway.db-wal"
WRITE = f'7 pwrite64(5<{LOG}>, "\\0abc\\0", 4096, 32) = 4096'
SYNC = f"7 fdatasync(5<{LOG}>) = 0"
BEGIN_SYNC = f"7 fdatasync(5<{LOG}> <unfinished ...>"
END_SYNC = "7 <... fdatasync resumed>)             = 0"
FAILED_SYNC = f"7 fdatasync(5<{LOG}>) = -1 EIO (Input/output error)"
OTHER_SYNC = "7 fdatasync(6</data/gateway.db>) = 0"
ANSWER = r'8 write(9<socket:[1]>, "HTTP/1.1 200 OK\r\n\r\n{\"transactionId\":\"abc\",\"curr"..., 300) = 300'


async def test_an_answer_follows_a_sync(environment: StressEnvironment) -> None:
    """What is answered is on the disk before; without strace, SQLite's writer is at least set to have it so."""
    if environment.engine is Engine.SQLITE and STRACE is None:
        figures = writer_settings(environment.folder / "gateway.db")
    else:
        figures = await sync(environment, deliveries=8)
    assert not failures(figures)


@pytest.mark.parametrize(
    ("calls", "synced"),
    [
        ((WRITE, SYNC, ANSWER), True),
        ((WRITE, BEGIN_SYNC, END_SYNC, ANSWER), True),
        ((WRITE, ANSWER, SYNC), False),
        ((WRITE, BEGIN_SYNC, ANSWER, END_SYNC), False),
        ((WRITE, FAILED_SYNC, ANSWER), False),
        ((WRITE, OTHER_SYNC, ANSWER), False),
        ((WRITE, SYNC, WRITE, ANSWER), False),
        ((BEGIN_SYNC, WRITE, END_SYNC, ANSWER), False),
    ],
)
def test_only_a_completed_sync_of_the_log_counts(calls: tuple[str, ...], synced: bool, tmp_path: Path) -> None:
    """A sync that began before the write, failed, is not completed, or is of another file, is none."""
    trace = tmp_path / "trace"
    trace.write_text("\n".join(calls))
    assert read_trace(trace, LOG)["abc"].synced is synced


def test_the_journal_of_an_answer_is_no_answer(tmp_path: Path) -> None:
    """What is written to the database itself, when the log is checkpointed, was not sent."""
    trace = tmp_path / "trace"
    trace.write_text(ANSWER.replace("write(9<socket:[1]>", "pwrite64(5</data/gateway.db>"))
    assert read_trace(trace, LOG) == {}


def test_an_answer_before_its_write_is_seen(tmp_path: Path) -> None:
    """What was written since the answer before must be this answer's transaction, and not an earlier one's."""
    trace = tmp_path / "trace"
    trace.write_text("\n".join((WRITE, SYNC, ANSWER, WRITE, SYNC, ANSWER.replace("abc", "def"))))
    seen = read_trace(trace, LOG)
    assert (seen["abc"].written, seen["def"].written) == (True, False)
