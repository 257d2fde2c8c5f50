"""Sync: what is answered has been on the disk before, and not only in the system's memory.

SIGKILL cannot show this: the system keeps what a killed process wrote. On SQLite the system calls themselves are
watched: between the last write to the log and the answer on the socket there is a completed sync of that log. On
PostgreSQL the server syncs, at another time: a trigger inside the gateway's own transactions records the settings that
they commit with, and the server's flush position right after each answer is compared with the position of that
commit's record in the log.
"""

import asyncio
import re
import shutil
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import asyncpg

from gateway.store.sqlite.connection import connect_writer
from tests.stress.figures import Figure, Figures, exactly, none_of
from tests.stress.processes import SERVE, Engine, StressEnvironment, open_accounts, running
from tests.stress.sending import provider, win

STRACE = shutil.which("strace")
CALLS = "fsync,fdatasync,pwrite64,pwritev,pwritev2,write,writev,sendto,sendmsg"
WHOLE_PAGE = "4096"
"""Bytes of each call that are shown: a transaction's id may be anywhere in a page."""
SOCKET = "socket:"
"""The journal holds answers too: only those on a socket are sent."""
TRACED_S = 5.0
SYNCS = frozenset({"fsync", "fdatasync"})

_LINE = re.compile(
    r"(?P<thread>\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<call>\w+)\(\d+<(?P<file>[^>]*)>)(?P<rest>.*)"
)
_TRANSACTION = re.compile(r'transactionId\\":\\"(\w+)')
_COMMIT = re.compile(r"len \(rec/tot\): *\d+/ *(?P<length>\d+), tx: *(?P<xid>\d+), lsn: (?P<lsn>\S+),.*desc: COMMIT")

_RECORD_SETTINGS = """
CREATE TABLE commits (reference text, xid bigint, fsync text, synchronous_commit text);
CREATE FUNCTION record_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO commits VALUES (NEW.reference, pg_current_xact_id()::text::bigint, current_setting('fsync'),
                             current_setting('synchronous_commit'));
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER record_commit AFTER INSERT ON transactions DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION record_commit();
"""
"""Deferred: it runs when the gateway's transaction commits, with the settings that the commit has."""


async def sync(environment: StressEnvironment, *, deliveries: int = 200) -> Figures:
    """Deliver one Result after the other, and see for each that it was on the disk before it was answered."""
    if environment.engine is Engine.POSTGRES:
        return await _on_postgres(environment, deliveries)
    if STRACE is None:
        return (Figure("system calls seen", "by strace", "strace is not here: install it, and run this again", False),)
    return await _on_sqlite(environment, deliveries, STRACE)


def writer_settings(path: Path) -> Figures:
    """How durable a commit of the gateway's writer is by its settings: all that is known without strace.

    SQLite's manual: with a write-ahead log, synchronous = FULL (2) syncs that log after each transaction.
    """
    db = connect_writer(str(path), 1.0)
    try:
        return (
            exactly("journal_mode", "wal", db.execute("PRAGMA journal_mode").fetchone()[0]),
            exactly("synchronous", 2, db.execute("PRAGMA synchronous").fetchone()[0]),
        )
    finally:
        db.close()


async def _on_sqlite(environment: StressEnvironment, deliveries: int, strace: str) -> Figures:
    url, trace = await environment.database(), environment.folder / "trace"
    # Watched from a process aside (-D), so that signals go to the gateway and not to strace.
    watched = (strace, "-D", "-f", "-y", "-s", WHOLE_PAGE, "-e", f"trace={CALLS}", "-o", str(trace), *SERVE)
    answered = await _deliver(environment, url, deliveries, watched)
    seen = await _read_all(trace, url.removeprefix("sqlite:///") + "-wal", answered)
    return (
        exactly("deliveries answered 0", deliveries, len(answered)),
        exactly("... whose answer is seen on the socket", deliveries, len(answered.keys() & seen.keys())),
        none_of("answered before it was written to the log", (one for one, each in seen.items() if not each.written)),
        none_of(
            "answered before a sync of that write was completed",
            (one for one, each in seen.items() if not each.synced),
        ),
    )


async def _deliver(
    environment: StressEnvironment, url: str, deliveries: int, command: tuple[str, ...]
) -> dict[str, str]:
    """The reference of each transaction id that was answered."""
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(running(environment.configure(url), command))
        await open_accounts(gateway.grpc)
        sender = await stack.enter_async_context(provider(lambda: [gateway.callbacks]))
        answered = {}
        for number in range(deliveries):
            sent = win(number)
            answered[(await sender.deliver(sent)).transaction_id] = sent.reference
        answered.pop("", None)
        return answered


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer on a socket: whether its transaction was written to the log before, and the log synced since."""

    written: bool
    synced: bool


@dataclass
class Log:
    """The log's state as the trace goes by. A sync covers what was written before it began, once it is completed."""

    writes: int = 0
    covered: int = 0
    recent: list[str] = field(default_factory=list)
    """What was written since the answer before."""
    syncing: dict[str, int] = field(default_factory=dict)
    """By thread: how many writes a sync in progress covers."""

    def write(self, content: str) -> None:
        self.writes += 1
        self.recent.append(content)

    def begin_sync(self, thread: str) -> None:
        self.syncing[thread] = self.writes

    def end_sync(self, thread: str, *, done: bool) -> None:
        covers = self.syncing.pop(thread, 0)
        if done:
            self.covered = max(self.covered, covers)

    def answer(self, transaction_id: str) -> Answer:
        written = any(transaction_id in content for content in self.recent)
        self.recent.clear()
        return Answer(written, synced=self.covered == self.writes)


def read_trace(trace: Path, log_file: str) -> dict[str, Answer]:
    """What the trace shows of each answer with a transaction, by its id."""
    log, seen = Log(), {}
    for line in trace.read_text(errors="replace").splitlines():
        if (found := _LINE.match(line)) is None:
            continue
        thread, rest = found["thread"], found["rest"]
        if found["resumed"] in SYNCS:
            log.end_sync(thread, done=rest.endswith("= 0"))
        elif found["file"] == log_file and found["call"] in SYNCS:
            log.begin_sync(thread)
            if not rest.endswith("<unfinished ...>"):
                log.end_sync(thread, done=rest.endswith("= 0"))
        elif found["file"] == log_file:
            log.write(rest)
        elif (found["file"] or "").startswith(SOCKET) and (transaction := _TRANSACTION.search(rest)):
            seen[transaction[1]] = log.answer(transaction[1])
    return seen


async def _read_all(trace: Path, log_file: str, answered: Mapping[str, str]) -> dict[str, Answer]:
    """What the trace shows, once it shows all of it: strace may write a moment longer than the gateway lives."""
    until = monotonic() + TRACED_S
    while True:
        seen = read_trace(trace, log_file)
        if answered.keys() <= seen.keys() or monotonic() > until:
            return seen
        await asyncio.sleep(0.02)


async def _on_postgres(environment: StressEnvironment, deliveries: int) -> Figures:
    url = await environment.database()
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(running(environment.configure(url)))
        await open_accounts(gateway.grpc)
        sender = await stack.enter_async_context(provider(lambda: [gateway.callbacks]))
        db = await asyncpg.connect(url)
        stack.push_async_callback(db.close)
        await db.execute(_RECORD_SETTINGS)
        begin = await db.fetchval("SELECT pg_current_wal_flush_lsn()::text")
        flushed = {}
        for number in range(deliveries):
            sent = win(number)
            if (await sender.deliver(sent)).code == 0:
                flushed[sent.reference] = _position(await db.fetchval("SELECT pg_current_wal_flush_lsn()::text"))
        committed = await db.fetch("SELECT * FROM commits")
        await db.execute("CHECKPOINT")
        end = await db.fetchval("SELECT pg_current_wal_flush_lsn()::text")
    commits = _commits(environment, begin, end)
    unseen = [row["reference"] for row in committed if row["xid"] not in commits]
    late = [
        row["reference"]
        for row in committed
        if row["reference"] in flushed and flushed[row["reference"]] < commits.get(row["xid"], 0)
    ]
    return (
        exactly("deliveries answered 0", deliveries, len(flushed)),
        exactly("... recorded by the gateway's own transactions", deliveries, len(committed)),
        none_of("committed with fsync other than on", (row["fsync"] for row in committed if row["fsync"] != "on")),
        none_of(
            "committed with synchronous_commit other than on",
            (row["synchronous_commit"] for row in committed if row["synchronous_commit"] != "on"),
        ),
        none_of("whose commit is not found in the log", unseen),
        none_of("answered before the log was flushed past their commit", late),
    )


def _commits(environment: StressEnvironment, begin: str, end: str) -> dict[int, int]:
    """Where in the log the record of each commit ends, by the transaction's id."""
    folder = str(environment.postgres.data / "pg_wal")
    records = environment.postgres.run(
        "pg_waldump", "--path", folder, "--start", begin, "--end", end, "--rmgr", "Transaction"
    )
    found = map(_COMMIT.search, records.splitlines())
    return {int(each["xid"]): _position(each["lsn"]) + int(each["length"]) for each in found if each}


def _position(lsn: str) -> int:
    """A place in the log as a number."""
    high, low = lsn.split("/")
    return int(high, 16) << 32 | int(low, 16)
